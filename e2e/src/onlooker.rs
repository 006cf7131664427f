//! Watches a node while something goes on: that nobody starts a second apiserver (no copy of it is
//! placed, and there is never more than one process of it), or which copies the kubelet runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ceiling::{POD, eventually};
use crate::node::Node;
use crate::whole::STATIC_PODS;

/// How often is looked: a copy that is placed stays for seconds.
const EVERY: Duration = Duration::from_millis(200);

/// What was there at any time.
#[derive(Debug, Default)]
struct Seen {
    copies: BTreeSet<String>,
    most_apiservers: usize,
    looks: usize,
}

/// Does something, and checks that one apiserver was all there was, and no copy of anything.
///
/// # Errors
/// When the work fails, or with what was started.
pub fn with_one_apiserver<T>(node: &Node, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (manifests, processes) = (node.path(STATIC_PODS)?, node.path("/proc")?);
    let over = AtomicBool::new(false);
    let (value, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&manifests, &processes, &over));
        let value = work();
        over.store(true, Ordering::Relaxed);
        (value, watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let value = value?;
    ensure!(seen.looks > 0 && seen.most_apiservers > 0, "nothing was looked at: {seen:?}");
    ensure!(seen.copies.is_empty(), "copies were placed: {:?}", seen.copies);
    ensure!(seen.most_apiservers == 1, "{} apiservers ran at once", seen.most_apiservers);
    Ok(value)
}

/// Does something, and tells the components (`kube-apiserver`, …) whose copies the kubelet ran
/// meanwhile: a container's log is there from its start to the end of its pod. The node may be off
/// at times.
///
/// # Errors
/// When the work fails.
pub fn copies_that_ran<T>(node: &Node, work: impl FnOnce() -> Result<T>) -> Result<(T, BTreeSet<String>)> {
    let logs = node.disk().join("var/log/pods");
    let suffix = format!("-{}_", node.name());
    let over = AtomicBool::new(false);
    let (value, ran) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut ran = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                ran.extend(list(&logs).iter().filter_map(|pod| {
                    let (pod_name, _) = pod.file_name()?.to_str()?.split_once(&suffix)?;
                    let (component, _) = pod_name.split_once("-checkpoint-")?;
                    let logs = list(pod).iter().flat_map(|container| list(container)).collect::<Vec<_>>();
                    let began = logs.iter().any(|log| log.metadata().is_ok_and(|m| m.len() > 0));
                    let name = component.strip_prefix("kube-system_").unwrap_or(component);
                    began.then(|| name.to_owned())
                }));
                std::thread::sleep(EVERY);
            }
            ran
        });
        let value = work();
        over.store(true, Ordering::Relaxed);
        (value, watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok((value?, ran))
}

fn watch(manifests: &Path, processes: &Path, over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let names = list(manifests).into_iter().filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()));
        seen.copies.extend(names.filter(|name| name.ends_with("_kube-apiserver-checkpoint.yaml")));
        seen.most_apiservers = seen.most_apiservers.max(apiservers(processes));
        seen.looks += 1;
        std::thread::sleep(EVERY);
    }
    seen
}

/// The guardians' processes, by the node's own numbers, each with its environment.
///
/// # Errors
/// When the node is off.
pub fn guardians(node: &Node) -> Result<BTreeMap<u32, String>> {
    let is_one = |process: &PathBuf| {
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let arguments: Vec<_> = arguments.split(|b| *b == 0).collect();
        arguments.windows(2).any(|pair| pair == [&b"guardian"[..], b"run"])
    };
    let described = |process: PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        let number = process.file_name()?.to_str()?.parse().ok()?;
        Some((number, String::from_utf8_lossy(&environment).into_owned()))
    };
    Ok(list(&node.path("/proc")?).into_iter().filter(is_one).filter_map(described).collect())
}

/// The guardian's process, by the node's own number.
///
/// # Errors
/// When there is not exactly one.
pub fn guardian(node: &Node) -> Result<u32> {
    let found = guardians(node)?;
    ensure!(found.len() == 1, "these guardians run: {:?}", found.keys());
    found.keys().next().copied().context("no guardian runs")
}

/// Kills the guardian, and waits for the next one.
///
/// # Errors
/// When there is none to kill, or no other one comes.
pub fn kill_guardian(node: &Node) -> Result<()> {
    let before = guardian(node)?;
    node.shell(&format!("kill -KILL {before}"))?;
    eventually("the next guardian", POD, || {
        ensure!(guardian(node)? != before, "it is the one it was");
        Ok(())
    })
}

/// How many processes run the apiserver. A program's name is cut after 15 letters (proc_pid_comm(5)).
fn apiservers(processes: &Path) -> usize {
    let comm = |process: &PathBuf| std::fs::read_to_string(process.join("comm")).unwrap_or_default();
    list(processes).iter().filter(|process| comm(process).trim() == "kube-apiserver").count()
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
