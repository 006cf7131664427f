//! The arguments of `upgrade`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use cluster::KubernetesVersion;
use upgrade::Patience;

use crate::commands::bundle::Pin;
use crate::commands::checks::CheckArgs;
use crate::commands::config::ConfigArgs;

/// Arguments of `upgrade`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeArgs {
    #[command(subcommand)]
    pub(super) verb: UpgradeVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum UpgradeVerb {
    /// Show versions, what speaks against an upgrade, and what it would do; change nothing
    Plan(TargetArgs),
    /// Do it, step by step; go back by itself when a step fails; go on where a killed run was
    Apply(ApplyArgs),
    /// Undo what an upgrade that did not end has changed
    Back(BackArgs),
}

/// Where to go.
#[derive(Debug, clap::Args)]
pub(super) struct TargetArgs {
    /// The Kubernetes version [default: the config's, else the bundle's, else the cluster's own]
    pub(super) version: Option<KubernetesVersion>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The bundle with the programs and images of that version; not needed when only the config changes
    #[arg(long, value_name = "DIR")]
    pub(super) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(super) pin: Pin,
    /// Before this node's kubelet changes, keep new pods off the node and evict those that can run elsewhere; let pods
    /// come back afterwards
    #[arg(long)]
    pub(super) drain: bool,
    #[command(flatten)]
    pub(super) here: HereArgs,
}

/// Where this is done.
#[derive(Debug, clap::Args)]
pub(super) struct HereArgs {
    /// The asset directory that the cluster was made from
    #[arg(long, value_name = "DIR", default_value = names::path::ASSETS)]
    pub(super) asset_dir: PathBuf,
    /// This node's name [default: as it is installed, else its host name]
    #[arg(long, value_name = "NAME")]
    pub(super) node_name: Option<String>,
}

/// How long to wait.
#[derive(Debug, clap::Args)]
pub(super) struct PatienceArgs {
    /// How long each step may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How long what was changed must stay ready before the next step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    stable: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) patience: PatienceArgs,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) checks: CheckArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct BackArgs {
    #[command(flatten)]
    pub(super) here: HereArgs,
    #[command(flatten)]
    pub(super) patience: PatienceArgs,
}

impl PatienceArgs {
    pub(super) fn patience(&self) -> Patience {
        Patience { timeout: Duration::from_secs(self.timeout), stable: Duration::from_secs(self.stable) }
    }
}
