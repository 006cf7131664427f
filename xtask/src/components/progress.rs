//! What a person sees while programs are built: one line a group that is rewritten on a terminal,
//! plain lines elsewhere. All of it goes to stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Prints progress.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Whether a line can be rewritten.
    terminal: bool,
    /// For tests.
    silent: bool,
}

impl Progress {
    /// As fits what stderr is.
    pub(crate) fn stderr() -> Self {
        Self { terminal: io::stderr().is_terminal(), silent: false }
    }

    /// Prints nothing.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { terminal: false, silent: true }
    }

    /// One finished line.
    pub(crate) fn line(self, text: &str) {
        if !self.silent {
            // There is nobody to tell that stderr is closed.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Begins the line of one group.
    pub(crate) fn group(self, name: &str, programs: usize) -> GroupLine {
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new(programs as u64);
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix:<16} {pos}/{len} {elapsed:>4} {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        GroupLine {
            progress: self,
            name: name.to_owned(),
            bar,
            started: Instant::now(),
            done: AtomicUsize::new(0),
        }
    }
}

/// The line of one group.
#[derive(Debug)]
pub(crate) struct GroupLine {
    progress: Progress,
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    done: AtomicUsize,
}

impl GroupLine {
    /// A program is now being made; `verb` is "building" or "downloading".
    pub(crate) fn begin(&self, verb: &str, program: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{verb} {program}")),
            None => self.progress.line(&format!("{:<16} {verb} {program}", self.name)),
        }
    }

    /// That program is done.
    pub(crate) fn end(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// The whole group is done.
    pub(crate) fn finish(mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs();
        let done = *self.done.get_mut();
        let programs = if done == 1 { "program" } else { "programs" };
        self.progress.line(&format!("{:<16} {done} {programs} in {seconds} s", self.name));
    }
}

impl Drop for GroupLine {
    /// An error message must not stand behind a half-drawn line.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
