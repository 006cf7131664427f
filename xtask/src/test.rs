//! `cargo xtask test`: everything, the tests on real clusters included.

use std::path::Path;
use std::thread::ScopedJoinHandle;

use anyhow::Result;
use host::command::Command;

use crate::build::{self, Built, say};
use crate::idle::Idle;

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
    let Some(filter) = args.filter else { return everything(args.soak, |_| Ok(())) };
    let tests = Tests { built: build::all()?, soak: args.soak };
    // It takes minutes where it is not cached: not for a test that does not need it.
    let needed = OLDER.iter().any(|name| name.contains(&filter));
    let older = if needed { Some(build::oldest(&tests.built.kubestrap)?) } else { None };
    tests.on_clusters(&build::clusters()?, older.as_ref(), List { name: "", at_once: "1" }, &[&filter])
}

/// All tests, with something else beside those on clusters; nothing is begun after it has failed.
pub(crate) fn everything(soak: bool, beside: impl FnOnce(&Idle) -> Result<()> + Send) -> Result<()> {
    let tests = Tests { built: build::all()?, soak };
    say("running the tests that need no cluster");
    tests.succeed(build::cargo_command().args(["test", "--release", "--workspace"]))?;
    let program = build::clusters()?;
    let idle = Idle::new();
    std::thread::scope(|scope| {
        // Most tests on clusters need one Kubernetes only, and mostly wait.
        let beside = scope.spawn(|| beside(&idle));
        let older = scope.spawn(|| build::oldest_while_idle(&idle));
        let at_once = if soak { "1" } else { "2" };
        let abreast = tests.on_clusters(&program, None, List { name: "abreast", at_once }, &[]);
        ended(beside)?;
        let alone = tests.on_clusters(&program, None, List { name: "alone", at_once: "1" }, &[]);
        ended(older)?;
        let older = build::oldest(&tests.built.kubestrap)?;
        let oldest = tests.on_clusters(&program, Some(&older), List { name: "oldest", at_once: "1" }, &[]);
        abreast.and(alone).and(oldest)
    })
}

fn ended(thread: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    fn on_clusters(&self, program: &Path, older: Option<&Built>, list: List, filter: &[&str]) -> Result<()> {
        say(&format!("running the tests on clusters: {}", [&[list.name], filter].concat().join(" ")));
        let threads = format!("--test-threads={}", list.at_once);
        let command = Command::new(program)
            .current_dir(build::root())
            .args(["--nocapture", &threads])
            .args(filter)
            .env("KUBESTRAP_TEST_PROGRAM", &self.built.kubestrap)
            .env("KUBESTRAP_TEST_PROGRAMS", &self.built.programs.path)
            .env("KUBESTRAP_TEST_BUNDLE", &self.built.bundle)
            .env("KUBESTRAP_TEST_OLDER_BUNDLE", older.map_or(Path::new(""), |older| &older.bundle))
            .env("KUBESTRAP_TEST_LIST", list.name);
        self.succeed(command)
    }

    fn succeed(&self, tests: Command) -> Result<()> {
        build::succeeds(&tests.env("KUBESTRAP_TEST_SOAK", if self.soak { "1" } else { "" }))
    }
}
