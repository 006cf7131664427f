//! `up`: from a bare host and a bundle to a cluster. Makes the host a node, renders the asset directory and starts.

mod steps;

use std::path::PathBuf;
use std::sync::Arc;

use bringup::ThisHost;
use names::path;
use node::Root;
use node::provision::{Provision, Role};

use self::steps::{Goal, Outcome, Place, Step, Up};
use super::bundle::Pin;
use super::render::ConfigArgs;
use super::start::HowArgs;
use crate::exit::Failure;
use crate::ui::Ui;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// The bundle with the programs and images of the release
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    #[command(flatten)]
    pin: Pin,
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the asset directory is written
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    /// Use the containerd that this host has already
    #[arg(long)]
    use_existing_containerd: bool,
    /// Install, import and render, and leave the start to `kubestrap start`
    #[arg(long)]
    prepare_only: bool,
    /// Return as soon as the control plane is self-hosted, without waiting for the add-ons
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    how: HowArgs,
}

pub(crate) fn run(args: UpArgs, ui: &Ui) -> Result<(), Failure> {
    let root = Root::host();
    let place = Place { facts: node::facts::detect(&root), root, surroundings: Arc::new(ThisHost) };
    let begins = |step: Step| step.title().into_iter().for_each(|title| ui.step(title));
    super::run_async(up(&args, &place, &begins, ui))?.say(ui);
    Ok(())
}

async fn up(args: &UpArgs, place: &Place, begins: &dyn Fn(Step), ui: &Ui) -> Result<Outcome, Failure> {
    let Place { root, facts, surroundings } = place;
    let bundle = args.pin.open(&args.bundle)?;
    let cluster = steps::config(&args.config, &bundle)?;
    let identity = node::identity::identity(root, facts, args.how.node_name.as_deref());
    let identity = identity.map_err(super::cluster::who)?;
    let options = args.how.options(args.asset_dir.clone(), identity.name.clone())?;
    let node = Provision {
        root: root.clone(),
        facts,
        bundle: &bundle,
        cluster: &cluster,
        role: Role::FirstControlPlane,
        identity,
        existing_containerd: args.use_existing_containerd,
    };
    let options = options.below(&root.path("/"), Arc::clone(surroundings));
    Up { node, options, checks: &args.how.checks, goal: goal(args), begins, ui }.run().await
}

fn goal(args: &UpArgs) -> Goal {
    match args {
        UpArgs { how: HowArgs { dry_run: true, .. }, .. } => Goal::Plan,
        UpArgs { prepare_only: true, .. } => Goal::Prepared,
        UpArgs { no_wait: true, .. } => Goal::SelfHosted,
        _ => Goal::Whole,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
