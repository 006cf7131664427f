//! Verbs that are run again, at the same time as another one, or for something else than what runs: the cluster stays what
//! its maker meant, and who is refused or waits is told why.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use e2e::cases::at_rest;
use e2e::ceiling::{POD, eventually};
use e2e::node::{ASSETS, BUNDLE, Ended, Node, config};
use e2e::shared::{self, NEWEST_BUNDLE};
use e2e::whole::wait_whole;
use serde_json::{Value, json};

/// Exit codes (docs/exit-codes.md).
const NOT_READY: i32 = 5;
const DIFFERS: i32 = 16;
const BUSY: i32 = 17;

const CONFIG: &str = "/root/cluster.yaml";

/// Runs a command twice at once, and says how each ended, and what it said, in files.
const TWICE: &str =
    r#"for n in 1 2; do ( "$@" >/root/$n.out 2>/root/$n.err; echo $? >/root/$n.code ) & done; wait"#;

pub(crate) fn intent_holds_whoever_runs_what_again() -> Result<()> {
    let node = Node::create("intent")?;
    host::fs::write(&node.path(CONFIG)?, config("audit: {level: Request}").as_bytes(), 0o600)?;
    two_bring_ups(&node).context("two `up` at once on a bare host")?;
    at_rest(&node)?;
    without_its_config(&node).context("`up` without the config")?;
    another_config(&node).context("`up` with another config")?;
    two_renders(&node).context("two `render` at once")?;
    two_upgrades(&node).context("two `upgrade apply` at once")?;
    pods_that_have_ended(&node).context("pods that have ended")
}

/// The oldest cluster that is built, and the bundle of the newest.
pub(crate) fn intent_of_another_version_is_refused() -> Result<()> {
    shared::oldest(|node| {
        at_rest(node)?;
        let runs = version(node)?;
        let inside = ["kubestrap", "bundle", "inspect", NEWEST_BUNDLE, "-o", "json"];
        let bundle: Value = serde_json::from_str(&node.exec(&inside)?.success()?.stdout)?;
        let brings = bundle["kubernetesVersion"].as_str().context("the bundle has no version")?.to_owned();
        ensure!(runs != brings, "both are {runs}");
        let before = seen(node)?;
        let said = [
            "nothing was changed".to_owned(),
            format!("kubernetesVersion: {runs} → {brings}"),
            format!("`kubestrap upgrade plan {brings} --bundle {NEWEST_BUNDLE}`"),
        ];
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let up = ["kubestrap", "up", "--bundle", NEWEST_BUNDLE];
        node.exec(&up)?.failure(DIFFERS, &said)?;
        node.exec(&[&up[..], &["--dry-run"]].concat())?.failure(DIFFERS, &said)?;
        // Also when the config says the version that runs.
        let its_own = format!("kubernetesVersion={runs}");
        node.exec(&[&up[..], &["--set", &its_own]].concat())?.failure(DIFFERS, &said[..2])?;
        same(&before, &seen(node)?)?;
        ensure!(version(node)? == runs, "another version runs");
        wait_whole(node).map(drop)
    })
}

/// One makes the cluster, the other waits for it, says for whom, and finds nothing to do.
fn two_bring_ups(node: &Node) -> Result<()> {
    let ended = twice(node, &["kubestrap", "up", "--bundle", BUNDLE, "--config", CONFIG])?;
    let waited = |ended: &&Twin| ended.stderr.contains("which is at work on this host");
    let waiting: Vec<_> = ended.iter().filter(waited).collect();
    let [waited] = waiting[..] else { anyhow::bail!("not one of them has waited: {ended:#?}") };
    ensure!(waited.stderr.contains("wait for `kubestrap up` (pid "), "{}", waited.stderr);
    let nothing = |ended: &Twin| ended.stdout.starts_with("nothing to do");
    ensure!(nothing(waited) && ended.iter().filter(|e| nothing(e)).count() == 1, "{ended:#?}");
    is_complete(node, ASSETS)?;
    node.shell("flock --nonblock /run/kubestrap true").context("a lock is left").map(drop)
}

/// The directory's own config counts: with the defaults it would be refused, or change files.
fn without_its_config(node: &Node) -> Result<()> {
    let before = seen(node)?;
    let up = node.exec(&["kubestrap", "up", "--bundle", BUNDLE])?.success()?;
    ensure!(up.stdout.starts_with("nothing to do"), "{}", up.stdout);
    same(&before, &seen(node)?)
}

fn another_config(node: &Node) -> Result<()> {
    let before = seen(node)?;
    let up = |more: &[&str]| node.exec(&[&["kubestrap", "up", "--bundle", BUNDLE], more].concat());
    let refused = |ended: Ended, said: &[&str]| {
        ended
            .failure(DIFFERS, said)?
            .failure(DIFFERS, &["nothing was changed", "with apply in the place of plan"])
    };
    let audit = ["audit.enabled: true → false", "`kubestrap upgrade plan --set audit.enabled=false`"];
    refused(up(&["--set", "audit.enabled=false"])?, &audit)?;
    refused(up(&["--set", "audit.enabled=false", "--dry-run"])?, &audit)?;
    refused(up(&["--set", "audit.enabled=false", "--prepare-only"])?, &audit)?;
    // The defaults are another config than the one that it was made with.
    let defaults = ["audit.level: Request → Metadata", "`kubestrap upgrade plan --config /dev/null`"];
    refused(up(&["--config", "/dev/null"])?, &defaults)?;
    same(&before, &seen(node)?)?;

    // So is one that somebody has edited in the directory. The edit is left to him.
    let own = format!("{ASSETS}/kubestrap.yaml");
    node.shell(&format!("cp -a {own} /root/own.yaml; sed -i 's/level: Request/level: Metadata/' {own}"))?;
    let edited = files(node)?;
    refused(up(&[])?, &["audit.level: Request → Metadata", "`kubestrap upgrade plan`"])?;
    ensure!(files(node)? == edited, "something was changed");
    ensure!(objects(node)? == before.1, "the cluster was changed");
    node.shell(&format!("mv /root/own.yaml {own}")).map(drop)
}

/// Both end well, and what they leave is one whole directory: neither would change a file in it.
fn two_renders(node: &Node) -> Result<()> {
    const DIR: &str = "/root/rendered";
    let render =
        ["kubestrap", "render", "--asset-dir", DIR, "--node-name", "other", "--node-address", "10.89.0.9"];
    for _ in 0..3 {
        let ended = twice(node, &render)?;
        eprintln!(
            "intent: {:?} of two renders",
            ended.map(|e| e.stderr.contains("wait for `kubestrap render`"))
        );
        is_complete(node, DIR)?;
        let diff = node.exec(&[&render[..], &["--diff"]].concat())?.success()?.stdout;
        ensure!(!diff.contains("changed") && !diff.contains("new"), "it is not as rendered:\n{diff}");
        node.shell(&format!("rm -r {DIR}"))?;
    }
    Ok(())
}

/// The second one is told who is at work, and ends; the first one does what it was told to.
fn two_upgrades(node: &Node) -> Result<()> {
    let verb = ["kubestrap", "upgrade", "apply", "-o", "json", "--stable", "3"];
    let mut first =
        node.spawn(&[&verb[..], &["--set", "components.kubeScheduler.extraArgs={v: '1'}"]].concat())?;
    let events = BufReader::new(first.stdout.take().context("no stdout")?);
    let mut events = events.lines();
    let step = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|event| event["event"] == "step");
    let begun = events.by_ref().find_map(|line| line.ok().filter(|line| step(line)));
    begun.context("it began no step")?;
    // It may not end before the other one has given up.
    let pid = node.shell("pgrep -of '[u]pgrade apply'")?;
    let pid = pid.trim();
    node.shell(&format!("kill -STOP {pid}"))?;
    let before = objects(node);
    let second =
        node.exec(&["kubestrap", "upgrade", "apply", "--set", "components.kubeScheduler.extraArgs={v: '3'}"]);
    let (up, after) = (node.exec(&["kubestrap", "up", "--bundle", BUNDLE, "--timeout", "5"]), objects(node));
    node.shell(&format!("kill -CONT {pid}"))?;
    let who = format!("`kubestrap upgrade apply` (pid {pid}, begun ");
    let said = [&who, "is at work on this host, and nothing was changed"];
    second?.failure(BUSY, &said)?;
    up?.failure(BUSY, &said)?;
    ensure!(before? == after?, "something was changed meanwhile");
    let rest: Vec<String> = events.collect::<Result<_, _>>()?;
    let status = first.wait()?;
    ensure!(status.success(), "the first one failed: {status}: {rest:#?}");
    let arguments = node.arguments("kube-scheduler")?;
    ensure!(arguments.iter().any(|arg| arg == "--v=1"), "{arguments:?}");
    wait_whole(node).map(drop)
}

/// Nobody waits for what has ended; what has not is waited for, for as long as was said.
fn pods_that_have_ended(node: &Node) -> Result<()> {
    let up = || node.exec(&["kubestrap", "up", "--bundle", BUNDLE, "--timeout", "20"]);
    let ended = [("completed", "Succeeded", "--version"), ("failed", "Failed", "--no-such-flag")];
    for (name, _, flag) in ended {
        let container = json!({"name": "it", "image": image(node)?, "command": ["kube-scheduler", flag]});
        pod(node, name, &json!({"restartPolicy": "Never", "containers": [container]}))?;
    }
    for (name, phase, _) in ended {
        is_phase(node, name, phase)?;
    }
    // One that somebody made: it has another one by now, and this one stays as a record.
    let coredns = ["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns"];
    let dns = node.json(&coredns)?["items"][0]["metadata"]["name"].as_str().context("no CoreDNS")?.to_owned();
    let status = json!({"status": {"phase": "Failed", "reason": "Evicted"}}).to_string();
    node.get(&["-n", "kube-system", "patch", "pod", &dns, "--subresource=status", "-p", &status])?;
    is_phase(node, &dns, "Failed")?;
    node.rolled_out("kube-system", "deployment/coredns")?;
    let found = up()?.success()?;
    ensure!(found.stdout.starts_with("nothing to do"), "{}", found.stdout);
    for name in ["completed", "failed", &dns] {
        node.get(&["-n", "kube-system", "get", "pod", name]).context("it was not there any more")?;
    }

    let nowhere =
        json!({"nodeSelector": {"drill": "nowhere"}, "containers": [{"name": "it", "image": "none"}]});
    pod(node, "waiting", &nowhere)?;
    up()?.failure(NOT_READY, &["these pods are not ready", "waiting", "describe pods"])?;
    let all = ["-n", "kube-system", "delete", "pod", "completed", "failed", "waiting", &dns];
    node.get(&all)?;
    up()?.success()?;
    wait_whole(node).map(drop)
}

fn pod(node: &Node, name: &str, spec: &Value) -> Result<()> {
    let metadata = json!({"name": name, "namespace": "kube-system"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    node.kubectl_with(&pod.to_string(), &["create", "-f", "-"])?.success().map(drop)
}

fn is_phase(node: &Node, name: &str, phase: &str) -> Result<()> {
    eventually(&format!("pod {name} is {phase}"), POD, || {
        let pod = node.json(&["-n", "kube-system", "get", "pod", name])?;
        ensure!(pod["status"]["phase"] == phase, "{}", pod["status"]);
        Ok(())
    })
}

/// An image with a program that ends when it is told to, which the node has.
fn image(node: &Node) -> Result<Value> {
    let scheduler = node.json(&["-n", "kube-system", "get", "deployment", "kube-scheduler"])?;
    Ok(scheduler["spec"]["template"]["spec"]["containers"][0]["image"].clone())
}

/// One of two that ran at once.
#[derive(Debug)]
struct Twin {
    stdout: String,
    stderr: String,
}

/// Runs a command twice in the same second; both end well.
fn twice(node: &Node, command: &[&str]) -> Result<[Twin; 2]> {
    node.exec(&[&["sh", "-c", TWICE, "sh"], command].concat())?.success()?;
    let twin = |n: u8| -> Result<Twin> {
        let said = |what: &str| -> Result<String> {
            Ok(host::fs::read_to_string(&node.path(&format!("/root/{n}.{what}"))?)?)
        };
        let twin = Twin { stdout: said("out")?, stderr: said("err")? };
        let code = said("code")?;
        ensure!(code.trim() == "0", "it ended with {code}: {twin:#?}");
        Ok(twin)
    };
    Ok([twin(1)?, twin(2)?])
}

/// Nothing of a run is left beside the directory's files, and all of these are there.
fn is_complete(node: &Node, dir: &str) -> Result<()> {
    let files = node.shell(&format!("cd {dir} && find . -mindepth 1"))?;
    let hidden: Vec<_> = files.lines().filter(|file| file.contains("/.")).collect();
    ensure!(hidden.is_empty(), "a run left {hidden:?}");
    for file in
        ["kubestrap.yaml", "tls/ca.crt", "tls/ca.key", "auth/kubeconfig", "manifests/kube-apiserver.yaml"]
    {
        ensure!(files.lines().any(|found| found == format!("./{file}")), "{file} is missing: {files}");
    }
    Ok(())
}

/// Each file that `up` writes: its digest, its number on the disk, and when it was written.
fn files(node: &Node) -> Result<Vec<String>> {
    let places = format!(
        "{ASSETS} /etc/kubernetes /etc/systemd/system /etc/containerd /etc/cni /etc/sysctl.d /etc/modules-load.d \
         /opt/cni/bin /usr/local/bin /var/lib/kubelet/config.yaml"
    );
    let list = node.shell(&format!(
        "for p in {places}; do [ ! -e $p ] || find $p -type f -printf '%i %T@ ' -exec sha256sum {{}} ';'; done | sort -k4"
    ))?;
    let list: Vec<String> = list.lines().map(str::to_owned).collect();
    ensure!(list.len() > 50, "only {} files", list.len());
    Ok(list)
}

/// How often what somebody wants of the cluster was changed.
fn objects(node: &Node) -> Result<Vec<String>> {
    let list = node.json(&["get", "daemonsets,deployments,configmaps", "--all-namespaces"])?;
    let items = list["items"].as_array().context("no objects")?.iter().map(|object| {
        let meta = &object["metadata"];
        format!("{} {} {} {}", object["kind"], meta["name"], meta["generation"], object["data"])
    });
    Ok(items.collect())
}

/// What is there, as [`files`] and [`objects`] say it.
type Seen = (Vec<String>, Vec<String>);

fn seen(node: &Node) -> Result<Seen> {
    Ok((files(node)?, objects(node)?))
}

fn same(before: &Seen, after: &Seen) -> Result<()> {
    for (before, after) in [(&before.0, &after.0), (&before.1, &after.1)] {
        let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        ensure!(gone.is_empty() && new.is_empty(), "it was changed: before {gone:#?}, after {new:#?}");
    }
    Ok(())
}

/// The version of the cluster's API.
fn version(node: &Node) -> Result<String> {
    let version: Value = serde_json::from_str(&node.get(&["get", "--raw", "/version"])?)?;
    Ok(version["gitVersion"].as_str().context("no version")?.to_owned())
}
