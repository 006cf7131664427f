//! Certificates that end while nobody can renew them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cases::{Cases, at_rest};
use e2e::ceiling::{self, eventually};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::restarts;
use host::command::Command;
use serde_json::Value;

use crate::doctor;
use crate::rollouts::loaded;

const AGE: &str = include_str!("certificates-age.sh");
/// Those of a control-plane node: six of its components, three of etcd, the guardian's.
const CERTIFICATES: usize = 10;
const KUBELET: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// How long the certificates live yet that are to be renewed: the guardian looks each minute.
const LEFT: Duration = Duration::from_mins(4);
/// Whoever uses one that has ended has been found out by then.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// Whoever went on with a certificate that he had read before would fail when that has ended.
pub(crate) fn certificates_are_renewed_under_load() -> Result<()> {
    shared::cluster(|node| {
        at_rest(node)?;
        let before = pods(node)?;
        let (report, result) = loaded(node, |node| {
            let aged = Instant::now();
            let end = format!("now + {} seconds", LEFT.as_secs());
            age(&node.path("/")?, ["2 hours ago", &end, "on"])?;
            eventually("every certificate to be renewed", ceiling::REPORTED, || {
                let ending = node.shell(ENDING)?;
                ensure!(ending.trim().is_empty(), "these are not: {ending}");
                Ok(())
            })?;
            eprintln!("certificates: renewed after {:.1} s", aged.elapsed().as_secs_f32());
            std::thread::sleep((LEFT + AFTERWARDS).saturating_sub(aged.elapsed()));
            Ok(())
        })?;
        eprintln!("certificates: {}", report.summary());
        result?;
        report.is_seamless(node.inputs())?;
        let after = pods(node)?;
        ensure!(before == after, "pods were restarted: {before:?}, then {after:?}");
        doctor::comes_back(node)
    })
}

/// Those of the control plane that end within an hour.
const ENDING: &str = "for f in $(find /etc/kubernetes/kubestrap /etc/kubernetes/pki -name '*.crt'); do \
    openssl x509 -noout -checkend 3600 -in $f >/dev/null || echo $f; done";

/// Each pod of the control plane, and how often it was started again.
fn pods(node: &Node) -> Result<BTreeMap<String, i64>> {
    let pods = node.json(&["-n", "kube-system", "get", "pods", "-l", "tier=control-plane"])?;
    let pod = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, restarts(pod).unwrap_or(-1))
    };
    let pods: BTreeMap<_, _> = pods["items"].as_array().context("no pods")?.iter().map(pod).collect();
    ensure!(pods.len() >= 5, "only {pods:?}");
    Ok(pods)
}

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
    ensure!(age(disk, ["2 hours ago", "1 hour ago", "off"])? == CERTIFICATES + 1, "the kubelet's is missing");
    Ok(())
}

fn age(disk: &Path, how: [&str; 3]) -> Result<usize> {
    let aged = Command::new("bash").args(["-c", AGE, "age"]).arg(disk).args(how).run()?.text();
    let count: usize = aged.trim().parse().with_context(|| aged.clone())?;
    ensure!(count >= CERTIFICATES, "{count} certificates were found");
    Ok(count)
}

fn the_kubelet_is_known_again(node: &Node) -> Result<()> {
    let valid = format!("openssl x509 -noout -checkend 0 -in {KUBELET}");
    node.shell(&valid).context("the kubelet's certificate is not renewed")?;
    node.get(&["wait", "node", node.name(), "--for=condition=Ready", "--timeout=60s"]).map(drop)
}
