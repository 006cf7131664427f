//! `cargo xtask bench coldboot`: power cut and power-on, kubestrap's node and kubeadm's in turn.
//!
//! Both nodes come out of the same bundle and run the same pod network. Only the one that is
//! measured is on. Each is left alone for a while before its power goes, so that nothing is under
//! way: every pod is Ready, and kubestrap's checkpoints are known to be good.

mod boot;

use std::cell::RefCell;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::figures::{Figure, Format, Report};
use super::node::{Node, Site};
use super::tool::{Tool, alone, pairs};
use crate::build::{self, say};
use boot::Boot;

/// How long a node is left alone before its power goes.
const REST: Duration = Duration::from_secs(15);

/// How long a checkpoint may take to be known as good.
const SETTLED: Duration = Duration::from_mins(3);

/// Components whose checkpoints must be good, as their directories are called.
pub(super) const COMPONENTS: [&str; 3] =
    ["kube-system_kube-apiserver", "kube-system_kube-controller-manager", "kube-system_kube-scheduler"];

/// What is compared.
const FIGURES: [Figure<Boot>; 4] = [
    ("until /readyz, s", |boot| boot.readyz_s),
    ("until each control-plane component has a ready pod, s", |boot| boot.components_s),
    ("until all pods are ready, none a copy, s", |boot| boot.all_s),
    ("peak memory of the node, MiB", |boot| boot.node_mib),
];

#[derive(Debug, clap::Args)]
pub(crate) struct ColdbootArgs {
    /// How many pairs of power cuts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Measure only this tool: figures of one run, no comparison
    #[arg(long, value_enum)]
    only: Option<Tool>,
    /// How the figures are printed
    #[arg(short, long, default_value = "text")]
    output: Format,
}

/// Measures and prints.
pub(crate) fn run(args: &ColdbootArgs) -> Result<()> {
    let built = build::all()?;
    let site = Site::take(&built)?;
    if let Some(tool) = args.only {
        let mut node = at_rest(&site, tool)?;
        node.power_off()?;
        return alone(tool, args.pairs, args.output, || once(&mut node, tool));
    }
    // One after the other: whoever is not measured is off.
    let kubestrap = RefCell::new(at_rest(&site, Tool::Kubestrap)?);
    kubestrap.borrow().power_off()?;
    let kubeadm = RefCell::new(at_rest(&site, Tool::Kubeadm)?);
    kubeadm.borrow().power_off()?;
    let pairs = pairs(args.pairs, |tool, number| {
        let mut node = match tool {
            Tool::Kubestrap => kubestrap.borrow_mut(),
            Tool::Kubeadm => kubeadm.borrow_mut(),
        };
        let boot = once(&mut node, tool)?;
        say(&format!("pair {number} of {}: {} {boot}", args.pairs, tool.name()));
        Ok(boot)
    })?;
    let report = Report::of("coldboot", &built.programs.kubernetes, pairs, &FIGURES);
    let text = match args.output {
        Format::Json => serde_json::to_string_pretty(&report)?,
        Format::Text => report.text("from the power-on", &[]),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Boots a node that is off, waits until all is as it was, leaves it alone, and cuts its power.
fn once(node: &mut Node<'_>, tool: Tool) -> Result<Boot> {
    let boot = boot::measure(node, tool)?;
    std::thread::sleep(REST);
    node.power_off()?;
    Ok(boot)
}

/// A node with a cluster that has been left alone.
pub(super) fn at_rest(site: &Site, tool: Tool) -> Result<Node<'_>> {
    let node = tool.prepare(site)?;
    let argv = tool.command();
    node.run(&argv.iter().map(String::as_str).collect::<Vec<_>>())?;
    if tool == Tool::Kubeadm {
        add_add_ons(&node)?;
    }
    let began = Instant::now();
    boot::wait_for_all(&node, tool, "", began)?;
    if tool == Tool::Kubestrap {
        wait_for_good_checkpoints(&node)?;
    }
    say(&format!("{}: at rest after {:.0} s", tool.name(), began.elapsed().as_secs_f64()));
    std::thread::sleep(REST);
    Ok(node)
}

/// kubestrap's add-ons, so that both nodes have the same to do when they boot. kubeadm's CoreDNS
/// forwards to a node's name server, and a sandbox has none: it would forward to itself, and exit.
fn add_add_ons(node: &Node<'_>) -> Result<()> {
    const ASSETS: &str = "/root/add-ons";
    node.run(&["kubestrap", "render", "--asset-dir", ASSETS, "--node-address", &node.address])?;
    let kubectl = |args: &[&str]| {
        let config = ["kubectl", "--kubeconfig", Tool::Kubeadm.kubeconfig()];
        node.run(&[&config, args].concat())
    };
    kubectl(&["-n", "kube-system", "delete", "deployment/coredns", "configmap/coredns", "service/kube-dns"])?;
    for name in ["flannel", "coredns"] {
        let manifest = format!("{ASSETS}/manifests/{name}.yaml");
        kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &manifest])?;
    }
    // The pods of both are there by then, too: from here on all of them are waited for.
    kubectl(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s"]).map(drop)
}

fn wait_for_good_checkpoints(node: &Node<'_>) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < SETTLED {
        let root = node.path("/var/lib/kubestrap/checkpoints");
        // A link whose target is missing is there, too.
        if COMPONENTS.iter().all(|component| root.join(component).join("good").symlink_metadata().is_ok()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    bail!("no good checkpoint of each of {COMPONENTS:?} within {} s", SETTLED.as_secs())
}
