//! `up`: from a bare host and a bundle to a cluster. Makes the host a node, renders the asset directory and starts.

mod address;
mod steps;

use std::path::PathBuf;
use std::sync::Arc;

use bringup::{Options, ThisHost};
use bundle::Bundle;
use cluster::ClusterConfig;
use names::path;
use node::provision::{Provision, Role};
use node::{Registration, Root};

use self::steps::{Goal, Outcome, Place, Step, Up};
use super::asked::{self, Asked};
use super::bundle::Pin;
use super::config::ConfigArgs;
use super::hold::Places;
use super::install::has_images;
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
    let goal = goal(args);
    let places = Places::host(root, facts.root).and_assets(&args.asset_dir);
    let places = if goal == Goal::Plan { Places::default() } else { places };
    let _held = places.hold(args.how.timeout(), ui).await?;
    let bundle = args.pin.open(&args.bundle)?;
    address::has_one(root, facts)?;
    let identity = node::identity::identity(root, facts, args.how.node_name.as_deref());
    let identity = identity.map_err(super::cluster::who)?;
    let options = args.how.options(args.asset_dir.clone(), identity.name.clone())?;
    let options = options.below(&root.path("/"), Arc::clone(surroundings));
    let cluster = config(args, &bundle, place, &options, ui).await?;
    let gone = address::gone(root, facts, &cluster);
    address::refuse(root, &cluster, &gone)?;
    for gone in &gone {
        ui.step(gone.to_string());
    }
    let node = Provision {
        root: root.clone(),
        facts,
        bundle: &bundle,
        cluster: &cluster,
        role: Role::FirstControlPlane,
        identity,
        registration: Registration::default(),
        existing_containerd: args.use_existing_containerd,
    };
    Up { node, options, gone, checks: &args.how.checks, goal, begins, ui }.run().await
}

/// The config that is asked for. Where the control plane is self-hosted it has to be that of the cluster; before, it may
/// be another one each time.
async fn config(
    args: &UpArgs,
    bundle: &Bundle,
    place: &Place,
    options: &Options,
    ui: &Ui,
) -> Result<ClusterConfig, Failure> {
    let UpArgs { config: config_args, asset_dir, .. } = args;
    let Place { root, facts, .. } = place;
    let made_with = match asked::made_with(root, asset_dir)? {
        Some(made_with) if bringup::is_self_hosted(options).await => made_with,
        _ => {
            let config = asked::of_up(config_args, asset_dir, bundle)?;
            return has_images(bundle, &config, Role::FirstControlPlane).map(|()| config);
        }
    };
    let config = asked::of_up_here(config_args, asset_dir, bundle, &made_with)?;
    let asked = Asked { args: config_args, asset_dir, bundle: Some((bundle, &args.bundle)) };
    let made_with = address::followed(made_with, &config, &address::gone(root, facts, &config));
    asked.refuse(&made_with, &config)?;
    // What runs has its images; only where they were lost, too, are they missed.
    if let Err(failure) = has_images(bundle, &config, Role::FirstControlPlane) {
        ui.warn(format!("{:#}", failure.error));
    }
    Ok(config)
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
mod mend_tests;
#[cfg(test)]
mod moved_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
