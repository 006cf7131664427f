//! What a render needs besides the config.

use std::net::IpAddr;

use jiff::Timestamp;
use pki::NodeIdentity;

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

impl RenderInput {
    /// The node's first address.
    pub(crate) fn primary_address(&self) -> IpAddr {
        self.node.addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]))
    }
}
