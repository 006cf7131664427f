//! A bare machine becomes a worker by the command that `token create` prints, and a bare machine again.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{POD, ROLLOUT, eventually};
use e2e::node::{BUNDLE, Ended, Node};
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::wait_whole;
use serde_json::json;

use crate::workload::etcd_image;

const NAME: &str = "worker";

// How the program ends (docs/exit-codes.md).
const USAGE: i32 = 2;
const CONFLICT: i32 = 8;
const UNREACHABLE: i32 = 18;
const UNTRUSTED: i32 = 19;
const TOKEN: i32 = 20;

/// What a node is registered with, for who looks whether it was.
const REGISTERED: [&str; 4] = ["--node-labels", "disk=fast", "--taints", "dedicated=join:PreferNoSchedule"];

pub(crate) fn worker_joins_by_the_printed_command() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("join", node)?;
        let worker = node.create_beside(NAME)?;
        cases
            .take(cases.during("wrong ones are refused", Limit::Seamless, |node| are_refused(node, &worker)));
        cases.take(cases.during("a worker joins", Limit::Seamless, |node| joins(node, &worker)));
        cases.take(cases.during("it runs a pod", Limit::Seamless, runs_a_pod));
        cases.take(cases.during("it leaves and joins again", Limit::Seamless, |node| {
            leaves(node, &worker)?;
            joins_again(node, &worker)
        }));
        cases.take(cases.during("it leaves", Limit::Seamless, |node| {
            leaves(node, &worker)?;
            worker.delete()?;
            wait_whole(node).map(drop)
        }));
        cases.end()
    })
}

/// The command that a node prints, as words.
pub(crate) fn command(node: &Node) -> Result<Vec<String>> {
    let create = ["kubestrap", "token", "create", "--print-join-command", "--bundle", BUNDLE];
    let printed = node.exec(&create)?.success()?.stdout;
    ensure!(printed.starts_with("kubestrap join ") && printed.lines().count() == 1, "{printed}");
    Ok(printed.split_whitespace().map(str::to_owned).collect())
}

/// Runs it on another node.
pub(crate) fn run(worker: &Node, command: &[String], more: &[&str]) -> Result<Ended> {
    let words = command.iter().map(String::as_str).chain(more.iter().copied());
    worker.exec(&words.collect::<Vec<_>>())
}

/// The command with the word behind a flag replaced.
fn with(command: &[String], flag: &str, change: impl Fn(&str) -> String) -> Result<Vec<String>> {
    let mut command = command.to_vec();
    let at = command.iter().position(|word| word == flag).with_context(|| format!("no {flag}"))?;
    command[at + 1] = change(&command[at + 1]);
    Ok(command)
}

fn are_refused(node: &Node, worker: &Node) -> Result<()> {
    let good = command(node)?;
    let began = Instant::now();
    let no_bundle = &good[..good.len() - 2];
    run(worker, no_bundle, &[])?.failure(USAGE, &["join needs --bundle for now"])?;
    let pin = with(&good, "--discovery-token-ca-cert-hash", |_| format!("sha256:{}", "0".repeat(64)))?;
    run(worker, &pin, &[])?.failure(UNTRUSTED, &["has the CA sha256:", "and not sha256:0000"])?;
    let secret = with(&good, "--token", |token| format!("{}.{}", &token[..6], "0".repeat(16)))?;
    run(worker, &secret, &[])?.failure(TOKEN, &["another secret part"])?;
    let mut elsewhere = good.clone();
    "127.0.0.1:6443".clone_into(&mut elsewhere[2]);
    run(worker, &elsewhere, &[])?.failure(USAGE, &["every host's own address"])?;
    elsewhere[2] = elsewhere_than(&good[2])?;
    run(worker, &elsewhere, &["--timeout", "10"])?.failure(UNREACHABLE, &["nobody answers"])?;
    let name = ["--node-name", node.name()];
    run(worker, &good, &name)?.failure(CONFLICT, &["a living node", "--node-name"])?;
    run(node, &good, &[])?.failure(CONFLICT, &[node.name(), "control-plane node"])?;

    let back = command(node)?;
    let token = back.iter().skip_while(|word| *word != "--token").nth(1).context("no token")?;
    node.exec(&["kubestrap", "token", "delete", token])?.success()?;
    eventually("a token that was taken back is known no more", POD, || {
        let ended = run(worker, &back, &[])?;
        // The signature goes a moment after the token.
        ensure!(ended.code() == TOKEN, "{} {}", ended.status, ended.stderr);
        ended.failure(TOKEN, &["knows no token"]).map(drop)
    })?;
    eprintln!("join: all that is wrong was told after {:.1} s", began.elapsed().as_secs_f32());
    let plan = run(worker, &good, &["--dry-run"])?.success()?.stdout;
    ensure!(plan.contains("start kubelet.service") && plan.contains("it joins https://"), "{plan}");
    let found =
        worker.shell("ls -d /etc/kubernetes/pki /var/lib/kubelet /var/lib/kubestrap 2>/dev/null || true")?;
    ensure!(found.is_empty(), "something was changed: {found}");
    Ok(())
}

/// The same machine on a port where nobody listens.
fn elsewhere_than(endpoint: &str) -> Result<String> {
    let (host, _) = endpoint.rsplit_once(':').context("no port")?;
    Ok(format!("{host}:6444"))
}

fn joins(node: &Node, worker: &Node) -> Result<()> {
    let command = command(node)?;
    let began = Instant::now();
    let joined = run(worker, &command, &REGISTERED)?.success()?;
    eprintln!("join: {:.1} s: {}{}", began.elapsed().as_secs_f32(), joined.stderr, joined.stdout);
    ensure!(joined.stdout.starts_with("worker is a node of https://"), "{}", joined.stdout);
    let found = node.json(&["get", "node", NAME])?;
    ensure!(found["metadata"]["labels"]["disk"] == "fast", "{}", found["metadata"]["labels"]);
    let taints = found["spec"]["taints"].as_array().context("no taints")?;
    ensure!(taints.iter().any(|taint| taint["key"] == "dedicated"), "{taints:?}");
    let kept = worker.shell("ls /etc/kubernetes; cat /etc/kubernetes/kubelet.conf")?;
    ensure!(!kept.contains("bootstrap") && !kept.contains("token:"), "the token is there: {kept}");

    let again = run(worker, &command, &REGISTERED)?.success()?;
    ensure!(again.stdout.starts_with("nothing to do: worker is a node of"), "{}", again.stdout);
    run(worker, &command, &["--node-labels", "disk=slow"])?
        .failure(CONFLICT, &["was registered with", "kubectl label node"])?;
    Ok(())
}

/// Its log is read, too: by the kubelet's serving certificate.
fn runs_a_pod(node: &Node) -> Result<()> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "on-worker"}, "spec": {
        "nodeSelector": {"disk": "fast"}, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": etcd_image(node)?, "command": ["etcd", "--version"]}]}});
    node.kubectl_with(&pod.to_string(), &["apply", "-f", "-"])?.success()?;
    eventually("a pod on the worker has ended well", POD, || {
        let found = node.json(&["get", "pod", "on-worker"])?;
        ensure!(found["status"]["phase"] == "Succeeded", "{}", found["status"]);
        ensure!(found["spec"]["nodeName"] == NAME, "{}", found["spec"]["nodeName"]);
        Ok(())
    })?;
    eventually("its log", POD, || {
        let log = node.get(&["logs", "on-worker"])?;
        ensure!(log.contains("etcd Version"), "{log}");
        Ok(())
    })?;
    node.get(&["delete", "pod", "on-worker"]).map(drop)
}

/// The node is drained and taken out, and the host is bare again.
fn leaves(node: &Node, worker: &Node) -> Result<()> {
    let limit = format!("--timeout={}s", ROLLOUT.as_secs());
    node.get(&["drain", NAME, "--ignore-daemonsets", "--delete-emptydir-data", &limit])?;
    worker.exec(&["kubestrap", "reset", "--yes"])?.success()?;
    node.get(&["delete", "node", NAME])?;
    let left =
        worker.shell("ls -d /etc/kubernetes/pki /var/lib/kubelet /var/lib/kubestrap 2>/dev/null || true")?;
    ensure!(left.is_empty(), "reset left {left}");
    Ok(())
}

/// Its certificate is valid yet, and is somebody else's for all that anybody knows.
fn joins_again(node: &Node, worker: &Node) -> Result<()> {
    let command = command(node)?;
    let refused = run(worker, &command, &[])?.failure(CONFLICT, &["was issued to", "kubectl delete csr"])?;
    let requests = refused.stderr.split("kubectl delete csr ").nth(1).context("no request is named")?;
    let requests = requests.lines().next().context("no request is named")?.split_whitespace();
    node.get(&["delete", "csr"].into_iter().chain(requests).collect::<Vec<_>>())?;
    let joined = run(worker, &command, &[])?.success()?;
    ensure!(joined.stdout.starts_with("worker is a node of https://"), "{}", joined.stdout);
    Ok(())
}
