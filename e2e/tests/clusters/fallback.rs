//! Generations that cannot be used any more: an older one serves, on a node whose kubelet has not heard from the API since it
//! was started, and so ends no static pod.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{REPORTED, SETTLED, WHOLE, eventually};
use e2e::node::Node;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{CHECKPOINTS, STATIC_PODS, generations, good, wait_settled, wait_whole};
use serde_json::{Value, json};

use crate::badchange::{a_new_revision, edit_pod};

const APISERVER: &str = "kube-system_kube-apiserver";
const DIR: &str = "/var/lib/drill-extra";
const TRACING: &str =
    "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\nsamplingRatePerMillion: 0\n";

pub(crate) fn fallback_to_an_older_generation() -> Result<()> {
    shared::cluster(|node| {
        a_new_revision(node)?;
        let mut cases = Cases::begin("fallback", node)?;
        wait_settled(node)?;
        let outcome = needs_a_file(&cases);
        cases.take(outcome);
        cases.end()
    })
}

fn needs_a_file(cases: &Cases) -> Result<()> {
    let node = cases.node();
    let older = good(node, APISERVER)?.context("no good generation")?;
    mount(node)?;
    node.rolled_out("kube-system", "daemonset/kube-apiserver")?;
    let newer = eventually("a generation with the file is good", SETTLED, || {
        let now = good(node, APISERVER)?.context("none")?;
        ensure!(now != older, "still {now}");
        Ok(now)
    })?;
    wait_settled(node)?;

    serves_another(cases, "its file is gone", &newer, |disk| {
        ensure!(host::fs::remove_file(&disk.join(&DIR[1..]).join("t.yaml"))?, "it was not there");
        Ok(())
    })?;
    serves_another(cases, "its directory is gone", &newer, |disk| {
        Ok(host::fs::remove_dir_all(&disk.join(&DIR[1..]))?)
    })?;
    // A copy of this one is in place, and the one generation that is whole and does not need the directory has to be found.
    let placed = placed(node)?;
    serves_another(cases, "what is in place is gone", &placed, |disk| {
        Ok(host::fs::remove_dir_all(&disk.join(&CHECKPOINTS[1..]).join(APISERVER).join(&placed))?)
    })?;
    put_file(node)?;
    eventually("the revision that needs it serves", WHOLE, || wait_whole(node).map(drop))?;
    unmount(node)?;
    node.rolled_out("kube-system", "daemonset/kube-apiserver")?;
    wait_whole(node).map(drop)
}

/// Cuts the power with a generation that cannot be started, and waits until another one serves.
fn serves_another(
    cases: &Cases,
    what: &str,
    not: &str,
    damage: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let node = cases.node();
    cases.during(what, Limit::Off, |node| {
        node.power_cycle(damage)?;
        eventually("another generation serves", REPORTED, || {
            let now = placed(node)?;
            ensure!(now != not, "{now} is in place");
            node.get(&["get", "--raw", "/readyz"]).map(drop)
        })
    })?;
    eprintln!("fallback: {what}: {} serves; there are {:?}", placed(node)?, generations(node, APISERVER)?);
    Ok(())
}

/// The generation that is in place.
fn placed(node: &Node) -> Result<String> {
    let file = node.path(&format!("{STATIC_PODS}/{APISERVER}-checkpoint.yaml"))?;
    let pod: Value = serde_json::from_str(&host::fs::read_to_string(&file)?)?;
    let generation = pod["metadata"]["annotations"]["kubestrap.io/generation"].as_str();
    Ok(generation.context("it says no generation")?.to_owned())
}

fn put_file(node: &Node) -> Result<()> {
    node.exec(&["mkdir", "-p", DIR])?.success()?;
    Ok(host::fs::write(&node.path(DIR)?.join("t.yaml"), TRACING.as_bytes(), 0o644)?)
}

/// A revision of the apiserver that needs a file of the host.
fn mount(node: &Node) -> Result<()> {
    put_file(node)?;
    edit_pod(node, |spec| {
        let volume = json!({"name": "extra", "hostPath": {"path": DIR, "type": "Directory"}});
        spec["volumes"].as_array_mut().context("no volumes")?.push(volume);
        let container = &mut spec["containers"][0];
        let mount = json!({"name": "extra", "mountPath": "/extra", "readOnly": true});
        container["volumeMounts"].as_array_mut().context("no mounts")?.push(mount);
        container["args"]
            .as_array_mut()
            .context("no args")?
            .push("--tracing-config-file=/extra/t.yaml".into());
        Ok(())
    })
}

fn unmount(node: &Node) -> Result<()> {
    edit_pod(node, |spec| {
        let without = |list: &mut Value, is_extra: fn(&Value) -> bool| {
            list.as_array_mut().map(|list| list.retain(|item| !is_extra(item)))
        };
        let named = |item: &Value| item["name"] == "extra";
        without(&mut spec["volumes"], named).context("no volumes")?;
        let container = &mut spec["containers"][0];
        without(&mut container["volumeMounts"], named).context("no mounts")?;
        without(&mut container["args"], |arg| {
            arg.as_str().is_some_and(|arg| arg.starts_with("--tracing-config-file"))
        })
        .context("no args")
    })
}
