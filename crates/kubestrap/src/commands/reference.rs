//! `reference`: pages of the documentation that are made from the program itself, so that they
//! cannot say anything else than it does. A test compares them with what is checked in.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::cli;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Which page to print.
#[derive(Debug, clap::Args)]
pub(crate) struct ReferenceArgs {
    /// The page
    #[arg(value_enum)]
    page: Page,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Page {
    /// Every verb with its flags and defaults: docs/cli.md
    Cli,
    /// Every exit code: docs/exit-codes.md
    ExitCodes,
    /// Every check: docs/checks.md
    Checks,
}

#[expect(clippy::unnecessary_wraps, reason = "every verb has this signature")]
pub(crate) fn run(args: ReferenceArgs, ui: &Ui) -> Result<(), Failure> {
    ui.data(match args.page {
        Page::Cli => command_line(cli::command()),
        Page::ExitCodes => exit_codes(),
        Page::Checks => super::check_list::page(),
    });
    Ok(())
}

const EXIT_CODES_HEAD: &str = "\
# Exit codes

The numbers are stable: scripts may rely on them. The cause is on stderr as `error: …`, what to do next as `hint: …`.

<!-- Generated from the program: kubestrap reference exit-codes > docs/exit-codes.md -->

| code | meaning |
| --- | --- |
| 0 | it is done, or there was nothing to do |
";

/// `sandbox exec` is a shell's way of running a program, with a shell's exit codes.
const EXIT_CODES_TAIL: &str = "
`kubestrap sandbox exec` ends with the status of the program that it ran. As in a shell, 127 says that the node has no such
program, 126 that it cannot be run, and 128 + n that signal n ended it.
";

fn exit_codes() -> String {
    let rows = Exit::ALL.iter().map(|(exit, meaning)| format!("| {} | {} |\n", *exit as u8, escape(meaning)));
    format!("{EXIT_CODES_HEAD}{}{EXIT_CODES_TAIL}", rows.collect::<String>())
}

const COMMAND_LINE_HEAD: &str = "\
# The command line

stdout is data; progress and messages go to stderr. With `-o json` stdout is JSON: one document, or one object a line for
verbs that report progress. [exit-codes.md](exit-codes.md) lists how a verb can end.

<!-- Generated from the program: kubestrap reference cli > docs/cli.md -->
";

fn command_line(mut command: Command) -> String {
    // Gives each subcommand its full name and the arguments that it inherits.
    command.build();
    let mut page = COMMAND_LINE_HEAD.to_owned();
    describe(&command, &[], &mut page);
    page
}

/// One section for a command and each of its subcommands. `inherited` are arguments that a section
/// above has explained already.
fn describe(command: &Command, inherited: &[&Arg], page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    let _ = write!(page, "\n## {name}\n\n{}\n\n", escape(&about.unwrap_or_default()));
    let usage = command.clone().render_usage().to_string();
    let _ = write!(page, "```\n{}\n```\n", usage.trim_start_matches("Usage: ").trim());
    let arguments = arguments(command, inherited);
    if !arguments.is_empty() {
        page.push_str("\n| argument | default | meaning |\n| --- | --- | --- |\n");
        for argument in &arguments {
            page.push_str(&row(argument));
        }
    }
    let inherited: Vec<_> =
        inherited.iter().copied().chain(command.get_arguments().filter(|a| a.is_global_set())).collect();
    for subcommand in subcommands(command) {
        describe(subcommand, &inherited, page);
    }
}

/// What people type: not what kubestrap runs itself, nor clap's own `help`.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help")
}

fn arguments<'a>(command: &'a Command, inherited: &[&Arg]) -> Vec<&'a Arg> {
    let explained = |arg: &Arg| inherited.iter().any(|known| known.get_id() == arg.get_id());
    let everywhere = |arg: &Arg| ["help", "version"].contains(&arg.get_id().as_str());
    command.get_arguments().filter(|a| !a.is_hide_set() && !explained(a) && !everywhere(a)).collect()
}

fn row(arg: &Arg) -> String {
    let short = arg.get_short().filter(|_| arg.get_long().is_some());
    let short = short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|v| format!("`{}`", v.to_string_lossy())).collect();
    // A flag's `false` is no news.
    let takes_value = arg.get_action().takes_values();
    let default = if takes_value { defaults.join(", ") } else { String::new() };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = escape(&help);
    let values: Vec<_> = arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
    if takes_value && !values.is_empty() {
        let _ = write!(meaning, " ({})", values.join(", "));
    }
    format!("| `{short}{}` | {default} | {meaning} |\n", arg.to_string().replace('|', "\\|"))
}

/// Text for a table's cell: in one line, and nothing in it is Markdown or HTML by accident.
fn escape(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "\\<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_argument_has_a_meaning() {
        let page = command_line(cli::command());
        assert!(page.contains("\n## kubestrap sandbox power-off\n"), "{page}");
        assert!(!page.contains("sandbox-supply"), "hidden verbs are not the users'");
        let empty: Vec<_> = page.lines().filter(|line| line.ends_with("|  |")).collect();
        assert!(empty.is_empty(), "no help: {empty:#?}");
    }

    #[test]
    fn codes_are_all_different_and_in_order() {
        let numbers: Vec<_> = Exit::ALL.iter().map(|(exit, _)| *exit as u8).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
