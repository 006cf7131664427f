//! How the cases ended: where the time went, what was flaky, and last what failed, so that nothing scrolls over it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::build::say;
use crate::times::{self, minutes};

/// How a case ended, as its program tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    name: String,
    verdict: Verdict,
    seconds: f32,
    told: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Passed,
    Flaky,
    Failed,
    Known,
}

/// All cases of a run.
#[derive(Debug)]
pub(super) struct Ended {
    outcomes: Vec<Outcome>,
    folders: PathBuf,
}

impl Ended {
    pub(super) fn new(outcomes: Vec<Outcome>, folders: PathBuf) -> Self {
        Self { outcomes, folders }
    }

    fn are(&self, verdict: Verdict) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |outcome| outcome.verdict == verdict)
    }

    /// Says all that there is to say.
    ///
    /// # Errors
    /// When a case failed.
    pub(super) fn tell(&self, all: Duration) -> Result<()> {
        for outcome in self.outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Known) {
            times::remember(&outcome.name, Duration::from_secs_f32(outcome.seconds));
        }
        say(&format!("\nWhere the time went ({} in all; lints are checked beside the cases):", minutes(all)));
        for (what, took) in times::slowest_first() {
            say(&format!("  {:>6}  {what}", minutes(took)));
        }
        self.told("FLAKY: these hit a ceiling, and passed on a fresh node", Verdict::Flaky);
        self.told("FAILED", Verdict::Failed);
        let count = |verdict| self.are(verdict).count();
        let (failed, known) = (count(Verdict::Failed), count(Verdict::Known));
        if known > 0 {
            say(&format!("{known} cases have passed for this source before: `--again` runs them, too"));
        }
        say(&format!("\n{} passed, {failed} failed", self.outcomes.len() - failed));
        if failed > 0 {
            bail!("{failed} cases failed; what they printed is in {}", self.folders.display());
        }
        Ok(())
    }

    fn told(&self, title: &str, verdict: Verdict) {
        if self.are(verdict).next().is_none() {
            return;
        }
        say(&format!("\n{title}:"));
        for outcome in self.are(verdict) {
            say(&format!("\n{}", outcome.told.as_deref().unwrap_or(&outcome.name)));
        }
    }
}
