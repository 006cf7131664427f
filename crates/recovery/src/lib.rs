//! What a control-plane node's etcd has is kept as a snapshot, and it gets back what a snapshot has.
//!
//! ```text
//! etcd.yaml ─▶ member ─┬───────────────▶ back_up
//! snapshot ─▶ whole? ──┼─▶ look ─▶ plan ─▶ execute: all ends, unpacked beside the data, put in its place
//!          ─▶ whose? ──┘             └─ printed by --dry-run
//! ```
//!
//! For an etcd of one member: of several, the others know better than a snapshot does. What is in the place of the data
//! is kept. A run that was killed is run again, and unpacks anew.

mod authority;
mod backup;
mod error;
mod execute;
mod look;
mod plan;
#[cfg(test)]
mod tests;
mod tools;

pub use backup::back_up;
pub use error::RecoveryError;
pub use execute::{Done, execute};
pub use look::{Found, Member, look};
pub use plan::{Plan, Step, plan};
