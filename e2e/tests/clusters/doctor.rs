//! `doctor` says beforehand whether a node would come back, and `status` what runs where. Both are
//! asked on a node of another test, which is left as it was.

use anyhow::{Context, Result, ensure};
use e2e::node::{Ended, Node};
use e2e::whole::{CHECKPOINTS, STATIC_PODS, good, wait_promoted};
use serde_json::Value;

/// The component whose checkpoint is damaged: one that has copies of files.
const APISERVER: &str = "kube-system_kube-apiserver";
/// Exit codes of `doctor`: every node comes back; one would not.
const COMES_BACK: i32 = 0;
pub(crate) const WOULD_NOT: i32 = 12;

pub(crate) fn tells_before_the_power_fails(node: &Node) -> Result<()> {
    wait_promoted(node)?;
    comes_back(node)?;
    damaged_file(node)?;
    lost_file(node)?;
    lost_key(node)?;
    not_started_at_boot(node)?;
    nothing_can_be_written(node)?;
    comes_back(node)?;
    status_tells_where_everything_is_from(node)
}

fn doctor(node: &Node) -> Result<Ended> {
    node.exec(&["kubestrap", "doctor", "-o", "json"])
}

/// The checks of this node that did not pass: their names, and what each says.
fn failed(ended: &Ended) -> Result<Vec<(String, String)>> {
    let report: Value = serde_json::from_str(&ended.stdout).with_context(|| format!("{ended:?}"))?;
    let checks = report["nodes"][0]["checks"].as_array().context("no checks")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let failed = checks.iter().filter(|check| check["result"] == "failed");
    Ok(failed.map(|check| (text(&check["name"]), text(&check["what"]))).collect())
}

/// It says that the node would come back.
pub(crate) fn comes_back(node: &Node) -> Result<()> {
    let ended = doctor(node)?;
    ensure!(ended.code() == COMES_BACK, "{} {}\n{}", ended.code(), ended.stdout, ended.stderr);
    ensure!(failed(&ended)?.is_empty(), "{}", ended.stdout);
    Ok(())
}

/// Breaks something, and this check alone has to fail and say this; then mends it.
fn fails(node: &Node, harm: &str, mend: &str, check: &str, says: &str) -> Result<()> {
    node.shell(harm)?;
    let ended = doctor(node);
    node.shell(mend)?;
    let ended = ended?;
    let found = failed(&ended)?;
    ensure!(ended.code() == WOULD_NOT, "{harm}: exit code {}: {found:?}", ended.code());
    ensure!(
        found.iter().any(|(name, what)| name.starts_with(check) && what.contains(says)),
        "{harm}: {check} does not say {says:?}: {found:?}"
    );
    eprintln!("doctor: {harm}: {found:?}");
    comes_back(node)
}

/// The guardian reads no generation again that it has written: only `doctor` finds this.
fn damaged_file(node: &Node) -> Result<()> {
    let generation = good(node, APISERVER)?.context("no good generation")?;
    let file = node.shell(&format!("find {CHECKPOINTS}/{APISERVER}/{generation}/files -type f | head -1"))?;
    let file = file.trim();
    ensure!(!file.is_empty(), "the checkpoint has no files");
    let name = file.rsplit('/').next().unwrap_or(file);
    fails(
        node,
        &format!("cp -p {file} /run/kept && echo >> {file}"),
        &format!("cp -p /run/kept {file}"),
        "Checkpoint-kube-system/kube-apiserver",
        name,
    )
}

fn lost_file(node: &Node) -> Result<()> {
    let generation = good(node, APISERVER)?.context("no good generation")?;
    let manifest = format!("{CHECKPOINTS}/{APISERVER}/{generation}/pod.yaml");
    fails(
        node,
        &format!("mv {manifest} /run/kept"),
        &format!("mv /run/kept {manifest}"),
        "Checkpoint-kube-system/kube-apiserver",
        "damaged",
    )
}

fn lost_key(node: &Node) -> Result<()> {
    const ANEW: &str = "/run/made-anew";
    let key = "/etc/kubernetes/kubestrap/kube-scheduler/kubeconfig";
    let look = || {
        let mend = format!("test ! -e {key} || touch {ANEW}; mv /run/kept {key}");
        fails(node, &format!("mv {key} /run/kept"), &mend, "HostPaths-kube-system/kube-scheduler", key)
    };
    // Once a minute the guardian makes it anew: a look in that very second finds nothing wrong, and there is nothing.
    look().or_else(|error| {
        let anew = node.shell(&format!("rm {ANEW} 2>/dev/null && echo yes || true"))?;
        if anew.trim() == "yes" { look() } else { Err(error) }
    })
}

fn not_started_at_boot(node: &Node) -> Result<()> {
    fails(node, "systemctl disable kubelet", "systemctl enable kubelet", "KubeletEnabled", "boot")
}

fn nothing_can_be_written(node: &Node) -> Result<()> {
    fails(
        node,
        &format!("mount --bind {STATIC_PODS} {STATIC_PODS} && mount -o remount,ro,bind {STATIC_PODS}"),
        // At once: the kubelet lists the directory now and then, which keeps it busy.
        &format!("umount --lazy {STATIC_PODS}"),
        "WritableStaticPods",
        "",
    )
}

pub(crate) fn status_tells_where_everything_is_from(node: &Node) -> Result<()> {
    let status = node.exec(&["kubestrap", "status", "-o", "json"])?.success()?.stdout;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(status["api"]["answers"] == true, "{status:#}");
    let pods = status["nodes"][0]["pods"].as_array().context("no pods")?;
    let source = |component: &str| {
        let pod = pods.iter().find(|pod| pod["component"] == component);
        pod.and_then(|pod| pod["source"]["kind"].as_str()).map(str::to_owned)
    };
    for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        ensure!(source(component).as_deref() == Some("api"), "{component} is from {:?}", source(component));
    }
    ensure!(source("etcd").as_deref() == Some("static"), "etcd is from {:?}", source("etcd"));
    ensure!(status["nodes"][0]["steering"]["on"] == true, "{:#}", status["nodes"][0]["steering"]);
    ensure!(status["etcd"]["members"].as_array().is_some_and(|m| m.len() == 1), "{:#}", status["etcd"]);
    let leaders = status["leaders"].as_array().context("no leaders")?;
    ensure!(leaders.len() >= 2 && leaders.iter().all(|l| l["holder"].is_string()), "{leaders:?}");
    Ok(())
}
