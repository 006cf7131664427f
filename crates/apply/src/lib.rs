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
//! not there yet) is tried again. Nothing is read from disk but a kubeconfig.

mod classify;
mod client;
mod discovery;
mod engine;
mod error;
mod event;
mod lease;
mod node;
mod object;
mod plan;
mod readyz;
mod removed;
mod report;
mod request;

pub use client::{ClientError, ClientOptions, Connection, client_from_kubeconfig};
pub use engine::{Options, apply};
pub use error::ApiError;
pub use event::{ApplyEvent, Waiting};
pub use lease::{HeldLease, held_lease, release_dead_lease};
pub use node::label_node;
pub use object::{Object, ObjectRef};
pub use plan::{Plan, Rank, Step, plan};
pub use readyz::{ReadyzFailure, readyz};
pub use report::{Action, Outcome, Rejection, Report};
pub use request::Call;
