//! One boot: when the API is ready again, when its components are, when all is.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use host::command::Command;
use serde::Serialize;

use crate::bench::lines;
use crate::bench::node::{Node, mib};
use crate::bench::tool::Tool;

/// How long a boot may take.
const LIMIT: Duration = Duration::from_mins(5);

/// How often memory is looked at: it is a sum over all the node's groups.
const SAMPLE: Duration = Duration::from_millis(250);

/// How long a kubectl that ended is left alone: each start costs a CPU some 50 ms.
const RETRY: Duration = Duration::from_millis(250);

/// Ends when the API is ready. Until it listens, a try costs no TLS handshake.
const READYZ: &str =
    "until curl -sfko /dev/null --max-time 2 https://127.0.0.1:6443/readyz; do sleep 0.05; done";

/// A line for each change of a pod: change, name, where it comes from, phase, Ready, when its first
/// container started.
const COLUMNS: &str = r#"jsonpath={.type}|{.object.metadata.name}|{.object.metadata.annotations.kubernetes\.io/config\.source}|{.object.status.phase}|{.object.status.conditions[?(@.type=="Ready")].status}|{.object.status.containerStatuses[0].state.running.startedAt}{"\n"}"#;

/// Names of the control plane's pods begin with these, copies' too.
const COMPONENTS: [&str; 4] = ["etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"];

/// The figures of one boot. Seconds are since the power-on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Boot {
    /// The API said that it is ready.
    pub(super) readyz_s: f64,
    /// Each component had a pod that is Ready: the API's own, or a copy.
    pub(super) components_s: f64,
    /// Every pod was Ready, and none of them was a copy.
    pub(super) all_s: f64,
    /// The most anonymous memory of all that ran in the node.
    pub(super) node_mib: f64,
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/readyz {:.2} s, each component {:.2} s, all pods {:.2} s, memory {:.0} MiB",
            self.readyz_s, self.components_s, self.all_s, self.node_mib
        )
    }
}

/// Turns a node on and measures until all is as it was.
pub(super) fn measure(node: &mut Node<'_>, tool: Tool) -> Result<Boot> {
    // To the second, as the API writes times.
    let clock = Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"]).run()?.text();
    let began = Instant::now();
    node.power_on()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let node = &*node;
        let memory = scope.spawn(|| peak_memory(node, &over));
        let seen = watch(node, tool, clock.trim(), began);
        // Also when something failed: the other thread looks at it.
        over.store(true, Ordering::Relaxed);
        let memory = memory.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (readyz, seen) = seen?;
        Ok(Boot {
            readyz_s: readyz.as_secs_f64(),
            components_s: seen.components.as_secs_f64(),
            all_s: seen.all.as_secs_f64(),
            node_mib: mib(memory),
        })
    })
}

fn watch(node: &Node<'_>, tool: Tool, clock: &str, began: Instant) -> Result<(Duration, Seen)> {
    node.command(&["sh", "-c", READYZ]).timeout(LIMIT).run().context("waiting for /readyz")?;
    let readyz = began.elapsed();
    Ok((readyz, wait_for_all(node, tool, clock, began)?))
}

fn peak_memory(node: &Node<'_>, over: &AtomicBool) -> u64 {
    let mut peak = 0;
    while !over.load(Ordering::Relaxed) {
        peak = peak.max(node.memory().unwrap_or(0));
        std::thread::sleep(SAMPLE);
    }
    peak
}

/// When it was seen, each since the power-on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    components: Duration,
    all: Duration,
}

/// Watches the pods until all of them are Ready with containers that started at `clock` or later: what
/// the API has stored may be from before the power cut.
pub(super) fn wait_for_all(node: &Node<'_>, tool: Tool, clock: &str, began: Instant) -> Result<Seen> {
    let mut components = None;
    loop {
        let mut pods = Pods::since(clock);
        let args = [
            "--kubeconfig",
            tool.kubeconfig(),
            "get",
            "pods",
            "--all-namespaces",
            "--watch",
            "--output-watch-events",
            "--request-timeout=30s",
            "--output",
            COLUMNS,
        ];
        let watch = node.command(&[&["kubectl"], &args[..]].concat());
        let seen = lines::until(&watch, Stdio::inherit(), |line| {
            pods.line(line);
            if pods.components_are_ready() {
                components.get_or_insert_with(|| began.elapsed());
            }
            let components = components.filter(|_| pods.all_are_ready())?;
            Some(Seen { components, all: began.elapsed() })
        })?;
        if let Some(seen) = seen {
            return Ok(seen);
        }
        ensure!(began.elapsed() < LIMIT, "not all was seen: {components:?} {pods:#?}");
        std::thread::sleep(RETRY);
    }
}

/// A pod as the API has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    is_static: bool,
    ready: bool,
}

/// All pods that live.
#[derive(Debug)]
struct Pods<'a> {
    clock: &'a str,
    pods: BTreeMap<String, Pod>,
}

impl<'a> Pods<'a> {
    fn since(clock: &'a str) -> Self {
        Self { clock, pods: BTreeMap::new() }
    }

    /// Takes one line of [`COLUMNS`].
    fn line(&mut self, line: &str) {
        let columns: Vec<&str> = line.split('|').collect();
        let [change, name, source, phase, ready, started] = columns[..] else { return };
        // Failed ones stay as a record.
        if change == "DELETED" || matches!(phase, "Failed" | "Succeeded") {
            self.pods.remove(name);
            return;
        }
        let ready = ready == "True" && !started.is_empty() && started >= self.clock;
        self.pods.insert(name.to_owned(), Pod { is_static: source == "file", ready });
    }

    fn components_are_ready(&self) -> bool {
        let ready =
            |prefix: &&str| self.pods.iter().any(|(name, pod)| pod.ready && name.starts_with(*prefix));
        COMPONENTS.iter().all(ready)
    }

    fn all_are_ready(&self) -> bool {
        let copy = |name: &String, pod: &Pod| pod.is_static && name.contains("-checkpoint-");
        self.components_are_ready() && self.pods.iter().all(|(name, pod)| pod.ready && !copy(name, pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: &str = "2026-03-01T10:00:00Z";

    fn pods(lines: &[&str]) -> Pods<'static> {
        let mut pods = Pods::since(CLOCK);
        for line in lines {
            pods.line(line);
        }
        pods
    }

    const BOOTED: [&str; 4] = [
        "ADDED|etcd-n|file|Running|True|2026-03-01T10:00:02Z",
        "ADDED|kube-apiserver-x||Running|True|2026-03-01T10:00:03Z",
        "ADDED|kube-controller-manager-x||Running|True|2026-03-01T10:00:03Z",
        "ADDED|kube-scheduler-x||Running|True|2026-03-01T10:00:03Z",
    ];

    #[test]
    fn what_is_from_before_the_power_cut_does_not_count() {
        assert!(pods(&BOOTED).all_are_ready());
        let stale = "MODIFIED|kube-scheduler-x||Running|True|2026-03-01T09:59:59Z";
        assert!(!pods(&[&BOOTED[..], &[stale]].concat()).components_are_ready());
        let starts = "MODIFIED|kube-scheduler-x||Running|False|2026-03-01T10:00:03Z";
        assert!(!pods(&[&BOOTED[..], &[starts]].concat()).components_are_ready());
    }

    #[test]
    fn a_copy_makes_a_component_ready_but_is_not_the_end() {
        let dead = "MODIFIED|kube-apiserver-x||Running|False|";
        let copy = "ADDED|kube-apiserver-checkpoint-n|file|Running|True|2026-03-01T10:00:03Z";
        let booting = pods(&[&BOOTED[..], &[dead, copy]].concat());
        assert!(booting.components_are_ready() && !booting.all_are_ready());
        let both = pods(&[&BOOTED[..], &[copy]].concat());
        assert!(!both.all_are_ready());
        let gone = copy.replace("ADDED", "DELETED");
        assert!(pods(&[&BOOTED[..], &[copy, &gone]].concat()).all_are_ready());
    }

    #[test]
    fn every_pod_has_to_be_ready() {
        let refused = "ADDED|coredns-a||Failed||";
        assert!(pods(&[&BOOTED[..], &[refused]].concat()).all_are_ready());
        let pending = "ADDED|coredns-b||Pending|False|";
        assert!(!pods(&[&BOOTED[..], &[pending]].concat()).all_are_ready());
    }
}
