//! `reset`: makes a node the host again that it was before `up`.

use std::path::{Path, PathBuf};

use assets::CONFIG_FILE;
use names::path;
use node::plan::{Undo, Uninstall};
use node::record::Record;
use node::reset::{Host, ResetError};
use node::{Root, plan, reset};
use serde::Serialize;

use super::ConsentArgs;
use super::hold::{Places, SHORTLY};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `reset`.
#[derive(Debug, clap::Args)]
pub(crate) struct ResetArgs {
    #[command(flatten)]
    consent: ConsentArgs,
    /// The asset directory, which is removed with all keys in it
    #[arg(long, value_name = "DIR", default_value = path::ASSETS)]
    asset_dir: PathBuf,
}

/// What `-o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(flatten)]
    plan: &'a Uninstall,
    /// Whether it was done, or would be.
    done: bool,
    /// What could not be done.
    errors: Vec<String>,
}

pub(crate) fn run(args: &ResetArgs, ui: &Ui) -> Result<(), Failure> {
    let root = Root::host();
    super::must_be_root(&node::facts::detect(&root))?;
    let held = Places::host(&root, true).and_assets_if_any(&args.asset_dir);
    let held = if args.consent.dry_run { Places::default() } else { held };
    let _held = super::run_async(held.hold(SHORTLY, ui))?;
    let Some(record) = record(&root)? else {
        ui.output(
            &Outcome { plan: &Uninstall::default(), done: !args.consent.dry_run, errors: Vec::new() },
            || "nothing to do: kubestrap has installed nothing on this host".to_owned(),
        );
        return Ok(());
    };
    let assets = assets(&args.asset_dir)?;
    super::run_async(async {
        let remains = reset::look(&root, &record, assets).await;
        let plan = plan::uninstall(&record, &remains);
        if args.consent.dry_run {
            ui.output(&Outcome { plan: &plan, done: false, errors: Vec::new() }, || shown(&plan));
            return Ok(());
        }
        let what = format!("this host will be no node any more, and its data is lost:\n{}", shown(&plan));
        super::agree(ui, args.consent.yes, &what, "Do all of this?")?;
        execute(&root, &plan, ui).await
    })
}

/// What an install noted on this host; none when there was none.
fn record(root: &Root) -> Result<Option<Box<Record>>, Failure> {
    match reset::whose(root).map_err(|error| Failure::new(Exit::Io, error))? {
        Host::Ours(record) => Ok(Some(record)),
        Host::Bare => Ok(None),
        Host::Unrecorded => {
            let error = anyhow::anyhow!(
                "this node was made by a kubestrap that did not note what it found: {} is missing",
                path::INSTALLED
            );
            Err(Failure::new(Exit::Conflict, error).hint(
                "run `kubestrap up` once more, as it was run here before: it notes what it has put here",
            ))
        }
        Host::Foreign(sign) => {
            let error =
                anyhow::anyhow!("kubestrap did not make this node ({sign} is there): it is left as it is");
            Err(Failure::new(Exit::Conflict, error)
                .hint("remove it with what made it, such as: kubeadm reset"))
        }
    }
}

/// What of the asset directory goes: what tells that it is one goes last.
fn assets(dir: &Path) -> Result<Vec<String>, Failure> {
    let dir = std::path::absolute(dir)?;
    let is_ours = dir == Path::new(path::ASSETS) || dir.join(CONFIG_FILE).exists();
    if !is_ours && dir.exists() {
        let error = anyhow::anyhow!("{} has no {CONFIG_FILE}: kubestrap did not render it", dir.display());
        return Err(Failure::new(Exit::Conflict, error).hint("leave --asset-dir away, or remove it by hand"));
    }
    let mut paths = host::fs::list(&dir)?;
    paths.retain(|path| !path.ends_with(CONFIG_FILE));
    paths.push(dir);
    Ok(paths.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
}

async fn execute(root: &Root, plan: &Uninstall, ui: &Ui) -> Result<(), Failure> {
    ui.step("reset this host");
    let say = |action: &Undo| ui.transient(action.to_string());
    let errors = reset::execute(root, &plan.actions, say).await;
    let told: Vec<String> = errors.iter().map(|error| host::error::chain(error)).collect();
    let outcome = Outcome { plan, done: errors.is_empty(), errors: told.clone() };
    if errors.is_empty() {
        ui.output(&outcome, || format!("this host is no node any more\n{}", stays(plan)));
        return Ok(());
    }
    if ui.is_json() {
        ui.json(&outcome);
    }
    let exit = if errors.iter().all(|e| matches!(e, ResetError::File(_))) { Exit::Io } else { Exit::Other };
    let error = anyhow::anyhow!("not all of this node could be removed\n  {}", told.join("\n  "));
    Err(Failure::new(exit, error)
        .hint("mend these and run the same command again: it goes on with what is left"))
}

fn shown(plan: &Uninstall) -> String {
    let actions: Vec<_> = plan.actions.iter().map(ToString::to_string).collect();
    format!("{}\n{}", actions.join("\n"), stays(plan))
}

fn stays(plan: &Uninstall) -> String {
    let line = |stay: &plan::Stay| format!("stays: {} ({})\n", stay.what, stay.why);
    plan.stays.iter().map(line).collect()
}
