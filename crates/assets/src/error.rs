//! Why a config cannot be rendered.

use pki::PkiError;

use crate::template::TemplateError;
use crate::tree::TreeError;

/// A config that cannot be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The node has no address: certificates and etcd need one.
    #[error("no address is known for the node {node:?}")]
    NoAddress {
        /// The node's name.
        node: String,
    },
    /// No address of the node is of the family that Services have first.
    #[error("the node {node:?} has no {family} address, and network.serviceCIDRs begins with {family}")]
    NoAddressOfFamily {
        /// The node's name.
        node: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// etcd is external, and the files for it were not given.
    #[error("etcd is external, and its certificates were not given")]
    NoEtcdFiles,
    /// An authority's key is gone from the asset directory.
    #[error("{path} is missing in the asset directory, and its certificate is there")]
    NoKey {
        /// The key's path in the asset directory.
        path: String,
    },
    /// What a cluster has one of for ever is not among a node's files.
    #[error(
        "{path} of this cluster is gone from this node: another one of its control plane has it, or a backup"
    )]
    Gone {
        /// Its path in an asset directory.
        path: String,
    },
    /// A certificate that is not there cannot be asked for.
    #[error(
        "{path} has to be issued, and the key of {authority} is not on this node: bring it here until it is done"
    )]
    KeyElsewhere {
        /// The certificate's path in an asset directory.
        path: String,
        /// The authority's subject.
        authority: String,
    },
    /// No certificate is called that in requests.
    #[error("no certificate is called {name:?}: requests have the names that the node gave them")]
    UnknownRequest {
        /// What the request's file is called.
        name: String,
    },
    /// A file that is to be kept cannot be used.
    #[error("{path} in the asset directory cannot be used")]
    Kept {
        /// The file's path in the asset directory.
        path: String,
        /// Why.
        source: PkiError,
    },
    /// A credential could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The asset directory cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The config could not be written out, or read again.
    #[error("the config cannot be used: {message}")]
    Config {
        /// What the YAML library said.
        message: String,
    },
    /// A fault in kubestrap itself.
    #[error(transparent)]
    Template(#[from] TemplateError),
}
