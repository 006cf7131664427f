//! From a config to an asset directory's files. Pure: the same input gives the same tree, but for
//! keys and certificates, which are made with the system's randomness where there are none yet.

use std::net::IpAddr;

use cluster::{ClusterConfig, EtcdConfig};

use crate::credentials;
use crate::error::RenderError;
use crate::given::Given;
use crate::input::{Base, RenderInput};
use crate::node::NodeAssets;
use crate::shared::ClusterAssets;
use crate::tree::AssetTree;

/// Renders the asset directory of a cluster: what all nodes share, and what the first one has of its own.
///
/// # Errors
/// [`RenderError`]; nothing is written in any case.
pub fn render(config: &ClusterConfig, mut input: RenderInput) -> Result<AssetTree, RenderError> {
    let Given { authorities, external_etcd } = std::mem::take(&mut input.given);
    check(config, external_etcd.is_some(), &mut input)?;
    let RenderInput { node, existing, upstream_dns, now, .. } = input;
    let old = existing.unwrap_or_default();
    let authorities = credentials::authorities(config, authorities, &old, now)?;
    let api_address = node.addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let base = Base { config, authorities: &authorities, old: &old, api_address, now };
    let node = NodeAssets::new(&base, &node, &[])?;
    ClusterAssets::new(&base, external_etcd, upstream_dns, node).map(|assets| assets.tree)
}

/// What a config and its input must have in common; puts the address of the first family first.
fn check(config: &ClusterConfig, etcd_files: bool, input: &mut RenderInput) -> Result<(), RenderError> {
    let node = input.node.name.clone();
    if input.node.addresses.is_empty() {
        return Err(RenderError::NoAddress { node });
    }
    if matches!(config.etcd, EtcdConfig::External(_)) && !etcd_files {
        return Err(RenderError::NoEtcdFiles);
    }
    if !config.put_primary_first(&mut input.node.addresses) {
        let family = if config.prefers_ipv6() { "IPv6" } else { "IPv4" };
        return Err(RenderError::NoAddressOfFamily { node, family });
    }
    Ok(())
}
