//! The authorities of a cluster: those that are given, and new ones for the others.

use cluster::{ClusterConfig, EtcdConfig};
use jiff::Timestamp;

use crate::{Authority, PkiError, Terms};

/// Authorities that are there already, given by the operator or from an earlier render.
#[derive(Debug, Default)]
pub struct GivenAuthorities {
    /// The cluster's.
    pub cluster: Option<Authority>,
    /// The aggregation layer's.
    pub front_proxy: Option<Authority>,
    /// etcd's.
    pub etcd: Option<Authority>,
}

/// The authorities of a cluster.
#[derive(Debug)]
pub struct Authorities {
    /// Signs the API's serving certificate and every user's certificate.
    pub cluster: Authority,
    /// Signs what the apiserver shows to aggregated API servers.
    pub front_proxy: Authority,
    /// Signs etcd's certificates; `None` with external etcd.
    pub etcd: Option<Authority>,
}

impl Authorities {
    /// Takes the given authorities and makes those that are missing.
    ///
    /// # Errors
    /// When the operating system gives no randomness, or dates cannot stand in a certificate.
    pub fn complete(
        given: GivenAuthorities,
        config: &ClusterConfig,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let terms = Terms {
            algorithm: config.certificates.key_algorithm,
            validity: config.certificates.ca_validity.as_duration(),
            now,
        };
        let or_new = |given: Option<Authority>, name| match given {
            Some(authority) => Ok(authority),
            None => Authority::generate(name, terms),
        };
        let etcd = match config.etcd {
            EtcdConfig::Local(_) => Some(or_new(given.etcd, "etcd-ca")?),
            EtcdConfig::External(_) => None,
        };
        Ok(Self {
            cluster: or_new(given.cluster, config.cluster_name.as_str())?,
            front_proxy: or_new(given.front_proxy, "front-proxy-ca")?,
            etcd,
        })
    }
}
