//! `cargo xtask test`: everything, the tests on real clusters included.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::build::{self, Built, say};

/// What the tests that need an older Kubernetes are called.
const OLDER: [&str; 4] = [
    "accepted::accepted_by_the_kubelet_of_the_oldest_release",
    "upgrade::upgrade_that_breaks_after_the_apiserver_is_put_back",
    "upgrade::upgrade_of_one_minor_under_load",
    "surges::surges_to_another_minor_and_back",
];

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
    let tests = Tests { built: build::all()?, soak: args.soak };
    let Some(filter) = args.filter else { return tests.all() };
    // It takes minutes where it is not cached: not for a test that does not need it.
    let needed = OLDER.iter().any(|name| name.contains(&filter));
    let older = if needed { Some(build::oldest(&tests.built.kubestrap)?) } else { None };
    tests.on_clusters(older.as_ref(), List { name: "", at_once: "1" }, &[&filter])
}

/// Tests on real clusters that are run together, as `e2e/tests/clusters/main.rs` has them.
struct List {
    name: &'static str,
    /// How many of them: one has the two cores for itself, and its figures mean something.
    at_once: &'static str,
}

struct Tests {
    built: Built,
    soak: bool,
}

impl Tests {
    fn all(&self) -> Result<()> {
        self.cargo_test(&["--workspace"], None, "")?;
        // Most tests on clusters need one Kubernetes only, and mostly wait.
        let older = std::thread::spawn(build::oldest_while_idle);
        let abreast = self.on_clusters(None, List { name: "abreast", at_once: "2" }, &[]);
        let newest = self.on_clusters(None, List { name: "newest", at_once: "1" }, &[]);
        older.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let older = build::oldest(&self.built.kubestrap)?;
        let oldest = self.on_clusters(Some(&older), List { name: "oldest", at_once: "1" }, &[]);
        abreast.and(newest).and(oldest)
    }

    fn on_clusters(&self, older: Option<&Built>, list: List, filter: &[&str]) -> Result<()> {
        let threads = format!("--test-threads={}", list.at_once);
        let args = [&build::E2E[..], &["--test", "clusters", "--", "--nocapture", &threads], filter].concat();
        self.cargo_test(&args, older, list.name)
    }

    fn cargo_test(&self, args: &[&str], older: Option<&Built>, list: &str) -> Result<()> {
        let command = build::cargo_command()
            .args(["test", "--release"])
            .args(args)
            .env("KUBESTRAP_TEST_PROGRAM", &self.built.kubestrap)
            .env("KUBESTRAP_TEST_PROGRAMS", &self.built.programs.path)
            .env("KUBESTRAP_TEST_BUNDLE", &self.built.bundle)
            .env("KUBESTRAP_TEST_OLDER_BUNDLE", older.map_or(Path::new(""), |older| &older.bundle))
            .env("KUBESTRAP_TEST_SOAK", if self.soak { "1" } else { "" })
            .env("KUBESTRAP_TEST_LIST", list);
        say(&format!("running cargo test {}", args.join(" ")));
        let status = command.run_attached()?;
        ensure!(status.success(), "`cargo test {}` failed: {status}", args.join(" "));
        Ok(())
    }
}
