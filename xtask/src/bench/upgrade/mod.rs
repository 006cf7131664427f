//! `cargo xtask bench upgrade`: the control plane of a single node goes to the next minor of Kubernetes,
//! kubestrap's and kubeadm's in turn, while a client on another machine keeps asking its API.
//!
//! Both nodes begin as a cluster at rest and have the images of both versions. Both tools leave
//! etcd and the node's pods alone: kubestrap always does, and kubeadm is told to (`--etcd-upgrade=false`, no drain). What is
//! timed is all that their documentation asks for, the kubelet included.

mod measure;
mod state;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::coldboot::at_rest;
use super::figures::{Figure, Format, Report};
use super::node::{Node, Site};
use super::tool::{IGNORED_CHECKS, Tool, alone, pairs};
use crate::build::{self, say};
use measure::{Command, Run};

/// Where the newer bundle lies inside the nodes.
const BUNDLE: &str = "/opt/kubestrap/newest";

/// Where the newer of upstream's programs lie inside the nodes.
const PROGRAMS: &str = "/opt/kubestrap/newest-programs";

/// How long a node is left alone after images were imported.
const REST: Duration = Duration::from_secs(10);

/// What is compared.
const FIGURES: [Figure<Run>; 6] = [
    ("until done, and all is new and ready, s", Run::whole_s),
    ("until all is new and ready, s", |run| run.ready_s),
    ("until the commands are done, s", |run| run.commands_s),
    ("failed requests", |run| run.failed),
    ("longest time without an answer, s", |run| run.gap_s),
    ("slowest request, s", |run| run.slowest_s),
];

#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    /// How many pairs of upgrades
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Measure only this tool: figures of each run, no comparison
    #[arg(long, value_enum)]
    only: Option<Tool>,
    /// How the figures are printed
    #[arg(short, long, default_value = "text")]
    output: Format,
}

/// What a run needs.
struct Bench {
    site: Site,
    /// The program that makes the load.
    load: PathBuf,
    /// The version to go to.
    version: String,
}

/// Measures and prints.
pub(crate) fn run(args: &UpgradeArgs) -> Result<()> {
    let newest = build::all()?;
    let oldest = build::oldest(&newest.kubestrap)?;
    let load = build::load()?;
    let mut site = Site::take(&oldest)?;
    site.mount(&newest.bundle, BUNDLE);
    site.mount(&newest.programs.path, PROGRAMS);
    let bench = Bench { site, load, version: newest.programs.kubernetes };
    if let Some(tool) = args.only {
        return alone(tool, args.pairs, args.output, || bench.once(tool));
    }
    let pairs = pairs(args.pairs, |tool, number| {
        let run = bench.once(tool)?;
        say(&format!("pair {number} of {}: {} {run}", args.pairs, tool.name()));
        Ok(run)
    })?;
    let versions = format!("{} to {}", oldest.programs.kubernetes, bench.version);
    let report = Report::of("upgrade", &versions, pairs, &FIGURES);
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(&report)?,
        Format::Text => report.text("warm images, under load", &[]),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

impl Bench {
    /// A fresh node with a cluster at rest, and its upgrade.
    fn once(&self, tool: Tool) -> Result<Run> {
        let node = at_rest(&self.site, tool)?;
        import(&node)?;
        std::thread::sleep(REST);
        measure::run(&node, tool, &self.load, &self.version, &self.commands(tool))
    }

    /// All that a user runs, in order.
    fn commands(&self, tool: Tool) -> Vec<Command> {
        let kubeadm = format!("{PROGRAMS}/kubeadm");
        let kubelet = format!("{PROGRAMS}/kubelet");
        let ignored = format!("--ignore-preflight-errors={}", IGNORED_CHECKS.join(","));
        let version = self.version.as_str();
        let command =
            |what, argv: &[&str]| Command { what, argv: argv.iter().map(|&a| a.to_owned()).collect() };
        match tool {
            Tool::Kubestrap => vec![command(
                "upgrade apply",
                &["kubestrap", "-o", "json", "upgrade", "apply", version, "--bundle", BUNDLE],
            )],
            // https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/, where
            // the package manager puts the kubelet in place.
            Tool::Kubeadm => vec![
                command(
                    "upgrade apply",
                    &[&kubeadm, "upgrade", "apply", version, "--yes", "--etcd-upgrade=false", &ignored],
                ),
                command("kubelet's program", &["install", "--mode=755", &kubelet, "/usr/local/bin/kubelet"]),
                command("daemon-reload", &["systemctl", "daemon-reload"]),
                command("kubelet's restart", &["systemctl", "restart", "kubelet"]),
            ],
        }
    }
}

/// Imports the newer images, as `kubestrap` and `kubeadm config images pull` would.
fn import(node: &Node<'_>) -> Result<()> {
    let pinned = "--label io.cri-containerd.pinned=pinned";
    let import = format!(
        "tar -C {BUNDLE} -cf - . | ctr --namespace k8s.io images import --local --snapshotter overlayfs {pinned} -"
    );
    node.run(&["sh", "-c", &import])?;
    node.run(&["sync"]).map(drop)
}
