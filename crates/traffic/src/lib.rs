//! Who listens on the API's port of this node, whose pod each listener is, whether that very
//! instance is Ready, and who gets new connections.
//!
//! ```text
//!  kernel's table ─▶ listeners ─▶ whose pod (container runtime) ─▶ probe of each ─▶ View
//!                                                                     │
//!                        caller's ranking of each ─▶ steer::policy ─▶ kernel
//! ```
//!
//! [`Port`] does one round of it; [`Traffic`] is a task that does one each 100 ms or so. What an
//! instance is worth is the caller's to say: `start` knows a temporary apiserver and a self-hosted
//! one, the guardian knows copies and revisions.
//!
//! Where the kernel does not let us steer, the shared port stays as it is, and [`View::unsteered`]
//! says why.

mod owner;
mod port;
mod probe;
mod rehearsal;
mod task;

pub use owner::Owner;
pub use port::{Port, Seen, View};
pub use probe::probe;
pub use steer::{Instance, Listener, ListenerId, OwnCalls, State, SteerError};
pub use task::{Control, Mode, PERIOD, Traffic};
