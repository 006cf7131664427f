//! The project's own tasks: `cargo xtask up` ends with a cluster, `cargo xtask test` tests
//! everything. Each task installs what it needs and says so.

mod apt;
mod bench;
mod build;
mod checkout;
mod ci;
mod components;
mod debian;
mod deps;
mod idle;
mod kubectl;
mod licences;
mod logged;
mod man;
mod say;
mod test;
mod times;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the project. Run from anywhere in the checkout.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build what is missing and bring up a self-hosted cluster in a sandbox node
    Up(up::UpArgs),
    /// Run kubectl against the sandbox node's cluster
    Kubectl(kubectl::KubectlArgs),
    /// Run the tests: those that need no cluster, and each capability once on real ones
    Test(test::TestArgs),
    /// Check format and lints, and run the tests
    Ci,
    /// Build upstream's programs, or take its releases
    Components(components::ComponentsArgs),
    /// Write the manual pages of kubestrap
    Man(man::ManArgs),
    /// Build kubestrap and the bundle of programs and images
    Bundle,
    /// Measure on this machine, against the peers that users know
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            build::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Up(args) => up::run(args),
        Task::Kubectl(args) => kubectl::run(args),
        Task::Test(args) => test::run(args),
        Task::Ci => ci::run(),
        Task::Man(args) => man::run(args),
        Task::Components(args) => components::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Bundle => build::all().map(|built| build::say(&built.bundle.display().to_string())),
    }
}
