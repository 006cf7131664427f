//! The pivot under load: nobody notices.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::ceiling::BACK;
use e2e::load::{Load, Rate, Report};
use e2e::node::{ASSETS, Node};
use e2e::shared;

/// How long the load goes on after the end of the bring-up.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// An asset directory like the rendered one, but with nothing to inject.
const EMPTY: &str = "/var/lib/kubestrap/empty";

pub(crate) fn no_request_fails_from_before_injection_until_long_after_the_pivot() -> Result<()> {
    let runs = if e2e::node::Inputs::get().soak { 5 } else { 1 };
    for run in 1..=runs {
        let (node, report) = pivot_under_load(&format!("pivot{run}"))?;
        eprintln!("run {run} of {runs}: {}", report.summary());
        report.is_seamless(node.inputs())?;
        ensure!(report.total > 4000, "the load made only {} requests", report.total);
        shared::put(node);
    }
    Ok(())
}

fn pivot_under_load(name: &str) -> Result<(Node, Report)> {
    let node = Node::prepared(name)?;
    temporary_control_plane_only(&node)?;
    let load = Load::start(&node, Rate::default(), BACK)?;
    // The load is on for a while before the first object is injected.
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    let ended = node.exec(&["kubestrap", "start"])?.success()?;
    eprintln!("{name}: {} ({:.1} s)", ended.stdout.trim(), began.elapsed().as_secs_f32());
    std::thread::sleep(AFTERWARDS);
    let report = load.finish()?;
    Ok((node, report))
}

/// Brings up the temporary control plane and stops there: a `start` that has nothing to inject is
/// killed while it waits for what nobody injected.
fn temporary_control_plane_only(node: &Node) -> Result<()> {
    let copy = format!("cp -r {ASSETS} {EMPTY} && rm {EMPTY}/manifests/*");
    node.exec(&["sh", "-c", &copy])?.success()?;
    let mut start = node.spawn(&["kubestrap", "start", "--asset-dir", EMPTY, "-o", "json"])?;
    let events = BufReader::new(start.stdout.take().context("no stdout")?);
    let mut reached = false;
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(&line?)?;
        if event["step"] == "ready" {
            reached = true;
            break;
        }
    }
    start.kill()?;
    start.wait()?;
    ensure!(reached, "the temporary control plane did not come up");
    Ok(())
}
