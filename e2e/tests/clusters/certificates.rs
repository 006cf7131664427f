//! Certificates that end while nobody can renew them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cases::{Cases, at_rest};
use e2e::ceiling::{self, eventually};
use e2e::inputs::Inputs;
use e2e::load::{Load, Rate};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::{restarts, wait_settled};
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

/// How long the certificates live: no shorter ones can be had, and in a soak as long as one that is watched for an hour.
const SHORTEST: (&str, i64) = ("10m", 10);
const SHORT: (&str, i64) = ("20m", 20);
/// How long a soak looks at them, and how often.
const WATCHED: Duration = Duration::from_hours(1);
const LOOKS: Duration = Duration::from_secs(30);

pub(crate) fn certificates_that_live_for_minutes() -> Result<()> {
    let soak = Inputs::get().soak;
    let (validity, minutes) = if soak { SHORT } else { SHORTEST };
    let node = Node::create("minutes")?;
    node.up(&["--set", &format!("certificates.leafValidity={validity}")])?.success()?;
    wait_settled(&node)?;
    let before = pods(&node)?;
    if soak {
        let rate = Rate {
            new_connections: 5,
            kept_requests: 5,
            kept_connections: 1,
            limit: WATCHED + Duration::from_mins(5),
        };
        let load = Load::start(&node, rate, ceiling::BACK)?;
        let began = Instant::now();
        while began.elapsed() < WATCHED {
            all_are_valid(&node, minutes)?;
            std::thread::sleep(LOOKS);
        }
        let report = load.finish()?;
        eprintln!("certificates: {}", report.summary());
        report.none_failed()?;
    }
    all_are_valid(&node, minutes)?;
    let after = pods(&node)?;
    ensure!(before == after, "pods were restarted: {before:?}, then {after:?}");
    doctor::comes_back(&node)
}

/// Of the control plane and the kubelet: how many there are, and each that has ended or lives for longer than it may.
const LIVES: &str = r#"n=0; for f in $(find /etc/kubernetes/kubestrap /etc/kubernetes/pki -name '*.crt') \
    /var/lib/kubelet/pki/kubelet-client-current.pem /var/lib/kubelet/pki/kubelet-server-current.pem; do
    case $f in */ca.crt|*-ca.crt) continue;; esac
    n=$((n + 1))
    at() { date -d "$(openssl x509 -noout -$1 -in $f | cut -d= -f2)" +%s; }
    [ $(at enddate) -gt $(date +%s) ] || echo "$f has ended"
    [ $(($(at enddate) - $(at startdate))) -le $LIFE ] || echo "$f lives for longer"
done; echo "$n"#;

/// The kubelet's serving certificate is the one of whom logs are asked.
fn all_are_valid(node: &Node, minutes: i64) -> Result<()> {
    // Each begins five minutes early: clocks differ.
    let life = (minutes + 5) * 60;
    let told = node.shell(&format!("LIFE={life}; {LIVES} are valid\""))?;
    ensure!(told.trim() == format!("{} are valid", CERTIFICATES + 1), "{told}");
    node.get(&["-n", "kube-system", "logs", "-l", "k8s-app=kube-scheduler", "--tail=1"]).map(drop)
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
