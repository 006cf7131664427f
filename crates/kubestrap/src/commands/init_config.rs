//! `init-config`: prints a config file to start from, and the references made from its types.

use crate::exit::Failure;
use crate::ui::Ui;

/// What to print; the commented default file when nothing is chosen.
#[derive(Debug, clap::Args)]
pub(crate) struct InitConfigArgs {
    /// Print the JSON schema of the config file
    #[arg(long)]
    schema: bool,
    /// Print a page with every key, its default and its meaning (Markdown)
    #[arg(long, conflicts_with = "schema")]
    reference: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(args: InitConfigArgs, ui: &Ui) -> Result<(), Failure> {
    if args.schema {
        ui.data(cluster::json_schema());
    } else if args.reference {
        ui.data(cluster::markdown());
    } else {
        ui.data(cluster::DEFAULT_FILE);
    }
    Ok(())
}
