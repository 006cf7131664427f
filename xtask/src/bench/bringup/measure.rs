//! One run: the command's time and memory, and what a watcher saw meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use super::watch::{self, Source};
use crate::bench::node::{Node, mib};

/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(5);

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// In which rounds the node's memory is looked at: it is a sum over all its groups.
const NODE_ROUNDS: u32 = 5;

/// What is timed.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    /// The command in the node.
    pub(super) argv: &'a [String],
    /// A kubeconfig in the node with every right, from the first moment on.
    pub(super) kubeconfig: &'a str,
    /// Which pods are the control plane.
    pub(super) source: Source,
}

/// The figures of one run. Seconds are since the start of the command.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    /// The command ended.
    pub(super) command_s: f64,
    /// The API's port took a connection.
    pub(super) listens_s: f64,
    /// All control-plane pods were Ready.
    pub(super) ready_s: f64,
    /// A pod was bound to the node.
    pub(super) scheduled_s: f64,
    /// The most memory that the command's process had (VmHWM).
    pub(super) command_mib: f64,
    /// The most anonymous memory of all that runs in the node.
    pub(super) node_mib: f64,
    /// When the command said that a step of it was done, where it tells.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) steps_s: BTreeMap<String, f64>,
}

impl Run {
    /// When the cluster could be used: its control plane Ready, a pod scheduled.
    pub(super) fn usable_s(&self) -> f64 {
        self.ready_s.max(self.scheduled_s)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "API listens {:.2} s, control plane ready {:.2} s, pod scheduled {:.2} s, command done {:.2} s",
            self.listens_s, self.ready_s, self.scheduled_s, self.command_s
        )?;
        self.steps_s.iter().try_for_each(|(step, s)| write!(f, ", {step} {s:.2} s"))
    }
}

/// Runs and measures.
pub(super) fn run(node: &Node<'_>, timed: &Timed<'_>) -> Result<Run> {
    let over = AtomicBool::new(false);
    let command = node.command(&timed.argv.iter().map(String::as_str).collect::<Vec<_>>());
    let began = Instant::now();
    let mut child = command.spawn(Stdio::piped(), Stdio::piped())?;
    let stdout = child.stdout.take().context("no pipe")?;
    let mut stderr = child.stderr.take().context("no pipe")?;
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch::watch(node, timed.kubeconfig, timed.source, began, &over));
        let steps = scope.spawn(move || steps(BufReader::new(stdout), began));
        let errors = scope.spawn(move || {
            let mut text = String::new();
            // It ends with the command, to the millisecond.
            stderr.read_to_string(&mut text).map(|_| (text, began.elapsed()))
        });
        let memory = sample(node, &mut child, began, || watching.is_finished());
        // On every way out the threads end: they look at it.
        over.store(true, Ordering::Relaxed);
        let memory = memory?;
        let (errors, ended) = join(errors)?;
        let status = child.wait()?;
        ensure!(status.success(), "`{}` failed: {status}\n{errors}", command.line());
        let (steps_s, seen) = (join(steps)?, join(watching)?);
        let seconds = |at: Option<Duration>| at.map_or(f64::NAN, |at| at.as_secs_f64());
        // A self-hosted apiserver shares its port: the kubelet's probe may have been answered by
        // the temporary one. The command probes the instance itself, so both have to agree.
        let ready_s = seconds(seen.ready).max(steps_s.get("ready").copied().unwrap_or(0.0));
        Ok(Run {
            command_s: ended.as_secs_f64(),
            listens_s: seconds(seen.listens),
            ready_s,
            scheduled_s: seconds(seen.scheduled),
            command_mib: mib(memory.command),
            node_mib: mib(memory.node),
            steps_s,
        })
    })
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// When each step was done, from the events that kubestrap prints; none from anybody else's output.
fn steps(lines: impl BufRead, began: Instant) -> std::io::Result<BTreeMap<String, f64>> {
    let mut steps = BTreeMap::new();
    for line in lines.lines() {
        let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
        if let (Some(step), Some("done")) = (event["step"].as_str(), event["state"].as_str()) {
            steps.insert(step.to_owned(), began.elapsed().as_secs_f64());
        }
    }
    Ok(steps)
}

/// The most that was seen, in bytes.
#[derive(Debug, Default)]
struct Memory {
    command: u64,
    node: u64,
}

/// Looks at memory until the command has ended and the watcher has seen all.
fn sample(node: &Node<'_>, child: &mut Child, began: Instant, seen: impl Fn() -> bool) -> Result<Memory> {
    let mut memory = Memory::default();
    for round in 0.. {
        let ended = child.try_wait()?;
        if ended.is_some_and(|status| seen() || !status.success()) {
            break;
        }
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            anyhow::bail!("not up after {} s", LIMIT.as_secs());
        }
        memory.command = memory.command.max(peak_of_child(child.id()).unwrap_or(0));
        if round % NODE_ROUNDS == 0 {
            memory.node = memory.node.max(node.memory().unwrap_or(0));
        }
        std::thread::sleep(SAMPLE);
    }
    Ok(memory)
}

/// The high-water mark of the one process that `kubestrap sandbox exec` runs.
fn peak_of_child(exec: u32) -> Option<u64> {
    let children = std::fs::read_to_string(format!("/proc/{exec}/task/{exec}/children")).ok()?;
    let child = children.split_ascii_whitespace().next()?;
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
