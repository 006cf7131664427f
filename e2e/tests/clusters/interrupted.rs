//! An upgrade and a downgrade that are cut off again and again, by a kill or with the power of the node: the
//! same command goes on, and comes to the same end.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{BACK, eventually};
use e2e::node::Node;
use e2e::whole::wait_whole;
use serde_json::Value;

/// How long after a step's beginning it is cut off: its objects are changed by then, and few steps are over.
const WITHIN: Duration = Duration::from_secs(1);

/// How long a step has to stay settled, in seconds: how long that is, is not what is tried here.
const STABLE: &str = "3";

/// More runs than any upgrade has steps.
const MOST: usize = 30;

/// Where to, and from what.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) version: &'a str,
    /// The bundle's path in the node.
    pub(crate) bundle: &'a str,
}

impl Target<'_> {
    fn start(self, node: &Node) -> Result<Child> {
        let apply = ["kubestrap", "-o", "json", "upgrade", "apply", self.version];
        node.spawn(&[&apply[..], &["--bundle", self.bundle, "--stable", STABLE]].concat())
    }
}

/// Killed once in every step.
pub(crate) fn killed_in_every_step(node: &Node, target: Target<'_>) -> Result<()> {
    let cut_off = interrupted(
        node,
        target,
        |_| true,
        |apply| {
            apply.kill()?;
            apply.wait()?;
            node.shell("! pgrep -f '[u]pgrade apply'").map(drop)
        },
    )?;
    eprintln!("upgrade: to {}: killed in {}", target.version, cut_off.join(", "));
    ensure!(cut_off.len() >= 8, "only in {cut_off:?}");
    nothing_is_left_to_do(node, target)
}

/// The power goes in each of these steps.
pub(crate) fn without_power_in(node: &Node, target: Target<'_>, parts: &[&str]) -> Result<()> {
    let wanted = |title: &str| parts.iter().any(|part| title.contains(part));
    let cut_off = interrupted(node, target, wanted, |apply| {
        node.power_off()?;
        apply.kill()?;
        apply.wait()?;
        node.power_on()?;
        eventually("the API after a power cut", BACK, || node.get(&["get", "--raw", "/readyz"]))?;
        Ok(())
    })?;
    eprintln!("upgrade: to {}: no power in {}", target.version, cut_off.join(", "));
    ensure!(cut_off.len() >= parts.len(), "only in {cut_off:?}");
    wait_whole(node)?;
    nothing_is_left_to_do(node, target)
}

/// Runs it until it ends by itself, cut off once in every step that is wanted; the titles of these.
fn interrupted(
    node: &Node,
    target: Target<'_>,
    wanted: impl Fn(&str) -> bool,
    cut_off: impl Fn(&mut Child) -> Result<()>,
) -> Result<Vec<String>> {
    let mut titles: Vec<String> = Vec::new();
    for _ in 0..MOST {
        let mut apply = target.start(node)?;
        let events = BufReader::new(apply.stdout.take().context("no stdout")?);
        let mut reached = None;
        for line in events.lines() {
            let event: Value = serde_json::from_str(&line?)?;
            let title = event["title"].as_str().unwrap_or_default();
            if event["event"] == "step" && wanted(title) && !titles.iter().any(|t| t == title) {
                reached = Some(title.to_owned());
                break;
            }
        }
        let Some(title) = reached else {
            let status = apply.wait()?;
            ensure!(status.success(), "it failed after it was cut off in {titles:?}: {status}");
            return Ok(titles);
        };
        std::thread::sleep(WITHIN);
        cut_off(&mut apply)?;
        titles.push(title);
    }
    anyhow::bail!("it does not come to an end: {titles:?}")
}

fn nothing_is_left_to_do(node: &Node, target: Target<'_>) -> Result<()> {
    let args = ["kubestrap", "upgrade", "apply", target.version, "--bundle", target.bundle];
    let again = node.exec(&args)?.success()?;
    ensure!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    let left = node.shell("ls /var/lib/kubestrap")?;
    ensure!(left.lines().all(|line| line != "upgrade"), "what was saved is left over: {left}");
    Ok(())
}
