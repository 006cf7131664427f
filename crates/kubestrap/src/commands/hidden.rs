//! Verbs that kubestrap runs itself: no user types them, so no help lists them.

use clap::Subcommand;

use super::sandbox;
use crate::exit::Failure;
use crate::ui::Ui;

#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// pid 1 of a sandbox node
    #[command(hide = true)]
    SandboxInit(sandbox::InitArgs),
}

pub(crate) fn run(verb: Hidden, ui: &Ui) -> Result<(), Failure> {
    match verb {
        Hidden::SandboxInit(args) => sandbox::init(args, ui),
    }
}
