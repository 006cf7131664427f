//! A host becomes a Kubernetes node: containerd and a kubelet from a bundle, configured for what
//! the host can do, run by its init system.
//!
//! ```text
//!            facts::detect          preflight::host
//!                  |                       |
//! NodeConfig --> desired --+               v  all problems at once
//! Bundle ----------^       +--> plan --> execute --> containerd and kubelet run
//!                  observe +      |
//!                                 +--> printed by --dry-run
//!
//!            note --> record --> plan::uninstall --> reset --> the host as it was
//!                      Remains --------^
//! ```
//!
//! What is to be is a pure value ([`desired::Desired`]), what is there is read from files and
//! processes ([`observe::Observed`]), and the difference is a list of actions ([`plan::Plan`]).
//! Nothing says how far an install has come, so one that was killed goes on where it stopped
//! and one that is complete has an empty plan. What it found and changed is noted before ([`record::Record`]):
//! an uninstall goes by that, and takes nothing else.
//!
//! Files are written below a [`Root`], which is `/` but for tests; what runs there is asked and told through its
//! [`Machine`] only.

mod compare;
mod content;
mod root;

pub mod config;
pub mod containerd;
pub mod desired;
pub mod drop_ins;
pub mod execute;
pub mod facts;
pub mod identity;
pub mod image_file;
pub mod images;
pub mod kernel;
pub mod kubelet;
pub mod kubelet_certificate;
pub mod kubelet_state;
pub mod machine;
pub mod nft;
pub mod note;
pub mod observe;
pub mod plan;
pub mod preflight;
pub mod programs;
pub mod provision;
pub mod record;
pub mod registration;
pub mod reset;
pub mod units;

pub use config::{NodeConfig, NodeCredentials};
pub use content::{Content, sha256_hex};
pub use execute::InstallError;
pub use facts::Facts;
pub use machine::Machine;
pub use registration::Registration;
pub use root::Root;

/// Where the kubelet answers `/healthz` (its own default).
pub const KUBELET_HEALTHZ: std::net::SocketAddr = std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    names::port::KUBELET_HEALTHZ,
);
