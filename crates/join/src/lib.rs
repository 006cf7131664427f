//! A node of others' making finds its cluster: what a host asks the API before it is a node of it, and while it becomes one.
//!
//! ```text
//! endpoint, token, pins ──discover──▶ Trusted: the CA and where the API is, proven
//!                                        │ a client with the token
//!          ┌─────────────────────────────┤
//!   told: what a worker is made of     name: is it free     registered: is the node there, Ready, or refused
//! ```
//!
//! All of it is kubeadm's: `cluster-info`, its signature, the pin, the rights of a bootstrap token. What is asked before
//! anybody can be trusted goes through [`Way`], and so do the clients.

mod discovery;
mod error;
mod name;
mod registered;
pub mod requests;
mod told;
mod way;

pub use discovery::{CLOCKS_MAY_DIFFER, Invitation, Trusted, address_and_pins, cluster_info_path, discover};
pub use error::{JoinError, clocks_differ};
pub use name::name_is_free;
pub use registered::{Watched, registered};
pub use told::{api_version, node_config};
pub use way::{Later, Network, Way, WayError, Whom};
