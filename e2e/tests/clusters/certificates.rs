//! Certificates that end while nobody can renew them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::node::Node;
use e2e::shared;
use host::command::Command;

use crate::doctor;

const AGE: &str = include_str!("certificates-age.sh");
/// Those of a control-plane node: six of its components, three of etcd, the kubelet's, the guardian's.
const CERTIFICATES: usize = 11;
const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

pub(crate) fn certificates_that_ended_while_the_node_was_off() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("certificates", node)?;
        cases.take(cases.comes_back("no certificate is valid", end_all));
        cases.take(the_kubelet_is_known_again(node));
        cases.take(doctor::comes_back(node));
        cases.end()
    })
}

fn end_all(disk: &Path) -> Result<()> {
    let aged = Command::new("bash").args(["-c", AGE, "age"]).arg(disk).run()?.text();
    let count: usize = aged.trim().parse().with_context(|| aged.clone())?;
    ensure!(count == CERTIFICATES, "{count} certificates were found");
    Ok(())
}

fn the_kubelet_is_known_again(node: &Node) -> Result<()> {
    let valid = format!("openssl x509 -noout -checkend 0 -in {KUBELET}");
    node.shell(&valid).context("the kubelet's certificate is not renewed")?;
    node.get(&["wait", "node", node.name(), "--for=condition=Ready", "--timeout=60s"]).map(drop)
}
