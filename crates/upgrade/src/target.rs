//! What a cluster shall be: a rendered asset directory, and what this node needs for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use assets::AssetTree;
use bundle::Bundle;
use cluster::{ClusterConfig, Component, EtcdConfig, KubernetesVersion};
use node::plan::Plan;
use node::{Facts, InstallError, NodeConfig, Root, execute};
use objects::pod;
use serde_json::Value;

/// What a cluster shall be.
pub struct Target {
    /// The config.
    pub config: ClusterConfig,
    /// The asset directory that was rendered from it, with the secrets of the cluster.
    pub tree: AssetTree,
    /// Where the asset directory lies.
    pub asset_dir: PathBuf,
    /// The programs and images of the version; none when only the config changes.
    pub bundle: Option<Bundle>,
    /// This node as it shall be.
    pub node: NodeConfig,
    /// This node as it is.
    pub facts: Facts,
    /// This node's file system.
    pub root: Root,
    /// Whether pods are taken off this node before its kubelet changes.
    pub drain: bool,
}

impl Target {
    /// The Kubernetes version.
    pub fn version(&self) -> KubernetesVersion {
        self.config.kubernetes_version
    }

    /// What would be done to make this node that of the target.
    pub(crate) fn host_plan(&self) -> Result<Plan, InstallError> {
        match &self.bundle {
            Some(bundle) => execute::plan_install(&self.root, &self.facts, bundle, &self.node),
            None => execute::plan_configuration(&self.root, &self.facts, &self.node),
        }
    }

    /// The endpoint that is asked for a snapshot.
    pub(crate) fn etcd_endpoint(&self) -> String {
        match &self.config.etcd {
            EtcdConfig::Local(_) => format!("https://127.0.0.1:{}", names::port::ETCD_CLIENT),
            EtcdConfig::External(etcd) => etcd.endpoints.first().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// What etcd is asked with: what this node's apiserver has, which is renewed there.
    pub(crate) fn etcd_credentials(&self) -> PathBuf {
        self.root.path(names::path::KUBE_APISERVER_KEYS)
    }

    /// The image of a local etcd.
    pub(crate) fn local_etcd(&self) -> Option<String> {
        let local = matches!(self.config.etcd, EtcdConfig::Local(_));
        local.then(|| self.config.images().get(Component::Etcd).to_owned())
    }
}

/// Whether an apiserver among these objects has every pod pull its images: the admission plugin that rewrites each pod's
/// `imagePullPolicy` (plugin/pkg/admission/alwayspullimages of kubernetes).
pub(crate) fn always_pulls<'a>(mut objects: impl Iterator<Item = &'a Value>) -> bool {
    objects.any(|object| {
        let server = pod::apiserver(object);
        let plugins = server.and_then(|server| pod::flag(server, "--enable-admission-plugins"));
        plugins.is_some_and(|plugins| plugins.split(',').any(|plugin| plugin.trim() == "AlwaysPullImages"))
    })
}

/// The images that workloads among these objects run.
pub(crate) fn images<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    objects.flat_map(pod::images).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugin_among_others_has_every_pod_pull_its_images() {
        let server = |plugins: &str| {
            json!({"kind": "DaemonSet", "spec": {"template": {"spec": {"containers": [{"name": "kube-apiserver",
                "args": ["--etcd-servers=x", format!("--enable-admission-plugins={plugins}")]}]}}}})
        };
        assert!(always_pulls([json!({}), server("NodeRestriction,AlwaysPullImages")].iter()));
        assert!(!always_pulls([server("NodeRestriction,AlwaysPullImagesNot")].iter()));
        assert!(!always_pulls([json!({})].iter()));
    }
}
