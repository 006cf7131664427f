//! Whatever kills a bring-up, the same command again ends with the same cluster.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{POD, ROLLOUT, eventually};
use e2e::node::{Ended, Node};
use serde_json::Value;

/// A moment of a bring-up: a step began, and so many milliseconds passed.
type Moment = (&'static str, u64);

/// The steps of `start`, as its events name them, and when each is killed. A short one is killed only at
/// its beginning: what it leaves undone is the next one's beginning.
const KILLS: [Moment; 13] = [
    ("stage", 0),
    ("stage", 150),
    ("api", 0),
    ("api", 150),
    ("inject", 0),
    ("inject", 150),
    ("ready", 0),
    ("ready", 150),
    ("addons", 0),
    ("checkpoint", 0),
    ("pivot", 0),
    ("pivot", 1000),
    ("verify", 0),
];

/// Killed in each step, always on the same node: each time the next run starts from what the one before
/// left.
pub(crate) fn a_bring_up_killed_in_every_step_goes_on_where_it_was() -> Result<()> {
    let node = Node::prepared("killed")?;
    for (step, within) in KILLS {
        let reached = kill_at(&node, (step, within))?;
        eprintln!("killed: {step} + {within} ms");
        ensure!(reached, "{step} was never reached");
    }
    ends_self_hosted(&node, node.exec(&["kubestrap", "start"])?)
}

/// The power goes in the middle of it.
pub(crate) fn a_power_cut_in_the_middle_of_a_bring_up_costs_nothing_but_time() -> Result<()> {
    let node = Node::prepared("powercut")?;
    let all: [Moment; 4] = [("api", 1500), ("inject", 50), ("ready", 2000), ("pivot", 1000)];
    let moments = if node.inputs().soak { &all[..] } else { &all[2..] };
    for &moment in moments {
        start_until(&node, moment, Node::power_off)?;
        node.power_on()?;
        kubelet_is_up(&node)?;
        eprintln!("powercut: {} + {} ms", moment.0, moment.1);
    }
    // What was written before the last cut is still there: the cluster is the same one.
    ends_self_hosted(&node, node.up(&[])?)
}

pub(crate) fn kubelet_is_up(node: &Node) -> Result<()> {
    eventually("the kubelet after a power cut", POD, || {
        node.exec(&["curl", "-sf", "http://127.0.0.1:10248/healthz"])?.success()
    })?;
    Ok(())
}

fn ends_self_hosted(node: &Node, ended: Ended) -> Result<()> {
    let ended = ended.success()?;
    eprintln!("{}", ended.stdout.trim());
    let plan = node.exec(&["kubestrap", "start", "--dry-run"])?.success()?;
    ensure!(plan.stdout.starts_with("nothing to do"), "{}", plan.stdout);
    let pods = node.get(&["-n", "kube-system", "get", "pods", "-o", "name"])?;
    ensure!(!pods.contains("bootstrap-"), "a temporary pod is left: {pods}");
    for (kind, name) in [
        ("daemonset", "kube-apiserver"),
        ("deployment", "kube-controller-manager"),
        ("deployment", "kube-scheduler"),
    ] {
        let object = node.json(&["-n", "kube-system", "get", kind, name])?;
        ensure!(object["metadata"]["generation"] == 1, "{name} was changed by being applied again");
    }
    // After a power cut a copy may have served first; it goes when the API's pod has shown itself.
    eventually("the self-hosted apiserver alone on its port", ROLLOUT, || {
        let listeners = node.exec(&["ss", "-Hltn", "sport", "=", ":6443"])?.success()?.stdout;
        ensure!(listeners.lines().count() == 1, "listeners: {listeners}");
        Ok(())
    })
}

/// Starts and kills it at the moment; false when it ended before.
fn kill_at(node: &Node, moment: Moment) -> Result<bool> {
    start_until(node, moment, |_| Ok(()))
}

/// Starts, does something at the moment, and kills it then.
fn start_until(node: &Node, (step, within): Moment, act: impl Fn(&Node) -> Result<()>) -> Result<bool> {
    let mut start = node.spawn(&["kubestrap", "start", "-o", "json"])?;
    let events = BufReader::new(start.stdout.take().context("no stdout")?);
    let mut reached = false;
    for line in events.lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["step"] == step && event["state"] == "started" {
            std::thread::sleep(Duration::from_millis(within));
            reached = true;
            break;
        }
    }
    act(node)?;
    start.kill()?;
    let status = start.wait()?;
    ensure!(reached || status.success(), "`start` failed before it came to {step}");
    Ok(reached)
}
