//! `upgrade`: another version or config for the cluster that runs, seen from a control-plane node that has
//! the asset directory.

mod args;
mod prepare;
mod tell;

use std::time::Duration;

use ::checks::Check;
use cri::Cri;
use node::Root;
use serde_json::json;
use upgrade::{Event, Looked, Plan, Target, Upgrade};

use self::args::{ApplyArgs, BackArgs, HereArgs, TargetArgs, UpgradeVerb};
use self::prepare::{Prepared, prepare};
use self::tell::{failed, look_failed, show, tell};
use super::bundle::Pin;
use super::config::ConfigArgs;
use super::hold::{Places, SHORTLY};
use super::start;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

pub(crate) use self::args::UpgradeArgs;

pub(crate) fn run(args: UpgradeArgs, ui: &Ui) -> Result<(), Failure> {
    match args.verb {
        UpgradeVerb::Plan(args) => super::run_async(async {
            let (_, plan) = ready(args, ui, &|_| {}).await?.plan().await?;
            show(&plan, ui)
        }),
        UpgradeVerb::Apply(args) => super::run_async(apply(args, ui)),
        UpgradeVerb::Back(args) => super::run_async(back(args, ui)),
    }
}

/// What an upgrade changes.
fn places(here: &HereArgs) -> Places {
    let root = Root::host();
    let is_root = node::facts::detect(&root).root;
    Places::host(&root, is_root).and_assets_if_any(&here.asset_dir)
}

async fn apply(args: ApplyArgs, ui: &Ui) -> Result<(), Failure> {
    let places = if args.dry_run { Places::default() } else { places(&args.target.here) };
    let _held = places.hold(SHORTLY, ui).await?;
    let report = |event: Event| tell(&event, ui);
    let Ready { upgrade, immutable } = ready(args.target, ui, &report).await?;
    let ready = Ready { upgrade: upgrade.with_patience(args.patience.patience()), immutable };
    ui.step("look at the cluster");
    let (looked, plan) = ready.plan().await?;
    if args.dry_run {
        return show(&plan, ui);
    }
    args.checks.judge(&plan.checks, ui)?;
    let done = ready.upgrade.apply(&looked, &plan).await.map_err(failed)?;
    hand_out(ready.upgrade.target())?;
    if ui.is_json() {
        ui.event(&json!({"done": done, "from": plan.from, "to": plan.to}));
    } else if plan.is_empty() {
        ui.data("nothing to do: everything is as it shall be");
    } else {
        let snapshot = done.snapshot.map(|path| format!(" The snapshot of before is {}.", path.display()));
        ui.data(format!(
            "The cluster has {} after {:.1} s and {} steps.{}",
            plan.to,
            Duration::from_millis(done.elapsed_ms).as_secs_f32(),
            done.steps,
            snapshot.unwrap_or_default()
        ));
    }
    Ok(())
}

async fn back(args: BackArgs, ui: &Ui) -> Result<(), Failure> {
    let _held = places(&args.here).hold(SHORTLY, ui).await?;
    let report = |event: Event| tell(&event, ui);
    let (version, bundle, config) = (None, None, ConfigArgs::default());
    let target = TargetArgs { version, config, bundle, pin: Pin::default(), drain: false, here: args.here };
    let upgrade = ready(target, ui, &report).await?.upgrade;
    let found = upgrade.with_patience(args.patience.patience()).back().await.map_err(|error| {
        Failure::new(Exit::NotReverted, error)
            .hint("what was there before is saved: run the same command again")
    })?;
    ui.output(&json!({"unfinished": found}), || {
        if found { "everything is as it was before the upgrade" } else { "no upgrade is unfinished" }
            .to_owned()
    });
    Ok(())
}

/// The administrator's kubeconfig may have got a new certificate.
fn hand_out(target: &Target) -> Result<(), Failure> {
    let kubeconfig = host::fs::read(&target.asset_dir.join("auth/kubeconfig"))?;
    host::fs::write_if_changed(&target.root.path(names::path::ADMIN_KUBECONFIG), &kubeconfig, 0o600)?;
    Ok(())
}

/// An upgrade that can be looked at.
struct Ready<'a> {
    upgrade: Upgrade<'a>,
    immutable: Vec<Check>,
}

async fn ready<'a>(
    args: TargetArgs,
    ui: &Ui,
    report: &'a (dyn Fn(Event) + Send + Sync),
) -> Result<Ready<'a>, Failure> {
    let Prepared { target, state, immutable } = prepare(args, ui)?;
    let client = start::local_client(&target.asset_dir).await?;
    let runtime = Cri::connect(&target.root.path(names::path::CRI_SOCKET)).await;
    let runtime = runtime.map_err(|error| look_failed(error.into()))?;
    Ok(Ready { upgrade: Upgrade::new(target, client, runtime, state, report), immutable })
}

impl Ready<'_> {
    async fn plan(&self) -> Result<(Looked, Plan), Failure> {
        let looked = self.upgrade.look().await.map_err(look_failed)?;
        let mut plan = self.upgrade.plan(&looked);
        plan.checks.extend(self.immutable.iter().cloned());
        Ok((looked, plan))
    }
}
