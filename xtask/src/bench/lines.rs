//! What a program prints, line by line, until it said enough.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use host::command::Command;

/// Runs a program until `take` has what it needs, or the program ends. It is ended then.
///
/// # Errors
/// When it cannot be started or prints no text.
pub(super) fn until<T>(
    command: &Command,
    stderr: Stdio,
    mut take: impl FnMut(&str) -> Option<T>,
) -> Result<Option<T>> {
    let mut child = Ended(command.spawn(Stdio::piped(), stderr)?);
    for line in BufReader::new(child.0.stdout.take().context("no pipe")?).lines() {
        if let Some(value) = take(&line?) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// A child that is ended when it is not needed any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_program_that_said_enough_is_not_waited_for() {
        let began = Instant::now();
        let command = Command::new("sh").args(["-c", "echo a; echo b; exec sleep 60"]);
        let said = until(&command, Stdio::inherit(), |line| (line == "b").then_some(2)).unwrap();
        assert_eq!(said, Some(2));
        assert!(began.elapsed() < Duration::from_secs(30));
        let ends = Command::new("echo").args(["a"]);
        assert_eq!(until(&ends, Stdio::inherit(), |_| None::<()>).unwrap(), None);
    }
}
