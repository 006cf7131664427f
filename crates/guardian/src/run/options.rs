//! What the guardian of a node is told when it begins.

use std::path::PathBuf;

use node::facts::Addresses;
use node::{Root, identity};
use pki::NodeIdentity;

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
    /// Looks at the host's addresses: they may change while it runs.
    pub addresses: fn() -> Addresses,
    /// The control plane's keys on this node.
    pub keys: Keys,
}

impl Options {
    /// Who this node is, by the addresses that its host has now. A host that has none yet has not lost any.
    pub(crate) fn identity(&self) -> NodeIdentity {
        let root = Root::below(&self.host_root);
        let mut addresses = identity::addresses(&root, &(self.addresses)());
        if addresses.is_empty() {
            addresses = identity::installed_addresses(&root);
        }
        NodeIdentity { name: self.node_name.clone(), addresses }
    }
}
