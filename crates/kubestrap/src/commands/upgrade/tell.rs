//! What `upgrade` says: plans, events, and failures with what to do next.

use ::checks::Check;
use upgrade::{Event, Failed, Plan, UpgradeError};

use super::super::checks::failed_of;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Prints a plan; checks that failed are a failure.
pub(super) fn show(plan: &Plan, ui: &Ui) -> Result<(), Failure> {
    ui.output(plan, || plan.to_string());
    let failed: Vec<&Check> = plan.checks.iter().filter(|check| check.is_failure()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|check| check.name.as_str()).collect();
    let error = anyhow::anyhow!("{}: {}", failed_of("check", failed.len()), names.join(", "));
    Err(Failure::new(Exit::Preflight, error).hint("mend these first, or pass --ignore-preflight-errors"))
}

/// Tells of what happens.
pub(super) fn tell(event: &Event, ui: &Ui) {
    if ui.is_json() {
        return ui.event(event);
    }
    match event {
        Event::Step { number, of, title } => ui.step(format!("{number}/{of} {title}")),
        Event::Waiting { what } => ui.transient(format!("waiting for {what}")),
        Event::Done { text } => ui.step(format!("  {text}")),
        Event::Back { why } => ui.warn(format!("{why}; what was changed is put back")),
        Event::PutBack { what } => ui.step(format!("  {what} is as it was")),
    }
}

pub(super) fn look_failed(error: UpgradeError) -> Failure {
    let hint = match &error {
        UpgradeError::Api(_) => "see that the API of this node answers: kubestrap status",
        UpgradeError::Runtime(_) => "look at it with: systemctl status containerd",
        _ => "nothing was changed",
    };
    Failure::new(Exit::Other, error).hint(hint)
}

pub(super) fn failed(failed: Failed) -> Failure {
    let (exit, hint) = match &failed {
        Failed::Untouched { .. } => (Exit::Other, "mend the cause and run the same command again"),
        Failed::Reverted { .. } => (Exit::Reverted, "mend the cause and run the same command again"),
        Failed::NotReverted { .. } => (
            Exit::NotReverted,
            "what was there before is saved: `kubestrap upgrade back` tries the step back again, \
             `kubestrap upgrade apply` goes on",
        ),
    };
    Failure::new(exit, failed).hint(hint)
}
