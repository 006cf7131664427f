//! A node stays the same one whatever its host is called.

use anyhow::{Result, ensure};
use e2e::node::Node;
use e2e::whole::wait_settled;

/// Another node's name, as the host might get it.
const OTHER: &str = "renamed-host";

pub(crate) fn renamed_host_is_the_same_node() -> Result<()> {
    let node = Node::with_cluster("renamed")?;
    wait_settled(&node)?;
    node.shell(&format!(
        "hostname {OTHER}; echo {OTHER} >/etc/hostname; echo 127.0.1.1 {OTHER} >>/etc/hosts"
    ))?;

    let start = node.exec(&["kubestrap", "start"])?.success()?;
    ensure!(start.stdout.starts_with("nothing to do"), "{}", start.stdout);
    let up = node.up(&[])?.success()?;
    ensure!(up.stdout.starts_with("nothing to do"), "{}", up.stdout);
    let doctor = node.exec(&["kubestrap", "doctor"])?.success()?.stdout;
    ensure!(doctor.starts_with("node renamed would come back"), "{doctor}");
    let status = node.exec(&["kubestrap", "status"])?.success()?.stdout;
    ensure!(status.contains("Node renamed ("), "{status}");
    let diff = node
        .exec(&["kubestrap", "render", "--diff", "--set", "guardian.minReadySeconds=30"])?
        .success()?
        .stdout;
    ensure!(!diff.contains(OTHER), "it speaks of another node:\n{diff}");
    for text in [&doctor, &status] {
        let told = "this host is called renamed-host now, and is node renamed still";
        ensure!(text.contains(told), "it does not tell:\n{text}");
        ensure!(text.matches(OTHER).count() <= 2, "it speaks of another node:\n{text}");
    }
    for verb in ["start", "doctor", "status"] {
        node.exec(&["kubestrap", verb, "--node-name", OTHER])?
            .failure(8, &["this node is called renamed", "and not renamed-host", "kubelet.service"])?;
    }
    node.up(&["--node-name", OTHER])?.failure(8, &["this node is called renamed"])?;

    let nodes = node.json(&["get", "nodes"])?;
    let names: Vec<_> =
        nodes["items"].as_array().into_iter().flatten().map(|n| &n["metadata"]["name"]).collect();
    ensure!(names == ["renamed"], "{names:?}");
    Ok(())
}
