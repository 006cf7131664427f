//! Certificates that end while nobody can renew them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cases::{Cases, at_rest};
use e2e::ceiling::{self, eventually};
use e2e::inputs::Inputs;
use e2e::load::{Load, Rate};
use e2e::node::{ASSETS, Node};
use e2e::shared;
use e2e::whole::{restarts, wait_settled, wait_whole};
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
    age_by(disk, how, None)
}

/// The same with the keys of authorities that are somewhere else.
fn age_by(disk: &Path, how: [&str; 3], keys: Option<&Path>) -> Result<usize> {
    let script = Command::new("bash").args(["-c", AGE, "age"]).arg(disk).args(how);
    let script = if let Some(keys) = keys { script.arg(keys) } else { script };
    let aged = script.run()?.text();
    let count: usize = aged.trim().parse().with_context(|| aged.clone())?;
    ensure!(count >= CERTIFICATES, "{count} certificates were found");
    Ok(count)
}

fn the_kubelet_is_known_again(node: &Node) -> Result<()> {
    let valid = format!("openssl x509 -noout -checkend 0 -in {KUBELET}");
    node.shell(&valid).context("the kubelet's certificate is not renewed")?;
    node.get(&["wait", "node", node.name(), "--for=condition=Ready", "--timeout=60s"]).map(drop)
}

/// Where somebody keeps the asset directory, off the node: its authorities' keys are nowhere else.
struct Elsewhere {
    dir: tempfile::TempDir,
}

impl Elsewhere {
    fn take_from(node: &Node) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let assets = node.path(ASSETS)?;
        Command::new("cp").arg("-a").arg(&assets).arg(dir.path().join("assets")).run()?;
        node.shell(&format!("rm -r {ASSETS}/tls"))?;
        let keys = dir.path().join("keys");
        host::fs::create_dir_all(&keys, 0o700)?;
        for (name, file) in [("ca", "ca"), ("etcd-ca", "etcd/ca"), ("front-proxy-ca", "front-proxy-ca")] {
            let from = dir.path().join(format!("assets/tls/{file}.key"));
            host::fs::write(&keys.join(format!("{name}.key")), &host::fs::read(&from)?, 0o600)?;
        }
        Ok(Self { dir })
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Signs what the node asks for, and brings it back, as `doctor` says to.
    fn sign(&self, node: &Node) -> Result<()> {
        let (theirs, ours) = (node.path(REQUESTS)?, self.dir.path().join("requests"));
        host::fs::remove_dir_all(&ours)?;
        Command::new("cp").arg("-a").arg(&theirs).arg(&ours).run()?;
        let (assets, requests) = (self.dir.path().join("assets"), ours.display().to_string());
        let assets = assets.display().to_string();
        let args = ["certs", "sign", "--asset-dir", &assets, &requests];
        node.inputs().run(&args)?.failure(USAGE, &["nobody is here to be asked"])?;
        let signed = node.inputs().run(&[&args[..], &["--yes"]].concat())?.success()?;
        eprintln!("certificates: {}", signed.stdout);
        for answer in
            host::fs::list(&ours)?.iter().filter(|path| path.extension().is_some_and(|e| e == "crt"))
        {
            let to = theirs.join(answer.file_name().unwrap_or_default());
            host::fs::write(&to, &host::fs::read(answer)?, 0o644)?;
        }
        Ok(())
    }
}

/// Exit code of a question that nobody is there to answer.
const USAGE: i32 = 2;
const REQUESTS: &str = "/etc/kubernetes/kubestrap/requests";

/// How many certificates the node asks for.
fn asked(node: &Node) -> Result<usize> {
    let listed = node.shell(&format!("ls {REQUESTS} 2>/dev/null | grep -c '[.]csr$' || true"))?;
    listed.trim().parse().with_context(|| listed.clone())
}

fn asks_for(node: &Node, count: usize) -> Result<()> {
    eventually("the certificates to be asked for", ceiling::REPORTED, || {
        let found = asked(node)?;
        ensure!(found == count, "{found} of {count}");
        Ok(())
    })
}

pub(crate) fn certificates_whose_authorities_are_kept_elsewhere() -> Result<()> {
    let node = Node::create("offline")?;
    node.up(&["--set", "certificates.authorityKeys=offline"])?.success()?;
    wait_settled(&node)?;
    let elsewhere = Elsewhere::take_from(&node)?;
    let keys = node.shell("find /etc /root /var/lib/kubestrap /var/lib/kubelet -name '*ca.key'")?;
    ensure!(keys.trim().is_empty(), "on the node are {keys}");
    doctor::comes_back(&node)?;
    node.get(&["-n", "kube-system", "logs", "-l", "k8s-app=kube-scheduler", "--tail=1"])?;

    let (report, result) = loaded(&node, |node| {
        age_by(&node.path("/")?, ["2 hours ago", "now + 20 hours", "on"], Some(&elsewhere.keys()))?;
        asks_for(node, CERTIFICATES)?;
        node.exec(&["kubestrap", "doctor"])?.failure(doctor::WOULD_NOT, &[])?;
        elsewhere.sign(node)?;
        asks_for(node, 0)
    })?;
    eprintln!("certificates: {}", report.summary());
    result?;
    report.is_seamless(node.inputs())?;
    doctor::comes_back(&node)?;

    node.get(&["create", "configmap", "kept"])?;
    node.power_cycle(|disk| {
        age_by(disk, ["2 hours ago", "1 hour ago", "off"], Some(&elsewhere.keys())).map(drop)
    })?;
    asks_for(&node, CERTIFICATES + 1)?;
    let told = node.exec(&["kubestrap", "doctor"])?.failure(doctor::WOULD_NOT, &[])?;
    for said in ["scheduler is asked for, and has ended at", "kubestrap certs sign --asset-dir DIR requests"]
    {
        ensure!(told.stdout.contains(said), "doctor does not say {said:?}: {}", told.stdout);
    }
    elsewhere.sign(&node)?;
    wait_whole(&node)?;
    node.get(&["get", "configmap", "kept"])?;
    the_kubelet_is_known_again(&node)?;
    doctor::comes_back(&node)
}
