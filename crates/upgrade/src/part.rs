//! The parts of a cluster that an upgrade changes one after the other, and which rendered objects
//! belong to which.

use std::collections::BTreeMap;

use assets::AssetTree;
use cluster::KubernetesVersion;
use names::component;
use objects::pod;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::UpgradeError;

/// A part of the cluster that is changed as a whole. The order is that of an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Roles and who has them, of all parts: without them nothing of what follows would come to its end.
    Access,
    /// The guardian: first, because it keeps the API up while the apiserver is replaced.
    Guardian,
    /// kube-apiserver: nothing else may be newer than it.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
    /// kube-proxy.
    KubeProxy,
    /// CoreDNS.
    Coredns,
    /// flannel.
    Flannel,
    /// What nodes and tools read: roles, cluster-info, the kubelet's settings.
    Config,
}

impl Part {
    /// All of them, in the order of an upgrade.
    pub const ALL: [Self; 9] = [
        Self::Access,
        Self::Guardian,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::KubeProxy,
        Self::Coredns,
        Self::Flannel,
        Self::Config,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access rules",
            Self::Guardian => "guardian",
            Self::KubeApiserver => component::KUBE_APISERVER,
            Self::KubeControllerManager => component::KUBE_CONTROLLER_MANAGER,
            Self::KubeScheduler => component::KUBE_SCHEDULER,
            Self::KubeProxy => component::KUBE_PROXY,
            Self::Coredns => "CoreDNS",
            Self::Flannel => "flannel",
            Self::Config => "config objects",
        }
    }

    /// Which part an object of a manifest belongs to; `None` for what an upgrade leaves alone.
    fn of(path: &str, object: &Value) -> Option<Self> {
        let of_manifest = Self::of_manifest(path)?;
        let rules = objects::text(&object["apiVersion"]).starts_with("rbac.authorization.k8s.io/");
        Some(if rules { Self::Access } else { of_manifest })
    }

    /// Which part a rendered manifest belongs to; `None` for what an upgrade leaves alone.
    fn of_manifest(path: &str) -> Option<Self> {
        let name = path.strip_prefix("manifests/")?.strip_suffix(".yaml")?;
        match name {
            names::object::GUARDIAN => Some(Self::Guardian),
            component::KUBE_APISERVER => Some(Self::KubeApiserver),
            component::KUBE_CONTROLLER_MANAGER => Some(Self::KubeControllerManager),
            component::KUBE_SCHEDULER => Some(Self::KubeScheduler),
            component::KUBE_PROXY => Some(Self::KubeProxy),
            "coredns" => Some(Self::Coredns),
            "flannel" => Some(Self::Flannel),
            _ => Some(Self::Config),
        }
    }

    /// Whether its version is that of Kubernetes.
    pub(crate) fn is_kubernetes(self) -> bool {
        matches!(
            self,
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::KubeProxy
        )
    }

    /// The lease that its leader holds.
    pub(crate) fn lease(self) -> Option<&'static str> {
        matches!(self, Self::KubeControllerManager | Self::KubeScheduler).then(|| self.name())
    }
}

/// The objects of a rendered asset directory by part, in the order of its files.
///
/// # Errors
/// When a manifest is no YAML, which is a fault in kubestrap itself.
pub fn objects(tree: &AssetTree) -> Result<BTreeMap<Part, Vec<apply::Object>>, UpgradeError> {
    let mut parts: BTreeMap<Part, Vec<apply::Object>> = BTreeMap::new();
    for (path, file) in tree.iter().filter(|(path, _)| Part::of_manifest(path).is_some()) {
        let text = String::from_utf8_lossy(&file.content);
        let documents = assets::parse_documents(&text)
            .map_err(|source| UpgradeError::Manifest { path: path.to_owned(), source })?;
        for document in documents {
            let Some(part) = Part::of(path, &document.value) else { continue };
            let object = apply::Object::new(document.value, format!("{path}:{}", document.line));
            parts.entry(part).or_default().push(object);
        }
    }
    Ok(parts)
}

/// The kinds of workload that kubestrap renders, and whose rollouts can be followed.
const WORKLOADS: [&str; 2] = ["DaemonSet", "Deployment"];

/// Whether an object rolls out pods.
pub(crate) fn is_workload(object: &Value) -> bool {
    WORKLOADS.contains(&objects::text(&object["kind"]))
}

/// The image of a workload's first container.
pub(crate) fn image(object: &Value) -> Option<&str> {
    pod::app_containers(object).first()?["image"].as_str()
}

/// The Kubernetes version in an image's tag.
pub(crate) fn version_of(image: &str) -> Option<KubernetesVersion> {
    let name = image.split('@').next()?;
    name.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_manifest_has_its_part() {
        for (path, part) in [
            ("manifests/kube-apiserver.yaml", Some(Part::KubeApiserver)),
            ("manifests/kubestrap-guardian.yaml", Some(Part::Guardian)),
            ("manifests/rbac.yaml", Some(Part::Config)),
            ("manifests/admission.yaml", Some(Part::Config)),
            ("bootstrap-manifests/bootstrap-kube-apiserver.yaml", None),
            ("tls/ca.crt", None),
        ] {
            assert_eq!(Part::of_manifest(path), part, "{path}");
        }
        // Rights come first, wherever they stand.
        let object = |version: &str| json!({"apiVersion": version, "kind": "ClusterRoleBinding"});
        let of = |version: &str| Part::of("manifests/flannel.yaml", &object(version));
        assert_eq!(of("rbac.authorization.k8s.io/v1"), Some(Part::Access));
        assert_eq!(of("apps/v1"), Some(Part::Flannel));
        assert!(Part::ALL.is_sorted() && Part::ALL[0] == Part::Access);
    }

    #[test]
    fn versions_are_read_from_tags() {
        assert_eq!(version_of("registry.k8s.io/kube-proxy:v1.36.3").unwrap().to_string(), "v1.36.3");
        assert_eq!(version_of("a.b:5000/x:v1.37.2@sha256:00").unwrap().to_string(), "v1.37.2");
        assert_eq!(version_of("a.b:5000/x"), None);
    }
}
