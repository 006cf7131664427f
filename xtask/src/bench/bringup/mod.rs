//! `cargo xtask bench bringup`: kubestrap and kubeadm on identical fresh nodes, in turn.
//!
//! Both nodes come out of the same bundle: programs installed, containerd running, all images
//! imported. What is timed makes a control plane of that: certificates, the kubelet's
//! configuration and start, control plane, add-ons. Both tools are given the same kubelet
//! configuration, pod network and kind of keys.

mod measure;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use host::command::Command;
use serde::Serialize;

use super::figures::{Compared, Figure, Format, Report, Spread};
use super::node::Site;
use super::tool::{Tool, pairs};
use crate::build::{self, Built, say};
use measure::{Run, Timed};
use watch::Source;

#[derive(Debug, clap::Args)]
pub(crate) struct BringupArgs {
    /// How many pairs of runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// How the figures are printed
    #[arg(short, long, default_value = "text")]
    output: Format,
}

/// What is compared.
const FIGURES: [Figure<Run>; 6] = [
    ("control plane ready and a pod scheduled, s", Run::usable_s),
    ("control-plane pods ready, s", |run| run.ready_s),
    ("a pod scheduled, s", |run| run.scheduled_s),
    ("command until done, s", |run| run.command_s),
    ("peak memory of the command, MiB", |run| run.command_mib),
    ("peak memory of the node, MiB", |run| run.node_mib),
];

/// All that was measured.
#[derive(Debug, Serialize)]
struct All {
    #[serde(flatten)]
    report: Report<Run>,
    /// `kubestrap render`, in milliseconds, certificates included.
    render_ms: Spread,
    /// Sizes of the programs in bytes.
    kubestrap_bytes: u64,
    kubeadm_bytes: u64,
}

/// Measures and prints.
pub(crate) fn run(args: &BringupArgs) -> Result<()> {
    let built = build::all()?;
    let render_ms = render(&built)?;
    let site = Site::take(&built)?;
    let pairs = pairs(args.pairs, |tool, number| {
        let run = bring_up(tool, &site)?;
        say(&format!("pair {number} of {}: {} {run}", args.pairs, tool.name()));
        Ok(run)
    })?;
    let all = All {
        report: Report::of("bringup", &built.programs.kubernetes, pairs, &FIGURES),
        render_ms,
        kubestrap_bytes: size(built.kubestrap)?,
        kubeadm_bytes: size(built.programs.path.join("kubeadm"))?,
    };
    print(&all, args.output)
}

/// Prepares a fresh node and brings a control plane up on it.
fn bring_up(tool: Tool, site: &Site) -> Result<Run> {
    let node = tool.prepare(site)?;
    let source = if tool == Tool::Kubestrap { Source::Api } else { Source::File };
    measure::run(&node, &Timed { argv: &tool.command(), kubeconfig: tool.kubeconfig(), source })
}

/// How long `kubestrap render` takes: the whole program, from its start to its end.
fn render(built: &Built) -> Result<Spread> {
    let dir = std::env::temp_dir().join(format!("kubestrap-bench-render-{}", std::process::id()));
    let once = || -> Result<f64> {
        let began = Instant::now();
        Command::new(&built.kubestrap)
            .args(["--quiet", "render", "--node-address", "192.0.2.1", "--node-name", "node", "--asset-dir"])
            .arg(&dir)
            .timeout(Duration::from_mins(1))
            .run()?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        host::fs::remove_dir_all(&dir)?;
        Ok(took)
    };
    let runs: Result<Vec<f64>> = (0..10).map(|_| once()).collect();
    host::fs::remove_dir_all(&dir)?;
    Ok(Spread::of(runs?))
}

fn size(path: PathBuf) -> Result<u64> {
    let bytes = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
    ensure!(bytes > 0, "{} is empty", path.display());
    Ok(bytes)
}

fn print(all: &All, format: Format) -> Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(all)?,
        Format::Text => {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            let sizes = [(megabytes(all.kubestrap_bytes), megabytes(all.kubeadm_bytes))];
            let table = all.report.text("warm images", &[Compared::of("size of the program, MB", &sizes)]);
            let Spread { median, min, max } = all.render_ms;
            format!("{table}\n\nkubestrap render: {median:.0} ms ({min:.0}–{max:.0})")
        }
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
