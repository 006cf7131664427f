//! What a cluster shall be: a rendered asset directory, and what this node needs for it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use assets::AssetTree;
use bundle::Bundle;
use cluster::{ClusterConfig, Component, EtcdConfig, KubernetesVersion};
use node::plan::Plan;
use node::programs::Programs;
use node::{Facts, InstallError, NodeConfig, Root, execute};
use objects::pod;
use serde_json::Value;

use crate::before::StateDir;

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

    /// Where programs come from, and where they lie meanwhile.
    pub(crate) fn programs<'a>(&'a self, state: &StateDir) -> Programs<'a> {
        Programs::new(&self.root, self.bundle.as_ref(), state.programs())
    }

    /// The endpoint that is asked for a snapshot.
    pub(crate) fn etcd_endpoint(&self) -> String {
        match &self.config.etcd {
            EtcdConfig::Local(_) => etcd::local_endpoint(),
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

/// The images that workloads among these objects run.
pub(crate) fn images<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    objects.flat_map(pod::images).collect()
}
