//! The cases on real clusters: a program of their own, which has the table, and tells how each of them ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use host::command::Command;
use serde::Deserialize;

use super::ended::{Ended, Outcome};
use crate::build::{self, Built};

/// A case as the program lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) ring: String,
    pub(super) nodes: String,
    pub(super) soak: bool,
    pub(super) promise: String,
    pub(super) page: String,
}

/// Some of the cases.
pub(super) struct Cases {
    program: PathBuf,
    selection: &'static str,
    filter: String,
}

/// What the cases run.
pub(super) struct Inputs<'a> {
    pub(super) built: &'a Built,
    pub(super) older: Option<&'a Built>,
    /// A plain Debian root, where a case needs it.
    pub(super) debian: Option<&'a Path>,
    pub(super) soak: bool,
    pub(super) keep: bool,
    /// Where those are that have passed already.
    pub(super) passed: Option<&'a Path>,
}

impl Cases {
    pub(super) fn of(program: &Path, selection: &'static str, filter: &str) -> Self {
        Self { program: program.to_owned(), selection, filter: filter.to_owned() }
    }

    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        self.listed(self.selection, &self.filter)
    }

    /// Every case there is.
    pub(super) fn all(&self) -> Result<Vec<Listed>> {
        self.listed("full", "")
    }

    fn listed(&self, selection: &str, filter: &str) -> Result<Vec<Listed>> {
        let list = Command::new(&self.program).args(["list", "--selection", selection, filter]).run()?;
        serde_json::from_slice(&list.stdout).context("the list of cases")
    }

    /// Runs them, to the end also where some of them fail.
    pub(super) fn run(&self, inputs: &Inputs) -> Result<Ended> {
        let folders = build::target_dir().join("cases");
        let results = folders.join("results.json");
        host::fs::remove_file(&results)?;
        let flag = |set: bool| if set { "1" } else { "" };
        let older = inputs.older.map(|older| older.bundle.clone()).unwrap_or_default();
        let mut command = Command::new(&self.program)
            .current_dir(build::root())
            .args(["run", "--selection", self.selection, &self.filter, "--folders"])
            .arg(&folders)
            .arg("--results")
            .arg(&results)
            .env("KUBESTRAP_TEST_PROGRAM", &inputs.built.kubestrap)
            .env("KUBESTRAP_TEST_PROGRAMS", &inputs.built.programs.path)
            .env("KUBESTRAP_TEST_BUNDLE", &inputs.built.bundle)
            .env("KUBESTRAP_TEST_OLDER_BUNDLE", older)
            .env("KUBESTRAP_TEST_DEBIAN_ROOT", inputs.debian.unwrap_or(Path::new("")))
            .env("KUBESTRAP_TEST_KEEP", flag(inputs.keep))
            .env(build::SOAK, flag(inputs.soak));
        if let Some(passed) = inputs.passed {
            command = command.arg("--passed").arg(passed);
        }
        let status = to_its_end(&command)?;
        let text = host::fs::read_to_string(&results);
        let text = text.with_context(|| format!("the tests on clusters ended without a result: {status}"))?;
        let outcomes: Vec<Outcome> = serde_json::from_str(&text).context("the results of the cases")?;
        Ok(Ended::new(outcomes, folders))
    }
}

/// Runs the program to its end. Whoever ends us ends it, and we wait until it has put its nodes away.
fn to_its_end(command: &Command) -> Result<std::process::ExitStatus> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stopped))?;
    }
    let mut child = command.spawn(std::process::Stdio::inherit(), std::process::Stdio::inherit())?;
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stopped.load(Ordering::Relaxed) && !told {
            told = true;
            let id = child.id().to_string();
            Command::new("kill").args(["-TERM", &id]).run()?;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    ensure!(!told || !status.success(), "the tests on clusters did not end when they were told to");
    if told {
        bail!("stopped; `cargo xtask test --full` goes on with the cases that have not passed");
    }
    Ok(status)
}
