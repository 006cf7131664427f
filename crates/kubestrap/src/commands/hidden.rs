//! Verbs that kubestrap and its own development run: no user types them, so no help lists them.

use clap::Subcommand;

use super::{man, reference, sandbox};
use crate::exit::Failure;
use crate::ui::Ui;

#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    /// What keeps a sandbox node running
    #[command(hide = true)]
    SandboxSupply(sandbox::SupplyArgs),
    /// Print a page of the documentation that is made from the program (Markdown)
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
    /// Write a manual page of each verb into a folder
    #[command(hide = true)]
    Man(man::ManArgs),
}

pub(crate) fn run(verb: Hidden, ui: &Ui) -> Result<(), Failure> {
    match verb {
        Hidden::SandboxSupply(args) => sandbox::supply(args),
        Hidden::Reference(args) => reference::run(args, ui),
        Hidden::Man(args) => man::run(args, ui),
    }
}
