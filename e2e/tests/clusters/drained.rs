//! `upgrade apply --drain`: pods that can run elsewhere leave a node before its kubelet changes. What would lose
//! something is told first, what a disruption budget holds back ends in a step back, and a killed run goes on.

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{POD, eventually};
use e2e::node::{Ended, Node};
use serde_json::Value;

use crate::workload::etcd_image;

/// A guest with a file that it would lose, and a budget that lets none of one go.
const GUEST: &str = include_str!("guest.yaml");
/// A change of the kubelet alone.
const CONFIG: &str = "components: {kubelet: {extraArgs: {v: 3}}}";
/// Seconds; the guest ends within one.
const TIMEOUT: &str = "60";

pub(crate) fn drain_moves_what_can_move(node: &Node, other: &str) -> Result<()> {
    host::fs::write(&node.path("/root/drain.yaml")?, e2e::node::config(CONFIG).as_bytes(), 0o600)?;
    node.get(&["cordon", other])?;
    node.kubectl_with(&GUEST.replace("IMAGE", &etcd_image(node)?), &["apply", "-f", "-"])?.success()?;
    node.rolled_out("default", "deployment/guest")?;
    ensure!(guests_node(node)? == node.name());

    apply(node, &[])?.failure(4, &["DrainElsewhere failed", "DrainLocalData failed", "default/guest-"])?;
    node.get(&["uncordon", other])?;
    apply(node, &[])?.failure(4, &["DrainLocalData failed"])?;
    let accepted = ["--ignore-preflight-errors", "DrainLocalData"];

    // The budget: nothing that takes its time for ever, and nothing left over.
    let held = apply(node, &[&accepted[..], &["--timeout", TIMEOUT]].concat())?;
    held.failure(14, &["still has pods", "default/guest-", "disruption budget", "is back as it was"])?;
    ensure!(!is_cordoned(node)?, "the step back left it unschedulable");

    // A run that is killed while it waits, and goes on, although nobody asks for a drain any more.
    let mut killed = node.spawn(&[&command()[..], &accepted].concat())?;
    eventually("the node is unschedulable", POD, || {
        ensure!(is_cordoned(node)?);
        Ok(())
    })?;
    killed.kill()?;
    killed.wait()?;
    node.get(&["delete", "poddisruptionbudget", "guest"])?;
    apply(node, &accepted)?.success()?;
    ensure!(guests_node(node)? == other, "the guest is still there");
    ensure!(!is_cordoned(node)?, "it is still unschedulable");
    node.shell("pgrep -f '[k]ubelet .*--v=3'")?;
    let control_plane = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-scheduler"])?;
    let pods = control_plane["items"].as_array().context("no pods")?;
    ensure!(pods.iter().any(|pod| pod["spec"]["nodeName"] == node.name()), "no scheduler is left");
    node.get(&["delete", "deployment", "guest"]).map(drop)
}

fn command() -> [&'static str; 6] {
    ["kubestrap", "upgrade", "apply", "--drain", "--config", "/root/drain.yaml"]
}

fn apply(node: &Node, more: &[&str]) -> Result<Ended> {
    node.exec(&[&command()[..], more].concat())
}

fn is_cordoned(node: &Node) -> Result<bool> {
    Ok(node.json(&["get", "node", node.name()])?["spec"]["unschedulable"] == true)
}

/// Where the guest that is to stay runs.
fn guests_node(node: &Node) -> Result<String> {
    let pods = node.json(&["get", "pods", "-l", "app=guest"])?;
    let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let pod = pods["items"].as_array().into_iter().flatten().find(stays).context("no guest")?;
    Ok(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
}
