//! A node whose host gets another address: while it runs, and while it is off, as a network does it that gives addresses out.

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{MOMENT, POD, eventually};
use e2e::node::{BUNDLE, Node};
use e2e::whole::{wait_settled, wait_whole};
use serde_json::Value;

use crate::doctor;
use crate::workload;

/// The addresses that it gets, one after the other.
const FIRST: &str = "10.89.0.77";
const SECOND: &str = "10.89.0.78";
/// The API's own Service, to which kube-proxy leads on every node.
const SERVICE: &str = "https://10.96.0.1/readyz";
/// So long a run may be at work before it is killed, in seconds.
const LIVES: [&str; 3] = ["1", "4", "9"];

pub(crate) fn moved_node_follows() -> Result<()> {
    let node = Node::with_cluster("moved")?;
    wait_settled(&node)?;
    let was = address(&node)?;
    while_it_runs(&node, &was)?;

    node.power_off()?;
    node.power_on_at(FIRST)?;
    told(&node, &was, FIRST)?;
    let up = node.up(&[])?.success()?;
    ensure!(up.stderr.contains(&format!("this node's address was {was}")), "{}", up.stderr);
    follows(&node, &was, FIRST)?;
    node.power_cycle(|_| Ok(()))?;
    wait_whole(&node)?;
    reaches_the_api(&node)?;

    wait_settled(&node)?;
    node.power_off()?;
    node.power_on_at(SECOND)?;
    for life in LIVES {
        node.exec(&["timeout", "-s", "KILL", life, "kubestrap", "up", "--bundle", BUNDLE])?;
    }
    node.up(&[])?.success()?;
    follows(&node, FIRST, SECOND)
}

fn address(node: &Node) -> Result<String> {
    Ok(node.facts()?["address"].as_str().context("it has no address")?.to_owned())
}

/// The address goes and another one comes; everything still runs, and would not come back.
fn while_it_runs(node: &Node, was: &str) -> Result<()> {
    let exchange = |from: &str, to: &str| {
        node.shell(&format!(
            "ip addr del {from}/24 dev eth0; ip addr add {to}/24 dev eth0; ip route replace default via 10.89.0.1"
        ))
    };
    exchange(was, FIRST)?;
    let outcome = told(node, was, FIRST);
    exchange(FIRST, was)?;
    outcome?;
    doctor::comes_back(node)
}

/// Every verb that is asked says what the address was and what it is.
fn told(node: &Node, was: &str, is: &str) -> Result<()> {
    let text =
        format!("this node's address was {was}, as kubelet.service and etcd.yaml have it, and is {is} now");
    let doctor = node.exec(&["kubestrap", "doctor"])?;
    ensure!(doctor.code() == doctor::WOULD_NOT, "{}: {}", doctor.code(), doctor.stdout);
    ensure!(doctor.stdout.contains(&format!("failed: NodeAddress: {text}")), "{}", doctor.stdout);
    let status = node.exec(&["kubestrap", "status"])?.success()?.stdout;
    ensure!(status.contains(&text), "{status}");
    node.exec(&["kubestrap", "start"])?.failure(4, &[&text, "kubestrap up --bundle"])?;
    node.exec(&["kubestrap", "upgrade", "plan"])?.failure(4, &[&text])?;
    Ok(())
}

/// One run has had everything follow.
fn follows(node: &Node, was: &str, is: &str) -> Result<()> {
    wait_whole(node)?;
    reaches_the_api(node)?;
    workload::is_reachable(node)?;
    doctor::comes_back(node)?;
    let again = node.up(&[])?.success()?;
    ensure!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);

    let files = node.shell(&format!(
        "grep -rlF '{was}' /etc/kubernetes /etc/systemd/system/kubelet.service /var/lib/kubestrap/assets || true"
    ))?;
    ensure!(files.is_empty(), "these have the old address still:\n{files}");
    for (namespace, map) in
        [("kube-system", "kube-proxy"), ("kube-public", "cluster-info"), ("kube-system", "kubeadm-config")]
    {
        let map = node.json(&["-n", namespace, "get", "configmap", map])?["data"].to_string();
        ensure!(map.contains(is) && !map.contains(&format!("{was}:")), "{map}");
    }
    let slice = node.json(&["get", "endpointslice", "kubernetes"])?["endpoints"].to_string();
    ensure!(slice.contains(is) && !slice.contains(was), "{slice}");
    eventually("the Node has its new address", MOMENT, || {
        let nodes = node.json(&["get", "nodes"])?;
        let addresses = nodes["items"][0]["status"]["addresses"].to_string();
        ensure!(addresses.contains(is) && !addresses.contains(was), "{addresses}");
        Ok(())
    })?;
    let status = node.exec(&["kubestrap", "status", "-o", "json"])?.success()?.stdout;
    let status: Value = serde_json::from_str(&status)?;
    let members = &status["etcd"]["members"];
    ensure!(members[0]["peerUrls"][0] == format!("https://{is}:2380"), "{members}");
    ensure!(members[0]["clientUrls"].to_string().contains(is), "{members}");
    Ok(())
}

fn reaches_the_api(node: &Node) -> Result<()> {
    eventually("the API's Service answers on the node", POD, || {
        let answer = node.exec(&["curl", "-sk", "--max-time", "5", SERVICE])?.success()?.stdout;
        ensure!(answer == "ok", "{answer}");
        Ok(())
    })
}
