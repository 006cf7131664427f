//! The guardian of a control-plane node: keeps checkpoints of its control plane on its disk, and starts them when
//! nobody else serves.
//!
//! ```text
//!  DaemonSet ──install──▶ static pod file, keys ──kubelet──▶ run ◀──▶ machine (decides)
//!                                                                    │
//!                                checkpoints, static pods, traffic ◀─┘──▶ Events, report
//! ```
//!
//! [`machine`] decides, for one component: pure, no clock, no I/O. [`run()`] is the process round it.
//! [`install()`] puts that process on a node and keeps it there. `keys` are the control plane's on the node's disk,
//! `joining` is who may become a node, `kubelets` under which names they serve.

pub mod install;
mod joining;
mod keys;
mod kubelet;
mod kubelets;
pub mod machine;
mod report;
mod requests;
pub mod run;

pub use install::{InstallError, InstallOptions, install};
pub use keys::{Keys, KeysError};
pub use run::{Options, RunError, StandIn, StandInError, run, stand_in};
