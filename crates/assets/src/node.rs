//! What one control-plane node has of its own: its certificates, its kubelet's credentials, its etcd member.

use std::net::{IpAddr, SocketAddr};

use cluster::{Component, EtcdConfig};
use names::port;
use pki::NodeIdentity;

use crate::credentials;
use crate::error::RenderError;
use crate::flags::Flags;
use crate::input::Base;
use crate::member;
use crate::paths;
use crate::template::{Values, fill};
use crate::tree::AssetTree;

/// A member of the cluster's own etcd, as the others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EtcdPeer {
    /// Its name: the node's.
    pub(crate) name: String,
    /// The address of its node.
    pub(crate) address: IpAddr,
}

impl EtcdPeer {
    /// That of a node; its first address is the one of etcd.
    pub(crate) fn of(node: &NodeIdentity) -> Option<Self> {
        Some(Self { name: node.name.clone(), address: *node.addresses.first()? })
    }

    fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(self.address, port::ETCD_PEER))
    }
}

/// See the module. Other nodes have the same files with other content.
#[derive(Debug)]
pub(crate) struct NodeAssets {
    pub(crate) tree: AssetTree,
}

impl NodeAssets {
    /// Those of `node`. `members` are the other members of etcd when this node's is made; none where it is the
    /// first.
    pub(crate) fn new(
        base: &Base<'_>,
        node: &NodeIdentity,
        members: &[EtcdPeer],
    ) -> Result<Self, RenderError> {
        let mut tree = AssetTree::default();
        credentials::of_node(&mut tree, base, node)?;
        credentials::of_kubelet(&mut tree, base, &node.name)?;
        if let EtcdConfig::Local(local) = &base.config.etcd {
            let own = EtcdPeer::of(node).ok_or_else(|| RenderError::NoAddress { node: node.name.clone() })?;
            tree.public(paths::ETCD, etcd(base, &own, members, &local.data_dir)?);
        }
        Ok(Self { tree })
    }
}

/// etcd's static pod.
fn etcd(
    base: &Base<'_>,
    own: &EtcdPeer,
    members: &[EtcdPeer],
    data_dir: &str,
) -> Result<String, RenderError> {
    const NAME: &str = "etcd";
    let pod = include_str!("../manifests/static/etcd.yaml");
    let mut flags = Flags::parse(include_str!("../manifests/flags/etcd.yaml"));
    flags.extend(&base.config.components.etcd);
    // Its own name is known to the pod.
    let others = members.iter().map(|peer| format!("{}={}", peer.name, peer.url()));
    let all: Vec<String> = std::iter::once(format!("$(NODE_NAME)={}", own.url())).chain(others).collect();
    let mut values = Values::from([
        ("etcd_client_url", format!("https://{}", SocketAddr::new(own.address, port::ETCD_CLIENT))),
        ("etcd_data_dir", data_dir.to_owned()),
        ("etcd_image", base.config.images().get(Component::Etcd).to_owned()),
        ("etcd_initial_cluster", all.join(",")),
        ("etcd_peer_url", own.url()),
        ("uid", String::new()),
    ]);
    values.insert("flags", fill(NAME, &flags.to_yaml(), &values)?);
    let manifest = fill(NAME, pod, &values)?;
    Ok(member::stamped(&manifest).unwrap_or(manifest))
}

#[cfg(test)]
mod tests {
    use cluster::ClusterConfig;
    use pki::{Authorities, GivenAuthorities};

    use super::*;

    #[test]
    fn each_node_has_certificates_and_a_member_of_its_own() {
        let config = ClusterConfig::default();
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let authorities = Authorities::complete(GivenAuthorities::default(), &config, now).unwrap();
        let old = AssetTree::default();
        let api_address = "192.0.2.1".parse().unwrap();
        let base = Base { config: &config, authorities: &authorities, old: &old, api_address, now };
        let node = |name: &str, address: &str| NodeIdentity {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
        };
        let (a, b) = (node("a", "192.0.2.1"), node("b", "192.0.2.2"));
        let second = NodeAssets::new(&base, &b, &[EtcdPeer::of(&a).unwrap()]).unwrap();
        let first = NodeAssets::new(&base, &a, &[]).unwrap();
        let flag = |assets: &NodeAssets| {
            let lines = assets.tree.text(paths::ETCD).unwrap().lines();
            lines.map(str::trim).find(|line| line.starts_with("- --initial-cluster=")).unwrap().to_owned()
        };
        assert_eq!(flag(&first), "- --initial-cluster=$(NODE_NAME)=https://192.0.2.1:2380");
        let both = "- --initial-cluster=$(NODE_NAME)=https://192.0.2.2:2380,a=https://192.0.2.1:2380";
        assert_eq!(flag(&second), both);
        assert!(first.tree.iter().map(|(path, _)| path).eq(second.tree.iter().map(|(path, _)| path)));
        let certificate = second.tree.text("tls/etcd/peer.crt").unwrap();
        let names: Vec<_> =
            pki::inspect(certificate).unwrap().names.iter().map(ToString::to_string).collect();
        assert!(names.iter().any(|name| name == "192.0.2.2"), "{names:?}");
        assert!(names.iter().all(|name| name != "192.0.2.1"), "{names:?}");
    }
}
