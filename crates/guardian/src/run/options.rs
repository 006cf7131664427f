//! What the guardian of a node is told when it begins.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::keys::Keys;
use crate::machine::Limits;

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
    /// The control plane's keys on this node.
    pub keys: Keys,
}
