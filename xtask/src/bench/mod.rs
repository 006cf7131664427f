//! `cargo xtask bench`: figures on this machine, against the peer that users know. Each bench
//! prints a table, or with `-o json` one object with every figure and ratio.

mod bringup;
mod coldboot;
mod figures;
mod guardian;
mod lines;
mod node;
mod tool;
mod upgrade;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From bare nodes with warm images to control planes: kubestrap and kubeadm in turn
    Bringup(bringup::BringupArgs),
    /// From a power-on to a control plane: kubestrap and kubeadm in turn
    Coldboot(coldboot::ColdbootArgs),
    /// What the guardian of a node at rest takes
    Guardian(guardian::GuardianArgs),
    /// From one minor of Kubernetes to the next, under load: kubestrap and kubeadm in turn
    Upgrade(upgrade::UpgradeArgs),
}

/// Runs one bench.
pub(crate) fn run(args: BenchArgs) -> Result<()> {
    match args.bench {
        Bench::Bringup(args) => bringup::run(&args),
        Bench::Coldboot(args) => coldboot::run(&args),
        Bench::Guardian(args) => guardian::run(&args),
        Bench::Upgrade(args) => upgrade::run(&args),
    }
}
