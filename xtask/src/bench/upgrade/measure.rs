//! One upgrade: how long it takes, and what a client of the API sees of it.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state;
use crate::bench::node::{Node, Site};
use crate::bench::tool::Tool;

/// How long an upgrade may take.
const LIMIT: Duration = Duration::from_mins(8);

/// How long the load runs before the first command.
const BEFORE: Duration = Duration::from_secs(3);

/// How often the state is looked at: each look costs a CPU some 100 ms.
const LOOK: Duration = Duration::from_secs(1);

/// How long the state must stay: a kubelet restarts static pods some time after it says that it is new.
const STABLE: Duration = Duration::from_secs(10);

/// What a user runs.
#[derive(Debug)]
pub(super) struct Command {
    /// What it is.
    pub(super) what: &'static str,
    /// The command in the node.
    pub(super) argv: Vec<String>,
}

/// The figures of one upgrade. Seconds are since the start of the first command.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    /// All commands had ended.
    pub(super) commands_s: f64,
    /// All of Kubernetes was of the new version and ready, and stayed so.
    pub(super) ready_s: f64,
    /// Requests to the API.
    requests: u64,
    /// Those of them that failed.
    pub(super) failed: f64,
    /// The longest time between two answers.
    pub(super) gap_s: f64,
    /// The slowest request.
    pub(super) slowest_s: f64,
    /// The first few failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<String>,
    /// When each part of the work began.
    steps: Vec<Step>,
}

/// A part of the work.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Step {
    what: String,
    began_s: f64,
}

/// What the load tells at its end.
#[derive(Debug, Deserialize)]
struct Load {
    total: u64,
    failures: Vec<String>,
    longest_gap_ms: u32,
    slowest_ms: u32,
}

impl Run {
    /// When nothing was left to do or to wait for.
    pub(super) fn whole_s(&self) -> f64 {
        self.commands_s.max(self.ready_s)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all new and ready {:.1} s, commands done {:.1} s, {} of {} requests failed, longest gap {:.2} s, slowest request {:.2} s",
            self.ready_s, self.commands_s, self.failed, self.requests, self.gap_s, self.slowest_s
        )?;
        self.steps.iter().try_for_each(|step| write!(f, "\n  {:6.1} s  {}", step.began_s, step.what))
    }
}

/// Runs the commands under load and measures.
pub(super) fn run(
    node: &Node<'_>,
    tool: Tool,
    load: &Path,
    version: &str,
    commands: &[Command],
) -> Result<Run> {
    let load = host::command::Command::new(load)
        .arg(Site::fabric())
        .arg(node.path(tool.kubeconfig()))
        .arg(format!("{}:6443", node.address));
    // The load ends with its stdin.
    let (output, run) = load.run_fed(|_| {
        std::thread::sleep(BEFORE);
        upgrade(node, tool, version, commands)
    })?;
    let (work, load): (Work, Load) = (run?, serde_json::from_slice(&output.stdout)?);
    ensure!(load.total > 0, "nobody asked");
    let failed = u32::try_from(load.failures.len())?;
    Ok(Run {
        commands_s: work.commands.as_secs_f64(),
        ready_s: work.ready.as_secs_f64(),
        requests: load.total,
        failed: f64::from(failed),
        gap_s: f64::from(load.longest_gap_ms) / 1000.0,
        slowest_s: f64::from(load.slowest_ms) / 1000.0,
        failures: load.failures.into_iter().take(3).collect(),
        steps: work.steps,
    })
}

/// What was done, and when.
struct Work {
    commands: Duration,
    ready: Duration,
    steps: Vec<Step>,
}

fn upgrade(node: &Node<'_>, tool: Tool, version: &str, commands: &[Command]) -> Result<Work> {
    let began = Instant::now();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ready = scope.spawn(|| wait(node, tool, version, began, &over));
        let mut steps = Vec::new();
        let done = commands.iter().try_for_each(|command| execute(node, command, began, &mut steps));
        let commands = began.elapsed();
        // What failed needs no waiting for.
        over.store(done.is_err(), Ordering::Relaxed);
        let ready = ready.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done?;
        Ok(Work { commands, ready: ready?, steps })
    })
}

/// Waits until all is new and ready, and stays so; since when it is.
fn wait(node: &Node<'_>, tool: Tool, version: &str, began: Instant, over: &AtomicBool) -> Result<Duration> {
    let mut since = None;
    loop {
        match state::look(node, tool, version) {
            Ok(()) => {
                let since = *since.get_or_insert_with(|| began.elapsed());
                if began.elapsed() >= since + STABLE {
                    return Ok(since);
                }
            }
            Err(error) if over.load(Ordering::Relaxed) || began.elapsed() > LIMIT => {
                return Err(error.context("it did not get new and ready"));
            }
            Err(_) => since = None,
        }
        std::thread::sleep(LOOK);
    }
}

/// Runs a command to its end.
fn execute(node: &Node<'_>, command: &Command, began: Instant, steps: &mut Vec<Step>) -> Result<()> {
    steps.push(Step { what: command.what.to_owned(), began_s: began.elapsed().as_secs_f64() });
    let running = node.command(&command.argv.iter().map(String::as_str).collect::<Vec<_>>());
    let mut child = running.spawn(Stdio::piped(), Stdio::piped())?;
    let stdout = child.stdout.take().context("no pipe")?;
    let mut stderr = child.stderr.take().context("no pipe")?;
    let said = std::thread::scope(|scope| -> Result<String> {
        let errors = scope.spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        for line in BufReader::new(stdout).lines() {
            if let Some(what) = step(&line?) {
                steps.push(Step { what, began_s: began.elapsed().as_secs_f64() });
            }
        }
        Ok(errors.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?)
    })?;
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed: {status}\n{said}", running.line());
    Ok(())
}

/// What a tool says when it begins another part: an event of kubestrap's, a line of kubeadm's.
fn step(line: &str) -> Option<String> {
    if let Ok(event) = serde_json::from_str::<Value>(line) {
        return (event["event"] == "step").then(|| event["title"].as_str().unwrap_or_default().to_owned());
    }
    let (phase, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let begins = ["Running", "Preparing for", "Upgrading"].iter().any(|w| rest.starts_with(w));
    (begins || phase == "addons").then(|| format!("{phase}: {rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tools_say_what_they_begin() {
        let event = r#"{"event":"step","number":2,"of":9,"title":"kube-apiserver"}"#;
        assert_eq!(step(event).as_deref(), Some("kube-apiserver"));
        assert_eq!(step(r#"{"event":"waiting","what":"a pod"}"#), None);
        let line = r#"[upgrade/staticpods] Preparing for "etcd" upgrade"#;
        assert_eq!(step(line).as_deref(), Some(r#"upgrade/staticpods: Preparing for "etcd" upgrade"#));
        assert_eq!(step("[upgrade/staticpods] This can take up to 5m0s"), None);
        assert_eq!(step(""), None);
    }
}
