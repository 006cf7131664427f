//! How far it is, for a line of progress.

use objects::ObjectRef;
use serde::Serialize;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplyEvent {
    /// How many objects are in.
    pub applied: usize,
    /// How many failed for good.
    pub failed: usize,
    /// How many there are.
    pub total: usize,
    /// What it waits for before it tries again; none while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
}

/// An object that is not in yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Which one: the first of possibly many.
    pub object: ObjectRef,
    /// What came of the last try.
    pub why: String,
}
