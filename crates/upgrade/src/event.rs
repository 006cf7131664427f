//! How far an upgrade is: one event for each thing worth saying.

use serde::Serialize;

/// Something worth saying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event {
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What it does.
        title: String,
    },
    /// What is waited for.
    Waiting {
        /// A clause.
        what: String,
    },
    /// A step is done.
    Done {
        /// What came of it.
        text: String,
    },
    /// A step failed, and what was changed is put back.
    Back {
        /// Why.
        why: String,
    },
    /// A part is as it was.
    PutBack {
        /// Which part.
        what: String,
    },
}
