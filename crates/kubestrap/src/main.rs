//! The `kubestrap` program: arguments in, exit code out. What it does lives in the libraries.

mod cli;
mod commands;
mod exit;
#[cfg(test)]
mod named;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
