//! The guardian of a control-plane node: keeps checkpoints of its control plane on its disk, and starts them when
//! nobody else serves.
//!
//! ```text
//!  DaemonSet ──install──▶ static pod file, credentials ──kubelet──▶ run ◀──▶ machine (decides)
//!                                                                    │
//!                                checkpoints, static pods, traffic ◀─┘──▶ Events, report
//! ```
//!
//! [`machine`] decides, for one component: pure, no clock, no I/O. [`run()`] is the process round it.
//! [`install()`] puts that process on a node and keeps it there.

pub mod install;
pub mod machine;
mod report;
pub mod run;

pub use install::{InstallError, InstallOptions, install};
pub use run::{Options, RunError, StandIn, StandInError, run, stand_in};
