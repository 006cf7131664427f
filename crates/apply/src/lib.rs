//! Puts many objects into a cluster by server-side apply, and says of each what became of it.
//!
//! ```text
//!  Vec<Object> ─▶ plan ─▶ Plan: ranks in order, duplicates and nameless objects already refused
//!                          │
//!                        apply    one field manager, HTTP/2 on one connection, 16 at a time
//!                          │
//!     pass 1: namespaces ▶ definitions (until Established) ▶ foundations ▶ workloads ▶ hooks
//!     pass 2: what is left, with fresh discovery … until all are in or the deadline
//!                          ▼
//!                        Report: created, configured, unchanged; or which answer, and a hint
//! ```
//!
//! One object's failure never keeps another from being applied. What a later try cannot mend is
//! reported after the first; what can mend (an API server that restarts, a kind or namespace that is
//! not there yet) is tried again: `api` judges which is which. Nothing is read from disk.

mod classify;
mod engine;
mod event;
mod object;
mod plan;
mod removed;
mod report;

pub use engine::{Options, apply};
pub use event::{ApplyEvent, Waiting};
pub use object::Object;
pub use plan::{Plan, Rank, Step, plan};
pub use report::{Action, Outcome, Rejection, Report};
