//! What somebody tries who may do little in a cluster, and whom the administrator helps without knowing.

use anyhow::{Result, ensure};
use e2e::ceiling::{self, eventually};
use e2e::node::Node;
use e2e::shared;

use crate::workload::etcd_image;

/// In the namespace of somebody who may make pods there and nothing else.
const PODS: &str = include_str!("attack-programs.yaml");
/// What the program would make that the pod shows in the place of etcd's tool.
const TRACE: &str = "/root/a-container-s-program-was-run";

pub(crate) fn attacks_by_what_a_container_shows() -> Result<()> {
    shared::cluster(|node| {
        let pods = PODS.replace("IMAGE", &etcd_image(node)?).replace("TRACE", TRACE);
        node.kubectl_with(&pods, &["apply", "-f", "-"])?.success()?;
        let tried = plans_run_nothing_of_it(node);
        node.kubectl(&["delete", "namespace", "tenant", "--wait=false"])?.success()?;
        tried
    })
}

/// More than one of them, for the first container that fits was taken, and etcd's own is one.
fn plans_run_nothing_of_it(node: &Node) -> Result<()> {
    eventually("the tenant's pods to run", ceiling::POD, || {
        let ready = node.get(&[
            "-n",
            "tenant",
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ])?;
        ensure!(ready == "5", "{ready} of 5");
        Ok(())
    })?;
    let config = e2e::node::config("components: {kubeScheduler: {extraArgs: {v: 3}}}");
    host::fs::write(&node.path("/root/config.yaml")?, config.as_bytes(), 0o600)?;
    let plan = node.exec(&["kubestrap", "upgrade", "plan", "--config", "/root/config.yaml"])?.success()?;
    ensure!(!node.path(TRACE)?.exists(), "root ran a program that a container showed");
    ensure!(plan.stdout.contains("kube-scheduler"), "{}", plan.stdout);
    Ok(())
}
