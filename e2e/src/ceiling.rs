//! How long a case waits for an event before it gives up: ceilings, not promises. Each is ten times what the event usually
//! takes on two cores that have nothing else to do (the figures come from the cases' own output), so that one that is hit
//! says that the event never comes, or that the machine stood still. Promised times are for benches and soaks.
//!
//! A wait that hits its ceiling ends with a [`Ceiling`], which the [runner](crate::runner) tells from a broken promise.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

/// A file, a process or an object is changed by somebody who looks every second: 3 s.
pub const MOMENT: Duration = Duration::from_secs(30);
/// The API answers after power-on: 6 s.
pub const BACK: Duration = Duration::from_mins(1);
/// A pod is made and runs, or fails: 12 s.
pub const POD: Duration = Duration::from_mins(2);
/// A rollout of one component, the drain of the old instance included: 24 s.
pub const ROLLOUT: Duration = Duration::from_mins(4);
/// The guardian believes that an instance is broken, or reports what it found: 20 to 60 s.
pub const REPORTED: Duration = Duration::from_mins(8);
/// A revision is proven, from its first start: 40 s.
pub const SETTLED: Duration = Duration::from_mins(7);
/// All pods are ready and no copy is left, after a power cut: 45 s, and twice that when copies were needed a short time
/// before, since the guardian takes longer to believe each time.
pub const WHOLE: Duration = Duration::from_mins(12);

/// A wait that hit its ceiling.
#[derive(Debug)]
pub struct Ceiling {
    what: String,
    limit: Duration,
    last: String,
}

impl Ceiling {
    /// What was waited for, for how long, and how it stood at the end.
    pub fn new(what: &str, limit: Duration, last: impl fmt::Display) -> Self {
        Self { what: what.to_owned(), limit, last: last.to_string() }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not within {} s: {}", self.what, self.limit.as_secs(), self.last)
    }
}

impl std::error::Error for Ceiling {}

/// Waits until `check` succeeds.
///
/// # Errors
/// A [`Ceiling`] with what `check` said last when `limit` has passed.
pub fn eventually<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(Ceiling::new(what, limit, format_args!("{error:#}")).into());
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Whether an error says no more than that something took too long: a ceiling was hit, or a program was ended because it
/// did not end by itself.
pub fn was_hit(error: &anyhow::Error) -> bool {
    use host::command::CommandError;
    error.chain().any(|cause| {
        cause.is::<Ceiling>()
            || matches!(cause.downcast_ref::<CommandError>(), Some(CommandError::TimedOut { .. }))
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_wait_that_is_over_is_told_from_a_promise_that_is_broken() {
        let waited = eventually("a pod", Duration::ZERO, || Err::<(), _>(anyhow!("none")));
        let waited = waited.context("the case").unwrap_err();
        assert!(was_hit(&waited), "{waited:#}");
        assert_eq!(format!("{waited:#}"), "the case: a pod: not within 0 s: none");
        assert!(!was_hit(&anyhow!("a request failed").context("a pod: not within 0 s")));
        let slow = host::command::Command::new("sleep").arg("9").timeout(Duration::from_millis(1)).run();
        assert!(was_hit(&slow.context("sleep").unwrap_err()));
    }
}
