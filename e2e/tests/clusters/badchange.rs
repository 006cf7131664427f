//! Bad changes of the apiserver, on a cluster with one node. What never becomes ready costs nothing;
//! what becomes ready and then fails is reverted on the node, and a good change ends it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{POD, REPORTED, eventually};
use e2e::node::Node;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{good, restarts, wait_reported, wait_reported_any, wait_settled, wait_whole};
use serde_json::{Value, json};

/// In a soak, the longest that the API may be away, whatever is changed.
const LONGEST: Duration = Duration::from_secs(15);

/// How long a bad change is left alone: as long as it takes the guardian to place a copy, and more.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// An apiserver that is killed 28 s after its first start: it has been ready for more than 20 s, the one before it
/// has ended, and it is not proven yet (`e2e::node::config`). Later it lives as long as it takes to be ready, and a
/// bit. It ends in good order when it is told to.
const DIES: &str = r#"kube-apiserver "$@" & server=$!
trap 'kill -TERM $server; wait $server; exit 0' TERM
life=28; [ -e /drill/again ] && life=15; : > /drill/again
/busybox sleep $life & wait $!
kill -KILL $server; exit 137"#;

const APISERVER: &str = "kube-system_kube-apiserver";

/// On this host, and so in the node.
const BUSYBOX: &str = "/bin/busybox";

/// A bad change on the shared cluster, on which nothing that was changed before is still to be proven: it must not be
/// promoted while it is looked whether something is.
fn changed(name: &str, change: impl FnOnce(&mut Cases)) -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin(name, node)?;
        wait_settled(node)?;
        change(&mut cases);
        cases.end()
    })
}

pub(crate) fn badchange_that_never_serves() -> Result<()> {
    changed("badchange", |cases| {
        let flag = never_ready(cases, "a bad flag", |c| {
            let args = c["args"].as_array_mut().context("no args")?;
            args.push("--no-such-flag=1".into());
            Ok(())
        });
        cases.take(flag);
        let image = never_ready(cases, "a bad image", |c| {
            c["image"] = "registry.k8s.io/kube-apiserver:v0.0.0".into();
            Ok(())
        });
        cases.take(image);
    })
}

pub(crate) fn badchange_that_dies_is_reverted() -> Result<()> {
    changed("badchange", |cases| {
        let outcome = dies_when_it_is_ready(cases);
        cases.take(outcome);
    })
}

/// Another revision, whose generation gets good: the newest one may be of a revision that was reverted, and never does.
pub(crate) fn a_new_revision(node: &Node) -> Result<()> {
    node.get(&["-n", "kube-system", "set", "env", "daemonset/kube-apiserver", "DRILL=another"])?;
    node.rolled_out("kube-system", "daemonset/kube-apiserver")?;
    wait_whole(node).map(drop)
}

pub(crate) fn badchange_of_a_config_map() -> Result<()> {
    shared::cluster(a_new_revision)?;
    changed("badchange", |cases| {
        let outcome = wrong_config_map(cases);
        cases.take(outcome);
    })
}

/// Changes the apiserver's container as `kubectl edit` does.
fn edit(node: &Node, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    edit_pod(node, |spec| change(&mut spec["containers"][0]))
}

pub(crate) fn edit_pod(node: &Node, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    edit_pod_of(node, "daemonset/kube-apiserver", change)
}

/// Changes the pod template of a workload of the control plane as `kubectl edit` does.
pub(crate) fn edit_pod_of(
    node: &Node,
    workload: &str,
    change: impl FnOnce(&mut Value) -> Result<()>,
) -> Result<()> {
    let mut object = node.json(&["-n", "kube-system", "get", workload])?;
    change(&mut object["spec"]["template"]["spec"])?;
    // The kubelet and the controllers write its status all the time.
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    node.kubectl_with(&object.to_string(), &["replace", "-f", "-"])?.success()?;
    Ok(())
}

fn undo(node: &Node) -> Result<()> {
    node.get(&["-n", "kube-system", "rollout", "undo", "daemonset/kube-apiserver"])?;
    wait_whole(node).map(drop)
}

/// A pod of the newest revision, and why it is not ready.
pub(crate) fn trouble(node: &Node) -> Result<String> {
    let pods = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-apiserver"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    let statuses = pods.iter().map(|pod| &pod["status"]["containerStatuses"][0]);
    let statuses = statuses.filter(|s| s["ready"] != true);
    Ok(statuses.map(|s| format!("{} {}", s["state"], s["lastState"])).collect::<Vec<_>>().join(", "))
}

fn never_ready(cases: &Cases, what: &str, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let before = good(cases.node(), APISERVER)?;
    cases.during(what, Limit::Seamless, |node| {
        edit(node, change)?;
        // It was tried at least: otherwise nothing is shown.
        eventually("the new pod fails", POD, || {
            let trouble = trouble(node)?;
            let tried = ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "Error"];
            ensure!(tried.iter().any(|reason| trouble.contains(reason)), "{trouble}");
            Ok(())
        })?;
        std::thread::sleep(LEFT_ALONE);
        undo(node)
    })?;
    let after = good(cases.node(), APISERVER)?;
    ensure!(after == before, "it was promoted: {before:?} became {after:?}");
    Ok(())
}

/// Lets a script of a shell start the apiserver, which has none; `/drill` is a directory that stays when it is started again.
pub(crate) fn busybox(spec: &mut Value, script: &str) -> Result<()> {
    ensure!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: busybox-static has it");
    let volume = json!({"name": "busybox", "hostPath": {"path": BUSYBOX, "type": "File"}});
    let volumes = spec["volumes"].as_array_mut().context("no volumes")?;
    volumes.extend([volume, json!({"name": "drill", "emptyDir": {}})]);
    let container = &mut spec["containers"][0];
    let mount = json!({"name": "busybox", "mountPath": "/busybox", "readOnly": true});
    let mounts = container["volumeMounts"].as_array_mut().context("no mounts")?;
    mounts.extend([mount, json!({"name": "drill", "mountPath": "/drill"})]);
    container["command"] = json!(["/busybox", "sh", "-c", script, "--"]);
    Ok(())
}

/// Ready at first, and killed a while after its start, each time.
fn dies_when_it_is_ready(cases: &Cases) -> Result<()> {
    let before = good(cases.node(), APISERVER)?;
    cases.during("ready, then dead", Limit::Gap(LONGEST), |node| {
        edit_pod(node, |spec| busybox(spec, DIES))?;
        node.get(&["-n", "kube-system", "rollout", "status", "daemonset/kube-apiserver", "--timeout=90s"])?;
        eprintln!("badchange: the revision that dies was ready");
        let report = wait_reported(node, "Reverted", "kube-apiserver")?;
        eprintln!("badchange: {report}");
        cases.answers()?;
        // It goes on dying, and nobody notices.
        let unnoticed = cases.during("reverted", Limit::Seamless, goes_on_dying);
        // Whatever came of it: the next case begins with a good revision.
        undo(node)?;
        unnoticed
    })?;
    let after = good(cases.node(), APISERVER)?;
    ensure!(after == before, "it was promoted: {before:?} became {after:?}");
    Ok(())
}

/// Twice more, and each time it was ready before.
fn goes_on_dying(node: &Node) -> Result<()> {
    let deaths = || -> Result<i64> {
        let pods = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-apiserver"])?;
        let pods = pods["items"].as_array().context("no pods")?;
        let counts = pods.iter().map(restarts);
        Ok(counts.flatten().max().unwrap_or_default())
    };
    let before = deaths()?;
    eventually("it dies twice more", REPORTED, || {
        let now = deaths()?;
        ensure!(now >= before + 2, "started again {before} times, now {now} times");
        Ok(())
    })
}

/// The ConfigMap is wrong. New instances fail at once, the old one serves; after a power cut there is
/// none but new ones, and the copy has its own files.
fn wrong_config_map(cases: &Cases) -> Result<()> {
    const FILE: &str = "authentication.yaml";
    let node = cases.node();
    let config = node.json(&["-n", "kube-system", "get", "configmap", "kube-apiserver"])?;
    let right = config["data"][FILE].as_str().context("no file for authentication")?.to_owned();
    let wrong = right.replace("AuthenticationConfiguration", "AuthenticationConfusion");
    ensure!(wrong != right, "{FILE} has another kind: {right}");
    let set = |value: &str| {
        let patch = json!({"data": {FILE: value}}).to_string();
        node.get(&["-n", "kube-system", "patch", "configmap", "kube-apiserver", "-p", &patch])
    };
    cases.during("wrong ConfigMap", Limit::Seamless, |_| {
        set(&wrong)?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-apiserver"])?;
        eventually("the new pod fails", POD, || {
            let trouble = trouble(node)?;
            ensure!(trouble.contains("exitCode"), "it has not failed yet: {trouble}");
            Ok(())
        })
    })?;
    let what = "wrong ConfigMap, then a power cut";
    cases.during(what, Limit::Off, |_| cases.off_and_back(what, |_| Ok(())))?;
    cases.during("wrong ConfigMap, served by the copy", Limit::Gap(LONGEST), |_| {
        std::thread::sleep(LEFT_ALONE);
        let reasons = ["Reverted", "Restored"];
        eprintln!("badchange: {}", wait_reported_any(node, &reasons, "kube-apiserver")?);
        Ok(())
    })?;
    cases.during("right ConfigMap", Limit::Gap(LONGEST), |_| {
        set(&right)?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-apiserver"])?;
        wait_whole(node).map(drop)
    })
}
