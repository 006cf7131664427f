//! Where a task's time goes: each step that takes any, builds included.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What has been done so far. A task is one process, and its steps are all over its code, as log lines are.
static STEPS: Mutex<Vec<(String, Duration)>> = Mutex::new(Vec::new());

/// Does something, and remembers how long it took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let value = work();
    remember(what, began.elapsed());
    value
}

/// Remembers how long something took that somebody else measured. What is done more than once stands once.
pub(crate) fn remember(what: &str, took: Duration) {
    let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
    match steps.iter_mut().find(|(step, _)| step == what) {
        Some((_, all)) => *all += took,
        None => steps.push((what.to_owned(), took)),
    }
}

/// All steps, the slowest first.
pub(crate) fn slowest_first() -> Vec<(String, Duration)> {
    let mut steps = STEPS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    steps.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    steps
}

/// Minutes and seconds, as people say them.
pub(crate) fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_minutes_the_slowest_first() {
        remember("short", Duration::from_secs(9));
        assert_eq!(timed("a value", || 7), 7);
        remember("long", Duration::from_mins(10));
        remember("long", Duration::from_secs(5));
        let steps = slowest_first();
        let at = |name| steps.iter().position(|(step, _)| step == name);
        assert_eq!(steps.iter().find(|(step, _)| step == "long").map(|(_, took)| took.as_secs()), Some(605));
        assert!(at("long") < at("short") && at("short") < at("a value"), "{steps:?}");
        assert_eq!(minutes(Duration::from_secs(605)), "10:05");
    }
}
