//! The API as the rest of kubestrap asks it: the one place that knows HTTP, TLS and Kubernetes' answers.
//!
//! ```text
//! kubeconfig ─▶ Connection ─▶ Client ─┬─ Call        one request, with a limit, and what came of it
//!                                     ├─ Patient     the same again, where a moment mends it
//!                                     ├─ Discovery   which path an object has
//!                                     ├─ follow      a list that is kept up to date
//!                                     ├─ readyz      is it ready, and which check fails
//!                                     └─ lease, pod, node
//! ```
//!
//! Objects are JSON; `objects` reads them. A path is a string: what is asked for by name is written out where
//! it is asked for, and what is known by kind only goes through [`Discovery`].

mod call;
mod connection;
mod discovery;
mod error;
mod lease;
mod node;
mod patient;
mod pod;
mod readyz;
mod retry;
mod watch;

pub use call::Call;
pub use connection::{
    ClientError, ClientOptions, Connection, client_from_kubeconfig, server_host, server_url,
};
pub use discovery::Discovery;
pub use error::ApiError;
pub use kube::Client;
pub use lease::{HeldLease, held_lease, release_dead_lease};
pub use node::label_node;
pub use patient::Patient;
pub use pod::{delete_pod, pods_of_node, set_condition};
pub use readyz::{ReadyzFailure, readyz};
pub use retry::Class;
pub use watch::{Change, follow, list};

/// HTTP: the object was changed, or is another one, by now.
pub const CONFLICT: u16 = 409;

/// The status of a request that whoever makes it has no right to.
pub const FORBIDDEN: u16 = 403;
