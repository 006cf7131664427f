//! What a cluster is to be: its configuration as the operator wrote it, checked, with defaults.
//!
//! In: the text of `kubestrap.yaml` and `--set key.path=value` overrides. Out: a [`ClusterConfig`]
//! that every other crate can rely on, or all problems at once, each with line, column and key.
//! Pure: no files, no clock, no network.
//!
//! ```text
//! text ──yaml──► tree with positions ──overrides──► decode ──► validate ──► ClusterConfig
//!                                                     └────────┴──► ConfigErrors
//! ```

mod config;
mod decode;
mod defaults;
mod derived;
mod differences;
mod error;
mod foreign;
mod images;
mod of_nodes;
mod parse;
mod reference;
mod special;
mod tree;
mod types;
mod validate;
pub mod yaml;

pub use config::{
    ApiConfig, AuditConfig, AuditLevel, AuthenticationConfig, AuthorityKeys, CertificatesConfig,
    ClusterConfig, ComponentConfig, ComponentsConfig, ControlPlaneConfig, EncryptionConfig, EtcdConfig,
    ExternalEtcd, FlannelBackend, FlannelConfig, GivenCa, ImagesConfig, KeyAlgorithm, LocalEtcd,
    NetworkConfig, NetworkProvider, NodeCidrMasks, PodSecurityConfig, PodSecurityLevel, ProxyConfig,
    ProxyMode,
};
pub use differences::{Difference, differences};
pub use error::{ConfigError, ConfigErrors};
pub use images::{Component, Images};
pub use reference::{DEFAULT_FILE, KeyReference, json_schema, keys, markdown};
pub use tree::Place;
pub use types::{
    BootstrapToken, Cidr, ClusterName, DomainName, Endpoint, EtcdUrl, FlagValues, Host, ImageDigest,
    ImageReference, ImageRepository, KubernetesVersion, ParseError, SubjectName, Validity,
};
