//! One file a verb: its arguments, its wiring, its printing, and which exit code a failure has.

pub(crate) mod asked;
pub(crate) mod backup;
pub(crate) mod bundle;
pub(crate) mod certs;
mod check_list;
mod checks;
pub(crate) mod cluster;
pub(crate) mod completion;
mod config;
pub(crate) mod doctor;
pub(crate) mod guardian;
pub(crate) mod hidden;
pub(crate) mod hold;
pub(crate) mod init_config;
mod install;
pub(crate) mod join;
#[cfg(test)]
mod killed;
pub(crate) mod man;
pub(crate) mod reference;
pub(crate) mod render;
pub(crate) mod reset;
pub(crate) mod restore;
pub(crate) mod sandbox;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod upgrade;

use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Runs a verb that talks to the API or the container runtime.
pub(crate) fn run_async<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work)
}

/// Refuses who is not root: what is read and written is root's.
pub(crate) fn must_be_root(facts: &node::Facts) -> Result<(), Failure> {
    if facts.root {
        return Ok(());
    }
    Err(Failure::new(Exit::Unsupported, anyhow::anyhow!("you are not root")).hint("run it with sudo"))
}

/// Whether somebody is asked before something is done, and whether it is done.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ConsentArgs {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print what would be done and what would stay, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Asks before something is done, unless it was said to be done: `what` says it, and `question` asks.
pub(crate) fn agree(ui: &Ui, yes: bool, what: &str, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    ui.warn(what);
    match ui.confirm(question) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Exit::Other, anyhow::anyhow!("nothing was changed"))),
        None => Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!("nobody is here to be asked, and nothing was changed"),
        )
        .hint("say --yes if all of this shall be done")),
    }
}
