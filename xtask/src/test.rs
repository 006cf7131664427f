//! `cargo xtask test`: everything, the tests on real clusters included.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use host::command::Command;

use crate::build::{self, say};

/// What the tests that need an older Kubernetes are called.
const OLDER: [&str; 2] = ["accepted", "upgrade_of"];

#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// Repeat what has to hold every time (power cuts, pivots under load) as often as it takes
    #[arg(long)]
    soak: bool,
    /// Run only the tests on real clusters whose names contain this
    filter: Option<String>,
}

/// Builds what is missing, then runs all tests: those that need no cluster, then those that do.
pub(crate) fn run(args: TestArgs) -> Result<()> {
    let built = build::all()?;
    let named = args.filter.is_some();
    // Takes minutes where it is not cached, and few tests need it.
    let needs = |filter: &str| OLDER.iter().any(|name| name.contains(filter) || filter.contains(name));
    let wanted = args.filter.as_deref().map_or(args.soak, needs);
    let older = if wanted { build::older_bundle(&built.kubestrap)? } else { PathBuf::new() };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = |rest: &[&str]| -> Result<()> {
        let command = Command::new(&cargo)
            .args(["test", "--release"])
            .args(rest)
            .env("KUBESTRAP_TEST_PROGRAM", &built.kubestrap)
            .env("KUBESTRAP_TEST_PROGRAMS", &built.programs.path)
            .env("KUBESTRAP_TEST_BUNDLE", &built.bundle)
            .env("KUBESTRAP_TEST_OLDER_BUNDLE", &older)
            .env("KUBESTRAP_TEST_SOAK", if args.soak { "1" } else { "" })
            .current_dir(build::root());
        say(&format!("running cargo test {}", rest.join(" ")));
        let status = command.run_attached()?;
        ensure!(status.success(), "`cargo test {}` failed: {status}", rest.join(" "));
        Ok(())
    };
    if args.filter.is_none() {
        test(&["--workspace", "--exclude", "e2e"])?;
    }
    // One after the other: each has the two cores for itself, and figures mean something.
    let mut cluster = vec!["--package", "e2e", "--", "--test-threads=1", "--nocapture"];
    if args.soak || named {
        cluster.push("--include-ignored");
    }
    cluster.extend(args.filter.as_deref());
    test(&cluster)
}
