//! Bad changes of the apiserver, on a cluster with one node. What never becomes ready costs nothing;
//! what becomes ready and then fails is reverted on the node, and a good change ends it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use e2e::load::{Load, Rate};
use e2e::node::{Node, eventually};
use e2e::sampler::{Cases, Limit, Sampler};
use e2e::whole::{good, wait_promoted, wait_reported, wait_whole};
use serde_json::{Value, json};

use crate::coldboot::{SETTLED, reads_back};

const WHOLE: Duration = Duration::from_mins(4);

/// The same when a copy was needed a short time before: the guardian takes longer to believe each time.
const AGAIN: Duration = Duration::from_mins(8);

/// The longest that the API may be away, whatever is changed.
const LONGEST: Duration = Duration::from_secs(15);

/// How long a bad change is left alone: as long as it takes the guardian to place a copy, and more.
const LEFT_ALONE: Duration = Duration::from_secs(40);

/// An apiserver that is killed 35 s after its start: well after it is ready and the one before it
/// has ended. It ends in good order when it is told to.
const DIES: &str = r#"kube-apiserver "$@" & server=$!
trap 'kill -TERM $server; wait $server; exit 0' TERM
/busybox sleep 35 & wait $!
kill -KILL $server; exit 137"#;

/// On this host, and so in the node.
const BUSYBOX: &str = "/bin/busybox";

#[test]
fn badchange_of_the_apiserver() -> Result<()> {
    let node = Node::with_cluster("badchange")?;
    wait_whole(&node, WHOLE)?;
    wait_promoted(&node, SETTLED)?;
    let sampler = Sampler::start(&node)?;
    let (identity, netns) = node.client()?;
    let writer = Load::start(identity, netns, Rate::trickle(), WHOLE);
    let mut cases = Cases::default();
    cases.take(never_ready(&node, &sampler, "a bad flag", |c| {
        let args = c["args"].as_array_mut().context("no args")?;
        args.push("--no-such-flag=1".into());
        Ok(())
    }));
    cases.take(never_ready(&node, &sampler, "a bad image", |c| {
        c["image"] = "registry.k8s.io/kube-apiserver:v0.0.0".into();
        Ok(())
    }));
    cases.take(dies_when_it_is_ready(&node, &sampler));
    cases.take(wrong_etcd_ca(&node, &sampler));
    cases.take(reads_back(writer));
    cases.end()
}

/// Changes the apiserver's container as `kubectl edit` does.
fn edit(node: &Node, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    edit_pod(node, |spec| change(&mut spec["containers"][0]))
}

fn edit_pod(node: &Node, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let mut object = node.json(&["-n", "kube-system", "get", "daemonset", "kube-apiserver"])?;
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
    wait_whole(node, WHOLE).map(drop)
}

/// A pod of the newest revision, and why it is not ready.
fn trouble(node: &Node) -> Result<String> {
    let pods = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-apiserver"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    let statuses = pods.iter().map(|pod| &pod["status"]["containerStatuses"][0]);
    let statuses = statuses.filter(|s| s["ready"] != true);
    Ok(statuses.map(|s| format!("{} {}", s["state"], s["lastState"])).collect::<Vec<_>>().join(", "))
}

fn never_ready(
    node: &Node,
    sampler: &Sampler,
    what: &str,
    change: impl FnOnce(&mut Value) -> Result<()>,
) -> Result<()> {
    let before = good(node, "kube-system_kube-apiserver")?;
    sampler.during(&format!("badchange: {what}"), Limit::Seamless, || {
        edit(node, change)?;
        // It was tried at least: otherwise nothing is shown.
        eventually("the new pod fails", Duration::from_mins(1), || {
            let trouble = trouble(node)?;
            let tried = ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "Error"];
            ensure!(tried.iter().any(|reason| trouble.contains(reason)), "{trouble}");
            Ok(())
        })?;
        std::thread::sleep(LEFT_ALONE);
        undo(node)
    })?;
    let after = good(node, "kube-system_kube-apiserver")?;
    ensure!(after == before, "it was promoted: {before:?} became {after:?}");
    Ok(())
}

/// Ready at first, and killed a while after its start, each time.
fn dies_when_it_is_ready(node: &Node, sampler: &Sampler) -> Result<()> {
    let before = good(node, "kube-system_kube-apiserver")?;
    ensure!(std::path::Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: busybox-static has it");
    sampler.during("badchange: ready, then dead", Limit::Gap(LONGEST), || {
        edit_pod(node, |spec| {
            let volume = json!({"name": "busybox", "hostPath": {"path": BUSYBOX, "type": "File"}});
            spec["volumes"].as_array_mut().context("no volumes")?.push(volume);
            let container = &mut spec["containers"][0];
            let mount = json!({"name": "busybox", "mountPath": "/busybox", "readOnly": true});
            container["volumeMounts"].as_array_mut().context("no mounts")?.push(mount);
            container["command"] = json!(["/busybox", "sh", "-c", DIES, "--"]);
            Ok(())
        })?;
        node.get(&["-n", "kube-system", "rollout", "status", "daemonset/kube-apiserver", "--timeout=90s"])?;
        eprintln!("badchange: the revision that dies was ready");
        let report = wait_reported(node, "Reverted", "kube-apiserver", Duration::from_mins(3))?;
        eprintln!("badchange: {report}");
        // It goes on dying, and nobody notices.
        let unnoticed = sampler.during("badchange: reverted", Limit::Seamless, || {
            std::thread::sleep(LEFT_ALONE * 2);
            Ok(())
        });
        // Whatever came of it: the next case begins with a good revision.
        undo(node)?;
        unnoticed
    })?;
    let after = good(node, "kube-system_kube-apiserver")?;
    ensure!(after == before, "it was promoted: {before:?} became {after:?}");
    Ok(())
}

/// The Secret is wrong. New instances fail at once, the old one serves; after a power cut there is
/// none but new ones, and the copy has its own files.
fn wrong_etcd_ca(node: &Node, sampler: &Sampler) -> Result<()> {
    let path = ["-n", "kube-system", "get", "secret", "kube-apiserver"];
    let secret = node.json(&path)?;
    let (key, right) = etcd_ca(&secret)?;
    // A certificate of another CA: the cluster's own.
    let wrong = secret["data"]["ca.crt"].as_str().context("no ca.crt")?.to_owned();
    ensure!(wrong != right, "both CAs are one");
    let set = |value: &str| {
        let patch = json!({"data": {&key: value}}).to_string();
        node.get(&["-n", "kube-system", "patch", "secret", "kube-apiserver", "-p", &patch])
    };
    sampler.during("badchange: wrong etcd CA", Limit::Seamless, || {
        set(&wrong)?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-apiserver"])?;
        eventually("the new pod fails", Duration::from_mins(2), || {
            let trouble = trouble(node)?;
            ensure!(trouble.contains("exitCode"), "it has not failed yet: {trouble}");
            Ok(())
        })
    })?;
    sampler.during("badchange: wrong etcd CA, then a power cut", Limit::Off, || {
        let on = node.power_cycle(|_| Ok(()))?;
        let api = sampler.answers_since(on, Duration::from_mins(1))?;
        eprintln!("badchange: the API answers {:.1} s after power-on", api.as_secs_f32());
        Ok(())
    })?;
    sampler.during("badchange: wrong etcd CA, served by the copy", Limit::Gap(LONGEST), || {
        std::thread::sleep(LEFT_ALONE);
        let report = wait_reported(node, "Reverted", "kube-apiserver", Duration::from_mins(2))
            .or_else(|_| wait_reported(node, "Restored", "kube-apiserver", Duration::from_secs(1)))?;
        eprintln!("badchange: {report}");
        Ok(())
    })?;
    sampler.during("badchange: right etcd CA", Limit::Gap(LONGEST), || {
        set(&right)?;
        node.get(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-apiserver"])?;
        wait_whole(node, AGAIN).map(drop)
    })
}

/// The key of the Secret that holds etcd's CA, and what it holds.
fn etcd_ca(secret: &Value) -> Result<(String, String)> {
    let data = secret["data"].as_object().context("an empty Secret")?;
    let (key, value) = data
        .iter()
        .find(|(key, _)| key.contains("etcd") && key.ends_with("ca.crt"))
        .with_context(|| format!("no CA of etcd among {:?}", data.keys().collect::<Vec<_>>()))?;
    let value = value.as_str().context("no text")?;
    let text = base64::engine::general_purpose::STANDARD.decode(value)?;
    ensure!(text.starts_with(b"-----BEGIN CERTIFICATE"), "{key} is no certificate");
    Ok((key.clone(), value.to_owned()))
}
