//! `completion`: what a shell needs to complete kubestrap's verbs and flags.

use clap::Command;
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

use crate::cli;
use crate::exit::Failure;
use crate::ui::Ui;

/// What people type first.
const NAME: &str = "kubestrap";

/// Whose script to print.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell that reads the script
    #[arg(value_enum)]
    shell: Shell,
}

/// `clap_complete` has a list of its own, with shells that Linux nodes do not run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(args: CompletionArgs, ui: &Ui) -> Result<(), Failure> {
    ui.data(String::from_utf8_lossy(&script(args.shell, &cli::command())));
    Ok(())
}

fn script(shell: Shell, command: &Command) -> Vec<u8> {
    let (mut command, mut script) = (typed(command), Vec::new());
    match shell {
        Shell::Bash => generate(Bash, &mut command, NAME, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, NAME, &mut script),
        Shell::Fish => generate(Fish, &mut command, NAME, &mut script),
    }
    script
}

/// The command with the verbs that people type: `clap_complete` offers hidden ones, too.
fn typed(command: &Command) -> Command {
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments())
        .subcommands(command.get_subcommands().filter(|verb| !verb.is_hide_set()))
}
