//! Networks other than the usual one, each on a cluster of its own: both families of addresses, IPv6 alone, and one
//! where the user brings the network, etcd and the CA, and wants iptables.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::ceiling::{POD, WHOLE, eventually};
use e2e::node::{Node, config};
use e2e::whole::STATIC_PODS;
use serde_json::json;

use crate::whole::every_pod_is_ready;
use crate::workload;

/// Where the config lies in the node.
const CONFIG: &str = "/root/config.yaml";

/// An asset directory that only lends its certificates and its etcd.
const THEIRS: &str = "/root/theirs";

pub(crate) fn networks_of_both_families() -> Result<()> {
    let node = brought_up(
        "dualstack",
        "network:\n  podCIDRs: [10.244.0.0/16, 'fd00:10:244::/56']\n  \
         serviceCIDRs: [10.96.0.0/16, 'fd00:10:96::/112']\n",
    )?;
    every_pod_is_ready(&node)?;
    workload::is_reachable(&node)?;
    workload::dns_answers_at(&node, 2)
}

pub(crate) fn networks_of_ipv6_alone() -> Result<()> {
    let node = brought_up(
        "ipv6",
        "network:\n  podCIDRs: ['fd00:10:244::/56']\n  serviceCIDRs: ['fd00:10:96::/112']\n",
    )?;
    every_pod_is_ready(&node)?;
    let addresses = workload::node_addresses(&node)?;
    ensure!(addresses.first().is_some_and(std::net::IpAddr::is_ipv6), "the node is at {addresses:?}");
    workload::is_reachable(&node)?;
    workload::dns_answers_at(&node, 1)
}

fn brought_up(name: &str, text: &str) -> Result<Node> {
    let node = Node::create(name)?;
    let began = Instant::now();
    up(&node, text, &[])?;
    eprintln!("{name}: cluster up in {:.1} s", began.elapsed().as_secs_f32());
    Ok(node)
}

/// Runs `up` with a config; what it said on stderr.
fn up(node: &Node, text: &str, more: &[&str]) -> Result<String> {
    host::fs::write(&node.path(CONFIG)?, config(text).as_bytes(), 0o600)?;
    Ok(node.up(&[&["--config", CONFIG], more].concat())?.success()?.stderr)
}

/// An etcd that is not ours, with a CA of its own, a given cluster CA, kube-proxy in iptables mode, and no network:
/// `up` says what waits for one, and all is well once the user has installed it.
pub(crate) fn networks_that_the_user_brings() -> Result<()> {
    let node = Node::create("own")?;
    let address = node.facts()?["address"].as_str().unwrap_or_default().to_owned();
    let text = format!(
        "network: {{provider: none}}\nproxy: {{mode: iptables}}\n\
         certificates:\n  ca: {{certFile: {THEIRS}/tls/ca.crt, keyFile: {THEIRS}/tls/ca.key}}\n\
         etcd:\n  external:\n    endpoints: ['https://{address}:2379']\n    caFile: {THEIRS}/tls/etcd/ca.crt\n    \
         certFile: {THEIRS}/tls/apiserver-etcd-client.crt\n    \
         keyFile: {THEIRS}/tls/apiserver-etcd-client.key\n"
    );
    node.exec(&["kubestrap", "render", "--asset-dir", THEIRS, "--node-address", &address])?.success()?;
    up(&node, &text, &["--prepare-only"])?;
    run_etcd(&node, THEIRS)?;
    let said = up(&node, &text, &[])?;
    ensure!(said.contains("these pods wait for a network, which you install"), "{said}");
    let pods = node.shell(&format!("ls {STATIC_PODS}"))?;
    ensure!(pods.trim() == "etcd.yaml\nkubestrap-guardian.yaml", "static pods: {pods}");

    install_a_network(&node)?;
    eventually("every pod is ready", WHOLE, || every_pod_is_ready(&node))?;
    workload::is_reachable(&node)?;
    workload::dns_answers_at(&node, 1)?;
    node.shell("iptables-save -t nat | grep -q KUBE-SERVICES")?;
    let again = node.exec(&["kubestrap", "start"])?.success()?;
    ensure!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);
    Ok(())
}

/// etcd as a static pod that the node's owner placed, with the certificates of an asset directory.
pub(crate) fn run_etcd(node: &Node, assets: &str) -> Result<()> {
    node.shell(&format!(
        "mkdir -p /etc/kubernetes/pki /var/lib/etcd && cp -r {assets}/tls/etcd /etc/kubernetes/pki/ \
         && chown -R 61104:61104 /etc/kubernetes/pki/etcd /var/lib/etcd && chmod 700 /var/lib/etcd \
         && cp {assets}/static-manifests/etcd.yaml {STATIC_PODS}/"
    ))?;
    eventually("etcd", POD, || node.exec(&["curl", "-sf", "http://127.0.0.1:2381/readyz"])?.success())
        .map(drop)
}

/// A bridge with the range that the node was given, by the CNI plugins that every node has.
fn install_a_network(node: &Node) -> Result<()> {
    let found = node.json(&["get", "node", node.name()])?;
    let conditions = found["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.filter(|c| c["type"] == "Ready").any(|c| c["status"] == "True");
    ensure!(!ready, "the node is Ready without a network: {found}");
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "mine",
        "plugins": [
            {
                "type": "bridge",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": found["spec"]["podCIDR"]}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    node.shell("mkdir -p /etc/cni/net.d")?;
    Ok(host::fs::write(&node.path("/etc/cni/net.d/10-mine.conflist")?, list.to_string().as_bytes(), 0o644)?)
}
