//! The control plane's certificates and keys on this node's disk: renewed before they end, fetched by a node that has just
//! become one of the control plane's, handed to such a node by one that has them, and removed from one that is none any
//! more. Which files there are is in [`assets::for_node`]'s table.
//!
//! ```text
//! ask     a node with the label and without keys: request ─▶ answer ─▶ files
//! answer  a node with keys: request ─▶ who asks, with which label? ─▶ sealed for that node
//! renew   files ─▶ what ends soon or names other addresses ─▶ files
//! kubelet its certificate, once it has ended ─▶ another one, and a kubelet that begins again
//! ```

mod answer;
mod ask;
mod disk;
mod kubelet;
mod renew;

pub(crate) use answer::{AnswerError, answer};
pub(crate) use ask::{AskError, Asking, ask};
pub use disk::{Keys, KeysError};
pub(crate) use renew::{once as renew_once, renew};

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
