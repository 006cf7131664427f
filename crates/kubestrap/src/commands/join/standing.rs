//! What this host is already, by its disk.

use anyhow::anyhow;
use assets::CONFIG_FILE;
use jiff::Timestamp;
use names::path;
use node::{Root, identity, kubelet_certificate};
use pki::KeyPin;

use crate::exit::{Exit, Failure};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing of a cluster is here.
    Bare,
    /// A join was begun that has not come to the kubelet's certificate.
    Begun,
    /// It is a node of the cluster: its kubelet has a certificate of this CA.
    Member {
        /// The CA, PEM.
        ca: String,
        /// The URL under which its kubelet reaches the API.
        server: String,
    },
}

impl Standing {
    /// Whether it is a node of the cluster.
    pub(super) fn is_member(&self) -> bool {
        matches!(self, Self::Member { .. })
    }

    /// Looks at the disk of whoever shall be the node of that name, in the cluster whose CA has one of these pins.
    ///
    /// # Errors
    /// [`Exit::Conflict`] where this host is a node that cannot become that one.
    pub(super) fn look(root: &Root, node: &str, pins: &[KeyPin]) -> Result<Self, Failure> {
        let Ok(ca) = host::fs::read_to_string(&root.path(path::CA_CERTIFICATE)) else {
            return Ok(Self::Bare);
        };
        let found = pki::pins(&ca).unwrap_or_default();
        let name = identity::installed(root).map(|name| format!(" {name}")).unwrap_or_default();
        if !found.iter().any(|pin| pins.contains(pin)) {
            let server = server(root, &[path::KUBELET_KUBECONFIG, path::KUBELET_BOOTSTRAP_KUBECONFIG])
                .map(|server| format!(", whose API is at {server}"))
                .unwrap_or_default();
            let error =
                anyhow!("this host is a node{name} of another cluster already{server}; nothing was changed");
            return Err(Failure::new(Exit::Conflict, error)
                .hint("take it out of that cluster first: kubestrap reset, or kubeadm reset"));
        }
        if is_control_plane(root) {
            let error = anyhow!(
                "this host is the control-plane node{name} of this very cluster, and no worker; nothing was changed"
            );
            return Err(Failure::new(Exit::Conflict, error)
                .hint("run the command on the machine that shall be a worker"));
        }
        match server(root, &[path::KUBELET_KUBECONFIG]) {
            Some(server) if kubelet_certificate::is_there(root, &ca, node, Timestamp::now()) => {
                Ok(Self::Member { ca, server })
            }
            _ => Ok(Self::Begun),
        }
    }
}

/// Whether keys of a control plane are on the disk, or who brings them.
fn is_control_plane(root: &Root) -> bool {
    root.path(path::CONTROL_PLANE).join(CONFIG_FILE).exists()
        || root.path(path::STATIC_PODS).join(path::GUARDIAN_FILE).exists()
}

/// Where the kubelet has its API, by the first of these files that says it.
fn server(root: &Root, files: &[&str]) -> Option<String> {
    let mut texts = files.iter().filter_map(|file| host::fs::read_to_string(&root.path(file)).ok());
    texts.find_map(|text| api::server_url(&text).ok())
}
