//! stub, to be replaced by its owner
use std::process::ExitCode;
use crate::{exit::Failure, ui::Ui};
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {}
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {}
pub(crate) fn run(_args: SandboxArgs, _ui: &Ui) -> Result<(), Failure> { todo!() }
pub(crate) fn init(_args: InitArgs, _ui: &Ui) -> Result<(), Failure> { todo!() }
/// When this program was called as `systemctl`: does what that asks of the node's pid 1.
pub(crate) fn systemctl_shim() -> Option<ExitCode> { None }
