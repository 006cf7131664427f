//! Commands whose output is of interest only when they fail.

use std::fs::File;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use host::command::Command;

use crate::build::{self, say};
use crate::times::{minutes, timed};

/// How many of its last lines are shown of a command that failed.
const SHOWN: usize = 60;

/// Runs a command to its good end; what it prints goes to a file beside the cases' folders.
///
/// # Errors
/// With the end of what it printed, and where the rest is.
pub(crate) fn succeeds(what: &str, command: &Command) -> Result<()> {
    let folder = build::target_dir().join("cases").join(what.replace(' ', "-"));
    host::fs::create_dir_all(&folder, 0o755)?;
    let path = folder.join("output.log");
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let began = std::time::Instant::now();
    let status = timed(what, || {
        let mut child = command.spawn(Stdio::from(log.try_clone()?), Stdio::from(log))?;
        Ok::<_, anyhow::Error>(child.wait()?)
    })?;
    if status.success() {
        say(&format!("{what}: {}", minutes(began.elapsed())));
        return Ok(());
    }
    let bytes = host::fs::read(&path)?;
    let text = String::from_utf8_lossy(&bytes);
    let (why, line) = (what_failed(&text), command.line());
    bail!("{what}: `{line}` failed: {status}\n{why}\nall of it is in {}", path.display())
}

/// What tests say of those that failed, or else the last lines.
fn what_failed(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let mut failed = Vec::new();
    for (number, _) in lines.iter().enumerate().filter(|(_, line)| **line == "failures:") {
        let end = |line: &&&str| **line != "failures:" && !line.starts_with("test result: ");
        let block: Vec<_> = lines[number + 1..].iter().take_while(end).copied().collect();
        // Tests are listed twice: with what they said, and by their names alone.
        if block.iter().any(|line| line.starts_with("---- ")) {
            failed.extend(block);
        }
    }
    let end = &lines[lines.len().saturating_sub(SHOWN)..];
    if failed.is_empty() { end } else { &failed[..] }.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_say_that_failed_is_shown_and_otherwise_the_end() {
        let text = "test a ... ok\n\nfailures:\n\n---- b stdout ----\nwhy\n\nfailures:\n    b\n\ntest result: FAILED. 1\n\ntest c ... ok\n";
        assert_eq!(what_failed(text).trim(), "---- b stdout ----\nwhy");
        assert_eq!(what_failed("one\ntwo"), "one\ntwo");
        assert_eq!(what_failed(&"line\n".repeat(100)).lines().count(), SHOWN);
    }
}
