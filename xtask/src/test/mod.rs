//! `cargo xtask test`: three rings out of one list of cases (docs/testing.md).
//!
//! ```text
//! core    the lints' and the tests' programs are built, tests that need no cluster, each capability once on real nodes
//! --full  every case, goes on where it was stopped
//! --soak  repetitions, held to the promised times
//! ```

mod cases;
mod ended;
mod page;
mod source;

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::build::{self, say};
use crate::debian;
use crate::idle::Idle;
use crate::logged;
use crate::times::timed;
use cases::{Cases, Listed};
use ended::Ended;
use source::Source;

#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// Run every case, and go on where a run of this very source was stopped
    #[arg(long, conflicts_with = "soak")]
    full: bool,
    /// Repeat what has to hold every time (power cuts, pivots under load) as often as it takes
    #[arg(long)]
    soak: bool,
    /// Forget what has passed for this source already
    #[arg(long, requires = "full")]
    again: bool,
    /// Leave the nodes of the cases to a person who wants to look at them
    #[arg(long)]
    keep: bool,
    /// Print the cases instead of running them
    #[arg(long)]
    list: bool,
    /// Write the list of all cases into docs/testing.md
    #[arg(long, requires = "list")]
    write: bool,
    /// Run only the cases on real clusters whose names contain this
    filter: Option<String>,
}

impl TestArgs {
    fn selection(&self) -> &'static str {
        match (self.full, self.soak) {
            (true, _) => "full",
            (_, true) => "soak",
            _ => "core",
        }
    }
}

/// Builds what is missing, then runs what is asked for.
pub(crate) fn run(args: TestArgs) -> Result<()> {
    everything(args, |_| Ok(()))
}

/// The core, with something else beside the cases on clusters, in what they leave of the processors.
pub(crate) fn core_beside(beside: impl FnOnce(&Idle) -> Result<()> + Send) -> Result<()> {
    everything(TestArgs::default(), beside)
}

fn everything(args: TestArgs, beside: impl FnOnce(&Idle) -> Result<()> + Send) -> Result<()> {
    let began = Instant::now();
    build::prepare()?;
    crate::apt::ensure(build::CASES)?;
    let program = timed("build the tests on clusters", build::clusters)?;
    let cases = Cases::of(&program, args.selection(), args.filter.as_deref().unwrap_or_default());
    if args.list {
        return list(&cases, args.write);
    }
    let wanted = cases.list()?;
    ensure!(
        !wanted.is_empty(),
        "no case of this ring has {:?} in its name: `cargo xtask test --full --list` prints all",
        args.filter.unwrap_or_default()
    );
    page::is_true(&cases.all()?)?;
    let built = build::all()?;
    // The core runs all there is, and needs no checkout to know the source by.
    let passed = args.full.then(|| Source::here()?.passed(args.again)).transpose()?;
    let ended = if args.filter.is_some() {
        on_clusters(&cases, &wanted, &built, passed.as_ref(), &args)?
    } else {
        without_clusters(args.soak)?;
        let idle = Idle::new();
        let (beside, ended) = std::thread::scope(|scope| {
            let beside = scope.spawn(|| beside(&idle));
            let ended = on_clusters(&cases, &wanted, &built, passed.as_ref(), &args);
            idle.wake();
            (beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), ended)
        });
        build::keep_dependencies();
        beside?;
        ended?
    };
    ended.tell(began.elapsed())
}

fn list(cases: &Cases, write: bool) -> Result<()> {
    if write {
        return page::write(&cases.all()?);
    }
    for case in cases.list()? {
        say(&format!("{:5} {:7} {}: {}", case.ring, case.nodes, case.name, case.promise));
    }
    Ok(())
}

/// All tests of the workspace but those on clusters. In a soak only those that repeat themselves there.
fn without_clusters(soak: bool) -> Result<()> {
    let tests = build::cargo_command().args(["test", "--release", "--workspace", "--no-run"]);
    logged::succeeds("build the tests that need no cluster", &tests)?;
    build::keep_dependencies();
    let tests = build::cargo_command().args(["test", "--release", "--workspace", "--no-fail-fast"]);
    let tests = if soak { tests.args(["--test", "machine"]).env(build::SOAK, "1") } else { tests };
    logged::succeeds("tests that need no cluster", &tests)
}

fn on_clusters(
    cases: &Cases,
    wanted: &[Listed],
    built: &build::Built,
    passed: Option<&source::Passed>,
    args: &TestArgs,
) -> Result<Ended> {
    // Each takes minutes where it is not cached: not for cases that do not need it.
    let needed = |nodes: &str| {
        wanted.iter().any(|case| case.nodes == nodes && !passed.is_some_and(|p| p.has(&case.name)))
    };
    let older = needed("oldest").then(|| build::oldest(&built.kubestrap)).transpose()?;
    let debian = needed("debian").then(|| timed("make a Debian root", debian::ensure)).transpose()?;
    cases.run(&cases::Inputs {
        built,
        older: older.as_ref(),
        debian: debian.as_deref(),
        soak: args.soak,
        keep: args.keep,
        passed: passed.map(source::Passed::file),
    })
}
