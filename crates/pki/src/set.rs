//! All credentials of a cluster's first control-plane node, in one go.

use std::net::IpAddr;

use cluster::{ClusterConfig, EtcdConfig, SubjectName, Validity};
use jiff::Timestamp;

use crate::{Authority, Identity, Leaf, PkiError, SigningKeyPair, Terms};

/// A node as certificates know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The node's name: its host name in lower case.
    pub name: String,
    /// The addresses under which others reach it.
    pub addresses: Vec<IpAddr>,
}

impl NodeIdentity {
    /// Name and addresses, as certificates list them.
    pub fn subject_names(&self) -> Vec<SubjectName> {
        let name = SubjectName::Dns(self.name.clone());
        std::iter::once(name).chain(self.addresses.iter().copied().map(SubjectName::Ip)).collect()
    }
}

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
        let terms = terms(config, config.certificates.ca_validity, now);
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

/// Certificates of a local etcd, and of its clients.
#[derive(Clone, Debug)]
pub struct EtcdCredentials {
    /// For the member's clients.
    pub server: Identity,
    /// For other members.
    pub peer: Identity,
    /// For probes and operators.
    pub healthcheck_client: Identity,
    /// For the apiserver.
    pub apiserver_client: Identity,
}

/// Everything that the control plane of one node needs to prove who it is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The API's serving certificate.
    pub apiserver: Identity,
    /// What the apiserver shows to kubelets.
    pub apiserver_kubelet_client: Identity,
    /// What the apiserver shows to aggregated API servers.
    pub front_proxy_client: Identity,
    /// kube-controller-manager's.
    pub controller_manager: Identity,
    /// kube-scheduler's.
    pub scheduler: Identity,
    /// The guardian's, the same on every control-plane node.
    pub guardian: Identity,
    /// The administrator's.
    pub admin: Identity,
    /// The administrator's who needs no RBAC.
    pub super_admin: Identity,
    /// The node's kubelet's, as a client of the API.
    pub kubelet: Identity,
    /// Signs service-account tokens.
    pub service_account: SigningKeyPair,
    /// etcd's; `None` with external etcd.
    pub etcd: Option<EtcdCredentials>,
}

impl Credentials {
    /// Issues all of them.
    ///
    /// # Errors
    /// When an authority has expired, a name cannot stand in a certificate, or signing fails.
    pub fn issue(
        config: &ClusterConfig,
        authorities: &Authorities,
        node: &NodeIdentity,
        now: Timestamp,
    ) -> Result<Self, PkiError> {
        let terms = terms(config, config.certificates.leaf_validity, now);
        let issue = |leaf| authorities.cluster.issue(&leaf, terms);
        let etcd = |authority: &Authority| {
            Ok(EtcdCredentials {
                server: authority.issue(&Leaf::etcd_server(node), terms)?,
                peer: authority.issue(&Leaf::etcd_peer(node), terms)?,
                healthcheck_client: authority.issue(&Leaf::etcd_healthcheck_client(), terms)?,
                apiserver_client: authority.issue(&Leaf::apiserver_etcd_client(), terms)?,
            })
        };
        Ok(Self {
            apiserver: issue(Leaf::apiserver(config, node))?,
            apiserver_kubelet_client: issue(Leaf::apiserver_kubelet_client())?,
            front_proxy_client: authorities.front_proxy.issue(&Leaf::front_proxy_client(), terms)?,
            controller_manager: issue(Leaf::controller_manager())?,
            scheduler: issue(Leaf::scheduler())?,
            guardian: issue(Leaf::guardian())?,
            admin: issue(Leaf::admin())?,
            super_admin: issue(Leaf::super_admin())?,
            kubelet: issue(Leaf::kubelet(&node.name))?,
            service_account: SigningKeyPair::generate(config.certificates.key_algorithm)?,
            etcd: authorities.etcd.as_ref().map(etcd).transpose()?,
        })
    }
}

fn terms(config: &ClusterConfig, validity: Validity, now: Timestamp) -> Terms {
    Terms { algorithm: config.certificates.key_algorithm, validity: validity.as_duration(), now }
}
