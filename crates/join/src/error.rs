//! Why a host does not become a node.

use api::{ApiError, ClientError};
use cluster::{ConfigErrors, Endpoint};
use jiff::Timestamp;
use pki::{KeyPin, PkiError};

use crate::way::WayError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// What was given leads every host to itself.
    #[error("{endpoint} is every host's own address: no other node can be reached there")]
    Loopback {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// Nobody answers.
    #[error("nobody answers as an API server at {endpoint}")]
    Unreachable {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        source: Box<WayError>,
    },
    /// Somebody answers, and does not tell who does not say who he is which cluster it is.
    #[error("{endpoint} shows no ConfigMap kube-public/cluster-info to who joins: it answers {status}")]
    NotShown {
        /// The endpoint.
        endpoint: Endpoint,
        /// The HTTP status.
        status: u16,
    },
    /// What it shows is not what it has to be.
    #[error("{endpoint} shows a ConfigMap kube-public/cluster-info that cannot be used: {why}")]
    Malformed {
        /// The endpoint.
        endpoint: Endpoint,
        /// What is wrong with it.
        why: String,
    },
    /// The cluster there has another CA.
    #[error("the cluster at {endpoint} has the CA {}, and not {}", list(found), list(wanted))]
    OtherAuthority {
        /// The endpoint.
        endpoint: Endpoint,
        /// Those of the cluster.
        found: Vec<KeyPin>,
        /// Those that were given.
        wanted: Vec<KeyPin>,
    },
    /// Whoever answers has no certificate of the CA.
    #[error("whoever answers at {endpoint} cannot prove to be the API server of the cluster that it shows")]
    Impostor {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        source: Box<WayError>,
    },
    /// It is the cluster's, but not under this name.
    #[error("the API server's certificate is not valid for {}", endpoint.host())]
    OtherName {
        /// The endpoint.
        endpoint: Endpoint,
        /// What it is valid for.
        source: Box<WayError>,
    },
    /// By this host's clock the certificate is not valid.
    #[error("this host's clock shows {here} and the API server's {there}: they differ by {}", clocks_differ(*here, *there))]
    Clocks {
        /// Now, by this host.
        here: Timestamp,
        /// Now, by whoever answered, who could not be verified for that reason.
        there: Timestamp,
    },
    /// The certificate is not valid now, and both clocks say so.
    #[error("the certificate of the API server at {endpoint} is not valid now")]
    CertificateEnded {
        /// The endpoint.
        endpoint: Endpoint,
        /// From when to when it is.
        source: Box<WayError>,
    },
    /// Somebody changed the first answer on its way.
    #[error("{endpoint} shows one thing to everybody and another to who trusts the cluster's CA")]
    Tampered {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The cluster has no such token.
    #[error("the cluster knows no token {id}: it was never made there, was taken back, or has expired")]
    UnknownToken {
        /// The token's public part.
        id: String,
    },
    /// It has one of that id.
    #[error("the cluster has a token {id} with another secret part than this one")]
    WrongToken {
        /// The token's public part.
        id: String,
    },
    /// The cluster does not tell what its workers are made of.
    #[error(
        "the cluster has no ConfigMap kube-system/{} for whoever joins, which says what its workers are made of",
        names::object::NODE_CONFIG
    )]
    NoNodeConfig,
    /// What it tells cannot be read by this kubestrap.
    #[error("the ConfigMap kube-system/{} cannot be used", names::object::NODE_CONFIG)]
    NodeConfig(#[source] ConfigErrors),
    /// Another node has the name.
    #[error("{}", taken(node, *alive, addresses))]
    NameTaken {
        /// The name.
        node: String,
        /// Whether it is Ready.
        alive: bool,
        /// Where it is.
        addresses: Vec<String>,
    },
    /// Nobody has it, but somebody may still show that it is his.
    #[error("a certificate for a node {node} was issued to {}, and is valid yet", requests.join(", "))]
    NameIssued {
        /// The name.
        node: String,
        /// The CertificateSigningRequests.
        requests: Vec<String>,
    },
    /// The cluster does not want this node.
    #[error("the cluster refuses this node a certificate: {why}")]
    Refused {
        /// What whoever decided said.
        why: String,
    },
    /// The node does not come up in time.
    #[error("node {node} is not Ready within {seconds} s: {lacks}")]
    NotReady {
        /// The name.
        node: String,
        /// How long was waited.
        seconds: u64,
        /// What is missing.
        lacks: String,
    },
    /// The API did not do as it was asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something cannot be written as a credential.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

fn list(pins: &[KeyPin]) -> String {
    pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How much two clocks differ, for people.
pub fn clocks_differ(here: Timestamp, there: Timestamp) -> String {
    host::words::duration(here.duration_since(there).unsigned_abs())
}

fn taken(node: &str, alive: bool, addresses: &[String]) -> String {
    let at = if addresses.is_empty() { String::new() } else { format!(" at {}", addresses.join(", ")) };
    if alive {
        format!("the cluster has a living node {node}{at}, which is another host")
    } else {
        format!("the cluster has a node {node}{at} already, which is not Ready")
    }
}
