//! The project's own tasks: `cargo xtask up` ends with a cluster, `cargo xtask test` tests
//! everything. Each task installs what it needs and says so.

mod apt;
mod bench;
mod build;
mod ci;
mod components;
mod idle;
mod kubectl;
mod test;
mod up;

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
    /// Run all tests, those on real clusters included
    Test(test::TestArgs),
    /// Check format and lints, then run all tests
    Ci,
    /// Build upstream's programs, or take its releases
    Components(components::ComponentsArgs),
    /// Build kubestrap and the bundle of programs and images
    Bundle,
    /// Measure on this machine, against the peers that users know
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Up(args) => up::run(args),
        Task::Kubectl(args) => kubectl::run(args),
        Task::Test(args) => test::run(args),
        Task::Ci => ci::run(),
        Task::Components(args) => components::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Bundle => build::all().map(|built| build::say(&built.bundle.display().to_string())),
    }
}
