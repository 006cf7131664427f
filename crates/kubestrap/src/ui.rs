//! The one place that prints. Data goes to stdout, progress and messages to stderr; with
//! `-o json` data is one JSON document and progress is one JSON object a line.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Instant;

use serde::Serialize;

use crate::exit::Failure;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: a stable schema.
    Json,
}

/// The program's voice.
#[derive(Debug)]
pub(crate) struct Ui {
    format: Format,
    quiet: bool,
    started: Instant,
    terminal: bool,
    lost: OnceLock<std::io::Error>,
}

impl Ui {
    /// A voice in the given format; `quiet` keeps progress to itself.
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        Self {
            format,
            quiet,
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            lost: OnceLock::new(),
        }
    }

    /// True when the user asked for JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// True when stderr is a terminal that can redraw a line.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal && !self.is_json()
    }

    /// Prints data for people.
    pub(crate) fn data(&self, text: impl AsRef<str>) {
        let text = text.as_ref().trim_end_matches('\n');
        self.print(|out| writeln!(out, "{text}"));
    }

    /// Prints one JSON document.
    pub(crate) fn json(&self, value: &impl Serialize) {
        self.print(|out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        });
    }

    /// Prints data in the format the user asked for.
    pub(crate) fn output(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.is_json() { self.json(value) } else { self.data(text()) }
    }

    /// One JSON object a line on stdout, for events.
    pub(crate) fn event(&self, value: &impl Serialize) {
        self.print(|out| {
            serde_json::to_writer(&mut *out, value)?;
            writeln!(out)
        });
    }

    /// A closed pipe (`| head`) is the reader's choice, no error of ours. What else goes wrong is told at the end: a verb
    /// that changes a cluster does not stop halfway because nobody can read of it.
    fn print(&self, write: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<()>) {
        let mut out = std::io::stdout().lock();
        let result = write(&mut out).and_then(|()| out.flush());
        if let Err(error) = result
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            let _ = self.lost.set(error);
        }
    }

    /// Why something that was printed did not arrive.
    pub(crate) fn lost(&self) -> Option<&std::io::Error> {
        self.lost.get()
    }

    /// Says what is being done, with the time since the start.
    pub(crate) fn step(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let seconds = self.started.elapsed().as_secs_f32();
            self.line(&format!("[{seconds:6.1}s] {}", text.as_ref()));
        }
    }

    /// Says something that the user should look at.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.line(&format!("warning: {}", text.as_ref()));
    }

    /// Redraws the last line of a terminal (what is waited for right now); nothing elsewhere.
    pub(crate) fn transient(&self, text: impl AsRef<str>) {
        if self.is_terminal() && !self.quiet {
            let seconds = self.started.elapsed().as_secs_f32();
            let text: String = text.as_ref().chars().take(100).collect();
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K[{seconds:6.1}s]   {text}\r");
        }
    }

    /// Asks a person and waits for the answer; none when nobody is there to give one.
    pub(crate) fn confirm(&self, question: &str) -> Option<bool> {
        if !std::io::stdin().is_terminal() || self.is_json() {
            return None;
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Says why it failed and what to do next.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.line(&format!("error: {:#}", failure.error));
        if let Some(hint) = &failure.hint {
            self.line(&format!("hint: {hint}"));
        }
    }

    fn line(&self, text: &str) {
        let clear = if self.is_terminal() { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{clear}{text}");
    }
}
