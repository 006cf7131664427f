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
mod memory;
mod parents;
mod peers;
mod publish;
mod serving;
mod snapshot;
mod standin;
mod steering;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::machine::Limits;

pub use access::AccessError;
pub use files::DiskError;
pub use standin::{StandIn, StandInError, stand_in};

/// Where the host's root directory is seen by a process of its pid namespace that may look.
pub const HOST_ROOT: &str = "/proc/1/root";

/// Which node, and where everything is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name.
    pub node_name: String,
    /// Credentials for the API. Read again when they change.
    pub kubeconfig: PathBuf,
    /// Where this node's apiservers listen.
    pub api_port: u16,
    /// How long it waits for what.
    pub limits: Limits,
    /// The kubelet's static pods.
    pub static_pod_dir: PathBuf,
    /// Generations.
    pub checkpoint_dir: PathBuf,
    /// Where the host's root directory is seen.
    pub host_root: PathBuf,
    /// The container runtime's socket, as a path of ours.
    pub runtime_socket: PathBuf,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
}

/// The guardian could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directories of checkpoints or static pods cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The signal handler could not be set.
    #[error("cannot wait for SIGTERM")]
    Signals(#[source] io::Error),
}

/// Guards the node until SIGTERM. What was steered stays so: program and map live in the kernel.
///
/// # Errors
/// [`RunError`] when it cannot begin. Later troubles are logged and tried again.
pub async fn run(options: Options) -> Result<(), RunError> {
    guardian::Guardian::open(options)?.guard().await
}
