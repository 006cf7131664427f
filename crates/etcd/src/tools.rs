//! Where etcd's tools come from: the image of an etcd of the right version.

use bundle::Bundle;
use cluster::{ClusterConfig, Component, EtcdConfig};

/// Where upstream's image has it.
pub const ETCDCTL: &str = "/usr/local/bin/etcdctl";
/// Where it has the tool that works on a member's data while that does not run.
pub const ETCDUTL: &str = "/usr/local/bin/etcdutl";
/// The name of upstream's image in a bundle.
const UPSTREAM: &str = "registry.k8s.io/etcd";

/// An image that has etcd's tools. That of a local etcd is on its node, and its tools are of the right version; an
/// external one's may be nowhere, and the bundle's has to do.
pub fn tools_image(config: &ClusterConfig, bundle: Option<&Bundle>) -> String {
    let bundled = bundle.and_then(|bundle| bundle.image_of(UPSTREAM));
    match (&config.etcd, bundled) {
        (EtcdConfig::External(_), Some(image)) => image.name.clone(),
        _ => config.images().get(Component::Etcd).to_owned(),
    }
}
