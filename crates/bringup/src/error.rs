//! Why a bring-up did not come to its end. The temporary control plane stays up then.

use std::path::PathBuf;
use std::time::Duration;

/// A failed bring-up: which step, what was waited for, and what is known about the cause.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The asset directory cannot be used.
    #[error("cannot use the asset directory {}: {why}", dir.display())]
    Assets {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// This host is a node of another cluster than the directory's: its keys and its etcd's manifest would be written over.
    #[error("the asset directory {} is another cluster's than the one that this host is a node of: its tls/ca.crt is not {place}", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Where the node has its cluster's CA.
        place: String,
    },
    /// A file could not be put in place.
    #[error(transparent)]
    Fs(#[from] host::fs::FsError),
    /// The container runtime does not answer.
    #[error("the container runtime does not answer")]
    Runtime(#[from] cri::CriError),
    /// The kubelet runs the static pods of an earlier start and cannot be restarted.
    #[error("the kubelet keeps static pods whose files have changed, until it is restarted; it could not be")]
    Kubelet(#[source] host::command::CommandError),
    /// The API has no Node of this host, and its kubelet cannot be started again to register.
    #[error(
        "the API has no Node of this host, whose kubelet registers only when it starts; it could not be restarted"
    )]
    Restart(#[source] host::command::CommandError),
    /// An API call failed that nothing can go on without.
    #[error("the API refused a request")]
    Api(#[from] api::ApiError),
    /// The API could not be talked to at all.
    #[error("cannot make a client for the API")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// etcd has no data, or another member's: whatever started on it would not be this cluster.
    #[error("{problem}")]
    Data {
        /// What lies where, and what should.
        problem: String,
    },
    /// An admission plugin has every pod pull its images, and some cannot be pulled: what was brought up could not be
    /// made again.
    #[error(
        "AlwaysPullImages among the apiserver's admission plugins has every pod pull its images, and no registry gives {}",
        images.iter().map(|(image, why)| format!("{image}: {why}")).collect::<Vec<_>>().join("\n  ")
    )]
    Unpullable {
        /// The images, each with the reason.
        images: Vec<(String, String)>,
    },
    /// The node's member of etcd has others, who know it by an address that it has no more.
    #[error(
        "etcd has {} members, and the others know this node's by {}: {}",
        members.len(), was.join(", "), members.join(", ")
    )]
    Members {
        /// The names of all members.
        members: Vec<String>,
        /// The URLs by which they know it.
        was: Vec<String>,
    },
    /// A component did not become ready.
    #[error("{what} was not ready within {} s\n{diagnosis}", after.as_secs())]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// What is known about the cause: states, exit codes, last log lines.
        diagnosis: String,
    },
    /// A component crashes again and again: waiting longer is of no use.
    #[error("{what} keeps crashing\n{diagnosis}")]
    Crashing {
        /// What crashes.
        what: String,
        /// What is known about the cause: states, exit codes, last log lines.
        diagnosis: String,
    },
    /// The API server on the port is not the one of this asset directory.
    #[error("the API server on port {port} of this host is not the one of this asset directory: {why}")]
    Untrusted {
        /// The port.
        port: u16,
        /// What its certificate lacks.
        why: String,
    },
    /// The API refused some of the objects; all others are applied.
    #[error(
        "some objects were not applied; all others are in the cluster\n{report}{}",
        in_the_way.iter().fold(String::new(), |text, cause| text + "\n" + cause)
    )]
    Rejected {
        /// What became of each object.
        report: Box<apply::Report>,
        /// What the API has that may be why, a line each.
        in_the_way: Vec<String>,
    },
    /// Something of the temporary control plane is still there.
    #[error("the temporary control plane is not gone after {} s: {left}", after.as_secs())]
    LeftOver {
        /// What is left.
        left: String,
        /// How long its end was waited for.
        after: Duration,
    },
}
