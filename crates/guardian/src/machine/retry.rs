//! Pauses after failed actions.

use std::collections::BTreeMap;

use super::{ActionKind, Limits};

/// The actions that failed last time.
#[derive(Debug, Clone, Default)]
pub(super) struct Retries(BTreeMap<ActionKind, Retry>);

#[derive(Debug, Clone, Copy)]
struct Retry {
    failures: u32,
    not_before: u64,
}

impl Retries {
    /// True when this is the first failure in a row.
    pub(super) fn failed(&mut self, kind: ActionKind, now: u64, limits: &Limits) -> bool {
        let retry = self.0.entry(kind).or_insert(Retry { failures: 0, not_before: 0 });
        let pause = limits.retry_ms.saturating_mul(1 << retry.failures.min(16));
        retry.failures += 1;
        retry.not_before = now + pause.min(limits.retry_max_ms);
        retry.failures == 1
    }

    /// True when it had failed before.
    pub(super) fn succeeded(&mut self, kind: ActionKind) -> bool {
        self.0.remove(&kind).is_some()
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self, kind: ActionKind) -> usize {
        self.0.get(&kind).map_or(0, |retry| retry.failures as usize)
    }

    /// When it may be asked for again; 0: at once.
    pub(super) fn not_before(&self, kind: ActionKind) -> u64 {
        self.0.get(&kind).map_or(0, |retry| retry.not_before)
    }
}
