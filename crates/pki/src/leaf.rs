//! What the cluster's certificates say: subject, names and use, as kubeadm has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cluster::{ClusterConfig, SubjectName};
use names::{component, user};

use crate::NodeIdentity;

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To authenticate a client.
    Client,
    /// To authenticate a server.
    Server,
    /// Both: etcd's members are each other's clients and servers.
    ServerAndClient,
}

/// A certificate to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Subject CN: the user name when the API sees it.
    pub common_name: String,
    /// Subject O: the user's group when the API sees it.
    pub organization: Option<&'static str>,
    /// Names and addresses that a server's certificate is valid for.
    pub names: Vec<SubjectName>,
    /// What it may be used for.
    pub usage: Usage,
}

impl Leaf {
    /// A client's certificate.
    pub fn client(common_name: impl Into<String>, organization: Option<&'static str>) -> Self {
        Self { common_name: common_name.into(), organization, names: Vec::new(), usage: Usage::Client }
    }

    /// kube-apiserver's serving certificate, with every name of
    /// [`ClusterConfig::api_server_names`] for that node.
    pub fn apiserver(config: &ClusterConfig, node: &NodeIdentity) -> Self {
        Self::apiserver_named(config.api_server_names(&node.subject_names()))
    }

    /// The same with these names.
    pub fn apiserver_named(names: Vec<SubjectName>) -> Self {
        Self {
            common_name: component::KUBE_APISERVER.to_owned(),
            organization: None,
            names,
            usage: Usage::Server,
        }
    }

    /// What the apiserver shows to kubelets (logs, exec, port-forward). Of no group: RBAC gives it the kubelets' API and
    /// nothing else.
    pub fn apiserver_kubelet_client() -> Self {
        Self::client(user::KUBE_APISERVER_KUBELET_CLIENT, None)
    }

    /// What the apiserver shows to etcd.
    pub fn apiserver_etcd_client() -> Self {
        Self::client("kube-apiserver-etcd-client", None)
    }

    /// What the apiserver shows to aggregated API servers.
    pub fn front_proxy_client() -> Self {
        Self::client("front-proxy-client", None)
    }

    /// kube-controller-manager's identity.
    pub fn controller_manager() -> Self {
        Self::client(user::KUBE_CONTROLLER_MANAGER, None)
    }

    /// kube-scheduler's identity.
    pub fn scheduler() -> Self {
        Self::client(user::KUBE_SCHEDULER, None)
    }

    /// The identity of a node's guardian; what it may do is in RBAC and admission policies alone.
    pub fn guardian(node_name: &str) -> Self {
        Self::client(format!("{}{node_name}", user::GUARDIAN_PREFIX), Some(user::GUARDIANS))
    }

    /// The administrator, by way of RBAC.
    pub fn admin() -> Self {
        Self::client("kubernetes-admin", Some(user::CLUSTER_ADMINS))
    }

    /// The administrator who needs no RBAC: for `start`, and when RBAC is broken.
    pub fn super_admin() -> Self {
        Self::client("kubernetes-super-admin", Some(user::MASTERS))
    }

    /// A kubelet's identity as a client of the API.
    pub fn kubelet(node_name: &str) -> Self {
        Self::client(format!("{}{node_name}", user::NODE_PREFIX), Some(user::NODES))
    }

    /// What a kubelet shows to whoever asks it for logs.
    pub fn kubelet_serving(node_name: &str, names: Vec<SubjectName>) -> Self {
        Self { names, usage: Usage::Server, ..Self::kubelet(node_name) }
    }

    /// An etcd member's certificate for its clients.
    pub fn etcd_server(node: &NodeIdentity) -> Self {
        Self::etcd_member(node)
    }

    /// An etcd member's certificate for other members.
    pub fn etcd_peer(node: &NodeIdentity) -> Self {
        Self::etcd_member(node)
    }

    /// What probes and operators show to etcd.
    pub fn etcd_healthcheck_client() -> Self {
        Self::client("kube-etcd-healthcheck-client", None)
    }

    fn etcd_member(node: &NodeIdentity) -> Self {
        let mut names = vec![
            SubjectName::Dns("localhost".to_owned()),
            SubjectName::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SubjectName::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ];
        names.extend(
            node.subject_names().into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>(),
        );
        Self::etcd_named(&node.name, names)
    }

    /// An etcd member's with these names.
    pub fn etcd_named(member: &str, names: Vec<SubjectName>) -> Self {
        Self { common_name: member.to_owned(), organization: None, names, usage: Usage::ServerAndClient }
    }
}
