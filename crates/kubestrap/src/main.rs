//! The `kubestrap` program: arguments in, exit code out. What it does lives in the libraries.

mod cli;
mod commands;
mod exit;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A sandbox node reaches its pid 1 through a link named `systemctl` to this program.
    if let Some(code) = commands::sandbox::systemctl_shim() {
        return code;
    }
    cli::run()
}
