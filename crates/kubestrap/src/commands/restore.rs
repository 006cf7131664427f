//! `restore`: gives this node's etcd what a snapshot has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bringup::Options;
use names::path;
use node::{Root, identity};
use recovery::{Done, Found, Plan, RecoveryError};
use serde::Serialize;

use super::ConsentArgs;
use super::hold::{Places, SHORTLY};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot, as `backup`, `upgrade` or `etcdctl snapshot save` took it
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    #[command(flatten)]
    consent: ConsentArgs,
    /// The asset directory, by which it is waited for the control plane
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
    /// How long each wait may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Whether it was done, or would be.
    done: bool,
    /// Where what was there is kept.
    kept: Option<PathBuf>,
}

pub(crate) fn run(args: RestoreArgs, ui: &Ui) -> Result<(), Failure> {
    let (root, name) = this_node()?;
    super::run_async(async {
        let held = Places::host(&root, true).and_assets_if_any(&args.asset_dir);
        let held = if args.consent.dry_run { Places::default() } else { held };
        let _held = held.hold(SHORTLY, ui).await?;
        let snapshot = std::path::absolute(&args.snapshot)?;
        let found = recovery::look(&root, Path::new(path::STATIC_PODS), &name, &snapshot).map_err(failure)?;
        let plan = recovery::plan(&found, jiff::Timestamp::now());
        if args.consent.dry_run {
            ui.output(&Outcome { plan: &plan, done: false, kept: None }, || plan.to_string());
            return Ok(());
        }
        let what = format!(
            "all that this cluster has been told since that snapshot is undone, and its API is away meanwhile:\n{plan}"
        );
        super::agree(ui, args.consent.yes, &what, "Do all of this?")?;
        let done = execute(&root, &found, &plan, ui).await?;
        wait(&args, name, ui).await?;
        ui.output(&Outcome { plan: &plan, done: true, kept: done.kept.clone() }, || said(&found, &done));
        Ok(())
    })
}

/// This host and its name as a node, for who is root here.
pub(super) fn this_node() -> Result<(Root, String), Failure> {
    let root = Root::host();
    let facts = node::facts::detect(&root);
    super::must_be_root(&facts)?;
    let name = identity::name(&root, &facts.hostname, None).map_err(super::cluster::who)?;
    Ok((root, name))
}

async fn execute(root: &Root, found: &Found, plan: &Plan, ui: &Ui) -> Result<Done, Failure> {
    let told = |step: &recovery::Step| ui.step(plan.told(*step));
    recovery::execute(root, found, plan, &told).await.map_err(failure)
}

/// The guardian brings the control plane back as after a power cut; `start` waits for that, and puts back what a
/// snapshot of another time has not.
async fn wait(args: &RestoreArgs, name: String, ui: &Ui) -> Result<(), Failure> {
    if !args.asset_dir.is_dir() {
        ui.warn(format!(
            "{} is not there: it is not waited for the control plane. Look with: kubestrap status",
            args.asset_dir.display()
        ));
        return Ok(());
    }
    let mut options = Options::new(args.asset_dir.clone(), name);
    options.timeout = Duration::from_secs(args.timeout);
    super::start::bring_up(&options, ui).await.map(drop)
}

fn said(found: &Found, done: &Done) -> String {
    let kept = done.kept.as_ref().map_or_else(String::new, |kept| {
        format!(" What was there is {}: remove it when nothing of it is missed.", kept.display())
    });
    format!(
        "etcd has what {} has, as {}. Pods that were made since are ended, and those of then are made again.{kept}",
        found.snapshot.display(),
        done.identity
    )
}

/// Gives each failure its code and what to do next.
pub(super) fn failure(error: RecoveryError) -> Failure {
    let (exit, hint) = match &error {
        RecoveryError::NoEtcd { .. } => (
            Exit::NotFound,
            "run it on a control-plane node; an etcd that is elsewhere is kept and restored there",
        ),
        RecoveryError::Manifest { .. } => (Exit::Config, "mend it, and run the same command again"),
        RecoveryError::Others { .. } => (
            Exit::Conflict,
            "a node whose data is lost joins the others anew; if all of them are lost, restore one by hand",
        ),
        RecoveryError::Snapshot(etcd::SnapshotError::Tool(_)) => {
            (Exit::NotReady, "see how etcd is with: kubestrap doctor")
        }
        RecoveryError::Snapshot(_) => (Exit::Io, "nothing was changed; take another snapshot"),
        RecoveryError::OtherCluster { .. } => (
            Exit::Conflict,
            "nothing was changed; name a snapshot of this cluster, or put its keys and asset directory here first",
        ),
        RecoveryError::Program(_) => (
            Exit::NotReady,
            "is containerd up, and has it etcd's image? `kubestrap up --bundle BUNDLE` imports it",
        ),
        RecoveryError::Fs(_) => (Exit::Io, "run the same command again: it begins anew"),
        RecoveryError::Left(_)
        | RecoveryError::Command(_)
        | RecoveryError::Runtime(_)
        | RecoveryError::Unpacked { .. } => (Exit::Other, "run the same command again: it begins anew"),
    };
    Failure::new(exit, error).hint(hint)
}
