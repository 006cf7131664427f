//! Why connections cannot be steered.

use std::io;
use std::net::SocketAddr;

use crate::bpf::SLOTS;
use crate::listener::ListError;

/// Why connections cannot be steered. The plain shared port still serves.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// A capability is missing.
    #[error("not permitted {what}")]
    NotPermitted {
        /// What is, and which capability it takes.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel or the kind of listener cannot do it.
    #[error("connections cannot be steered here: {why}")]
    NotSupported {
        /// What is in the way, and what to do where something can be done.
        why: &'static str,
    },
    /// Nobody listens, or all that were named have gone.
    #[error("nothing listens on port {port}")]
    NoListener {
        /// The port.
        port: u16,
    },
    /// Somebody listens, but `/proc` does not show who.
    #[error("/proc does not show who listens on port {port} (CAP_SYS_PTRACE, and in a pod hostPID)")]
    OwnerHidden {
        /// The port.
        port: u16,
    },
    /// The listener was not bound with SO_REUSEPORT.
    #[error("the listener on {address} does not share its port (kube-apiserver --permit-port-sharing)")]
    NotShared {
        /// Where it listens.
        address: SocketAddr,
    },
    /// Listeners on two addresses are two groups for the kernel, and one program steers one group.
    #[error("the listeners are on different addresses, {one} and {other}")]
    DifferentAddresses {
        /// One address.
        one: SocketAddr,
        /// Another one.
        other: SocketAddr,
    },
    /// More listeners than [`SLOTS`].
    #[error("more than {SLOTS} listeners")]
    TooMany,
    /// The BPF program did not pass the kernel's verifier.
    #[error("the kernel's verifier refused the program: {log}")]
    Verifier {
        /// What the verifier says.
        log: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The kernel's table of sockets could not be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// Any other answer of the kernel.
    #[error("{what} failed")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}
