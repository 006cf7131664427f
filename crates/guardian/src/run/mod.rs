//! The guardian of one node, running: looks at the container runtime, the API and the port, has a machine
//! for each component decide, and does what it says.
//!
//! ```text
//!  disk ──┐                                          ┌─▶ generations, static pods
//!  CRI ───┼─ Sight ─▶ instances ─▶ machine::Machine ─┼─▶ who gets connections (traffic)
//!  API ───┤   (one of each component)                ├─▶ leases, readiness gates
//!  probe ─┘                                          └─▶ Events, published report
//! ```
//!
//! One thread. Nothing is polled often: the runtime's events, the API's watches and the ends of processes
//! wake it. At the start of a node the order is disk, runtime, machine, static pod; the API comes after that.
//! Only pods of kube-system are looked at.

mod access;
mod alarm;
mod api;
mod cluster;
mod digests;
mod events;
mod files;
mod guardian;
mod instances;
mod jobs;
mod keeper;
mod leadership;
mod member;
mod memory;
mod options;
mod parents;
mod peers;
mod publish;
mod serving;
mod snapshot;
mod standin;
mod steering;

pub use access::AccessError;
pub use files::DiskError;
pub use guardian::{RunError, run};
pub use options::{HOST_ROOT, Options};

pub use standin::{StandIn, StandInError, stand_in};
