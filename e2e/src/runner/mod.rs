//! Runs cases on real clusters, one after the other: a line for each, its output in a folder of its own, and at the end a
//! result that `cargo xtask test` makes its tables of.
//!
//! ```text
//! case ──▶ passed
//!      ├─▶ a broken promise (a request failed, a write is lost, a wrong state, a wrong word)  ──▶ failed
//!      └─▶ a ceiling was hit ──▶ once more at the end, on a fresh node ──▶ passed: flaky
//!                                                                     └─▶ not: failed
//! ```
//!
//! A failure is a value all the time: what is printed, kept and counted is made of it.

mod folder;
mod machine;
mod passed;
mod stop;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use serde::Serialize;

use crate::case::{Case, Selection};
use crate::{ceiling, lives, shared};

pub use folder::keep;
use folder::{Folder, Terminal};
use machine::Machine;
use passed::Passed;

/// Real clusters in sandbox nodes; started by `cargo xtask test`, which builds what they need.
#[derive(Debug, Parser)]
enum Cli {
    /// Print the cases as JSON
    List(What),
    /// Run them
    Run {
        #[command(flatten)]
        what: What,
        /// Where each case gets its folder
        #[arg(long)]
        folders: PathBuf,
        /// The file that the results are written to, as JSON
        #[arg(long)]
        results: PathBuf,
        /// The file with the cases that have passed already; they are left out, and those that pass are added
        #[arg(long)]
        passed: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct What {
    #[arg(long)]
    selection: Selection,
    /// A part of their names
    #[arg(default_value = "")]
    filter: String,
}

impl What {
    fn of(&self, all: &'static [Case]) -> Vec<&'static Case> {
        all.iter().filter(|case| self.selection.has(case, &self.filter)).collect()
    }
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    /// It hit a ceiling, and passed on a fresh node.
    Flaky,
    Failed,
    /// It has passed before, for this very source.
    Known,
}

/// A case, and how it ended.
#[derive(Debug, Serialize)]
struct Outcome {
    name: &'static str,
    verdict: Verdict,
    seconds: f32,
    /// What a person has to know who reads it for the first time.
    told: Option<String>,
}

/// The program that the table of cases makes: see [`Cli`].
pub fn main(all: &'static [Case]) -> ExitCode {
    let done = match Cli::parse() {
        Cli::List(what) => list(&what.of(all)),
        Cli::Run { what, folders, results, passed } => {
            run(&what.of(all), folders, passed).and_then(|ended| {
                host::fs::write(&results, &serde_json::to_vec_pretty(&ended)?, 0o644)?;
                Ok(ended.iter().all(|outcome| outcome.verdict != Verdict::Failed))
            })
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list(cases: &[&Case]) -> Result<bool> {
    let mut stdout = std::io::stdout();
    serde_json::to_writer(&mut stdout, cases)?;
    writeln!(stdout)?;
    Ok(true)
}

fn run(cases: &[&'static Case], folders: PathBuf, passed: Option<PathBuf>) -> Result<Vec<Outcome>> {
    lives::sweep()?;
    stop::tidy_when_told_to_end()?;
    let mut runner = Runner {
        terminal: Terminal::keep()?,
        machine: Machine::watch()?,
        passed: Passed::read(passed)?,
        folders,
        of: cases.len(),
        begun: 0,
    };
    let mut ended = Vec::new();
    let mut again = Vec::new();
    for &case in cases {
        let outcome = runner.first(case)?;
        if let Some(hit) = outcome.1 {
            again.push((ended.len(), case, hit));
        }
        ended.push(outcome.0);
    }
    for (number, case, hit) in again {
        // A fresh node: what the first one was left in is no ground to stand on.
        delete_clusters();
        runner.second(case, &hit, &mut ended[number])?;
    }
    delete_clusters();
    Ok(ended)
}

fn delete_clusters() {
    shared::end();
    lives::bury(None);
}

/// What an attempt showed.
enum Seen {
    Passed,
    Broken(String),
    /// What was waited for, and what the machine did meanwhile.
    Ceiling(String),
}

struct Runner {
    terminal: Terminal,
    machine: Machine,
    passed: Passed,
    folders: PathBuf,
    of: usize,
    begun: usize,
}

impl Runner {
    /// Runs a case for the first time; with what it waited for when it has to be run again.
    fn first(&mut self, case: &'static Case) -> Result<(Outcome, Option<String>)> {
        self.begun += 1;
        let mut outcome = Outcome { name: case.name, verdict: Verdict::Known, seconds: 0.0, told: None };
        if self.passed.has(case.name) {
            self.say(case, "has passed for this source already");
            return Ok((outcome, None));
        }
        let folder = Folder::create(&self.folders, case.name)?;
        let (seen, took) = self.attempt(case, &folder)?;
        outcome.seconds = took.as_secs_f32();
        let mut hit = None;
        outcome.verdict = match seen {
            Seen::Passed => {
                self.say(case, &format!("passed, {} s", took.as_secs()));
                self.passed.add(case.name)?;
                Verdict::Passed
            }
            Seen::Broken(error) => {
                self.say(case, &format!("FAILED, {} s: {}", took.as_secs(), first_line(&error)));
                outcome.told = Some(told(case, &error, &[&folder]));
                Verdict::Failed
            }
            Seen::Ceiling(error) => {
                let line = first_line(&error);
                self.say(
                    case,
                    &format!("a ceiling was hit, {} s; once more at the end: {line}", took.as_secs()),
                );
                hit = Some(error);
                Verdict::Failed
            }
        };
        Ok((outcome, hit))
    }

    /// Runs a case again that hit a ceiling.
    fn second(&mut self, case: &'static Case, hit: &str, outcome: &mut Outcome) -> Result<()> {
        let first = Folder::of(&self.folders, case.name);
        let folder = Folder::create(&self.folders, &format!("{}.again", case.name))?;
        let (seen, took) = self.attempt(case, &folder)?;
        outcome.seconds += took.as_secs_f32();
        match seen {
            Seen::Passed => {
                self.say(case, &format!("passed on a fresh node, {} s", took.as_secs()));
                self.passed.add(case.name)?;
                outcome.verdict = Verdict::Flaky;
                outcome.told = Some(told(case, hit, &[&first, &folder]));
            }
            Seen::Broken(error) | Seen::Ceiling(error) => {
                self.say(case, &format!("FAILED again, {} s: {}", took.as_secs(), first_line(&error)));
                let both = format!("{error}\n  before:  {hit}");
                outcome.told = Some(told(case, &both, &[&first, &folder]));
            }
        }
        Ok(())
    }

    fn attempt(&self, case: &Case, folder: &Folder) -> Result<(Seen, Duration)> {
        let (mark, began) = (self.machine.mark()?, Instant::now());
        let captured = self.terminal.capture(folder)?;
        let result = catch_unwind(AssertUnwindSafe(case.run)).unwrap_or_else(|panic| Err(told_by(&*panic)));
        if let Err(error) = &result {
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", case.name);
        }
        lives::bury(result.is_err().then(|| folder.path()));
        drop(captured);
        let seen = match result {
            Ok(()) => Seen::Passed,
            Err(error) if ceiling::was_hit(&error) => {
                Seen::Ceiling(format!("{error:#}\n  machine: {}", self.machine.since(&mark)?))
            }
            Err(error) => Seen::Broken(format!("{error:#}")),
        };
        Ok((seen, began.elapsed()))
    }

    fn say(&self, case: &Case, what: &str) {
        self.terminal.say(&format!("[{}/{}] {}: {what}", self.begun, self.of, case.name));
    }
}

/// What a case that panicked said.
fn told_by(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    anyhow!("it panicked: {}", text.unwrap_or_default())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// All that one has to know, in the order in which one asks for it.
fn told(case: &Case, seen: &str, folders: &[&Folder]) -> String {
    let Case { name, promise, page, .. } = case;
    let seen = seen.trim_end();
    let folders = folders.iter().map(|folder| format!("  look at: {}\n", folder.described()));
    let folders = folders.collect::<Vec<_>>().concat();
    format!(
        "{name}\n  promise: {promise} ({page})\n  seen:    {seen}\n{folders}  \
         alone:   cargo xtask test --full {name} (--keep leaves its node)\n"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::background::lock;
    use crate::case::{Nodes, Ring};

    /// The terminal is the process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn runner(dir: &std::path::Path) -> Runner {
        Runner {
            terminal: Terminal::keep().unwrap(),
            machine: Machine::watch().unwrap(),
            passed: Passed::read(Some(dir.join("passed"))).unwrap(),
            folders: dir.join("cases"),
            of: 1,
            begun: 0,
        }
    }

    fn case(run: fn() -> Result<()>) -> &'static Case {
        Box::leak(Box::new(Case {
            name: "a::case",
            ring: Ring::Core,
            nodes: Nodes::None,
            soak: false,
            promise: "it holds",
            page: "docs/testing.md",
            run,
        }))
    }

    #[test]
    fn a_broken_promise_is_never_tried_again_and_a_ceiling_is() {
        let _alone = lock(&ONE_AT_A_TIME);
        let dir = tempfile::tempdir().unwrap();
        let mut runner = runner(dir.path());
        let (outcome, hit) = runner.first(case(|| anyhow::bail!("1 of 9 requests failed"))).unwrap();
        assert_eq!((outcome.verdict, hit), (Verdict::Failed, None));
        let told = outcome.told.unwrap();
        assert!(
            told.starts_with("a::case\n  promise: it holds (docs/testing.md)\n  seen:    1 of 9"),
            "{told}"
        );
        assert!(told.contains("output.log"), "{told}");
        let log = dir.path().join("cases/a::case/output.log");
        assert!(host::fs::read_to_string(&log).unwrap().contains("requests failed"));

        let slow = case(|| ceiling::eventually("a pod", Duration::ZERO, || anyhow::bail!("none")));
        let (mut outcome, hit) = runner.first(slow).unwrap();
        let hit = hit.unwrap();
        assert!(hit.starts_with("a pod: not within 0 s: none\n  machine: "), "{hit}");
        runner.second(slow, &hit, &mut outcome).unwrap();
        assert_eq!(outcome.verdict, Verdict::Failed);
        runner.second(case(|| Ok(())), &hit, &mut outcome).unwrap();
        assert_eq!(outcome.verdict, Verdict::Flaky);
        assert!(outcome.told.unwrap().contains("a::case.again"));
        assert_eq!(runner.first(slow).unwrap().0.verdict, Verdict::Known, "it has passed since");
    }

    #[test]
    fn a_panic_is_a_failure_with_its_words() {
        let _alone = lock(&ONE_AT_A_TIME);
        let dir = tempfile::tempdir().unwrap();
        let (outcome, hit) = runner(dir.path()).first(case(|| panic!("an odd {}", "end"))).unwrap();
        assert!(hit.is_none());
        assert!(outcome.told.unwrap().contains("it panicked: an odd end"));
    }
}
