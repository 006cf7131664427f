//! One file a verb: its arguments, its wiring, its printing, and which exit code a failure has.

pub(crate) mod bundle;
mod check_list;
mod checks;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod guardian;
pub(crate) mod hidden;
pub(crate) mod init_config;
pub(crate) mod man;
pub(crate) mod reference;
pub(crate) mod render;
pub(crate) mod reset;
pub(crate) mod sandbox;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod upgrade;

use crate::exit::Failure;

/// Runs a verb that talks to the API or the container runtime.
pub(crate) fn run_async<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work)
}
