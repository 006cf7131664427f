//! What a render needs besides the config.

use std::net::IpAddr;

use cluster::ClusterConfig;
use jiff::Timestamp;
use pki::{Authorities, NodeIdentity};

use crate::given::Given;
use crate::tree::AssetTree;

/// What a render needs besides the config.
#[derive(Debug)]
pub struct RenderInput {
    /// The node on which the cluster is brought up; it has at least one address.
    pub node: NodeIdentity,
    /// Files that the config names.
    pub given: Given,
    /// What an earlier render wrote into the same asset directory: its secrets are kept.
    pub existing: Option<AssetTree>,
    /// Whether the nodes have a resolver that DNS queries for other domains can be sent to. CoreDNS
    /// on a node with an empty resolv.conf would ask itself, notice the loop and exit.
    pub upstream_dns: bool,
    /// The time now.
    pub now: Timestamp,
}

/// What the assets of the cluster and those of each node are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The config.
    pub(crate) config: &'a ClusterConfig,
    /// Who signs certificates.
    pub(crate) authorities: &'a Authorities,
    /// What an earlier render made: it is kept as long as it will do.
    pub(crate) old: &'a AssetTree,
    /// An address under which clients reach the API where the config names no endpoint.
    pub(crate) api_address: IpAddr,
    /// The time now.
    pub(crate) now: Timestamp,
}

impl Base<'_> {
    /// The URL under which what runs on a control-plane node reaches the API of that node.
    pub(crate) fn local_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.config.api.port)
    }

    /// The URL under which clients reach the API.
    pub(crate) fn api_url(&self) -> String {
        self.config.api_url(self.api_address)
    }
}
