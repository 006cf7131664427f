//! Which image each component of a cluster runs.

use std::collections::BTreeMap;

use names::component;

use crate::{ImageReference, ImageRepository, ImagesConfig, KubernetesVersion};

/// A component of the cluster that runs from a container image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// kube-apiserver.
    KubeApiserver,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
    /// kube-proxy.
    KubeProxy,
    /// etcd.
    Etcd,
    /// CoreDNS.
    Coredns,
    /// The container that holds a pod's namespaces.
    Pause,
    /// flanneld.
    Flannel,
    /// The image that carries flannel's CNI plugin.
    FlannelCniPlugin,
    /// kubestrap itself.
    Kubestrap,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::KubeProxy,
        Self::Etcd,
        Self::Coredns,
        Self::Pause,
        Self::Flannel,
        Self::FlannelCniPlugin,
        Self::Kubestrap,
    ];

    /// The name, as `images.overrides` and image references have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => component::KUBE_APISERVER,
            Self::KubeControllerManager => component::KUBE_CONTROLLER_MANAGER,
            Self::KubeScheduler => component::KUBE_SCHEDULER,
            Self::KubeProxy => component::KUBE_PROXY,
            Self::Etcd => component::ETCD,
            Self::Coredns => "coredns",
            Self::Pause => "pause",
            Self::Flannel => "flannel",
            Self::FlannelCniPlugin => "flannel-cni-plugin",
            Self::Kubestrap => "kubestrap",
        }
    }

    /// The component of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|component| component.name() == name)
    }

    /// The tag of the component's image in a cluster of that Kubernetes version.
    pub fn tag(self, version: KubernetesVersion) -> String {
        match self {
            Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::KubeProxy => {
                version.to_string()
            }
            Self::Etcd => etcd_tag(version).to_owned(),
            Self::Coredns => COREDNS_VERSION.to_owned(),
            Self::Pause => PAUSE_VERSION.to_owned(),
            Self::Flannel => FLANNEL_VERSION.to_owned(),
            Self::FlannelCniPlugin => FLANNEL_CNI_PLUGIN_VERSION.to_owned(),
            Self::Kubestrap => concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The image without its tag.
    fn repository(self, repository: &ImageRepository) -> String {
        let name = self.name();
        match self {
            Self::Flannel | Self::FlannelCniPlugin => format!("ghcr.io/flannel-io/{name}"),
            Self::Kubestrap => format!("ghcr.io/kubestrap/{name}"),
            // Upstream has CoreDNS one level deeper; a mirror has it beside the others (as kubeadm).
            Self::Coredns if repository.is_upstream() => format!("{repository}/coredns/coredns"),
            _ => format!("{repository}/{name}"),
        }
    }
}

/// The newest flannel whose modules can be had.
const FLANNEL_VERSION: &str = "v0.27.4";
/// The newest release of the CNI project that carried flannel's plugin.
const FLANNEL_CNI_PLUGIN_VERSION: &str = "v0.9.1";

/// The newest patch release of the one that kubeadm of the newest supported minor names, `CoreDNSVersion` (1.36 names
/// v1.14.2, and works with this one: nothing in CoreDNS depends on the Kubernetes minor).
const COREDNS_VERSION: &str = "v1.14.7";
/// kubeadm's `PauseVersion`, the same in all supported minors.
const PAUSE_VERSION: &str = "3.10.2";

/// The newest patch release of the etcd that kubeadm of that Kubernetes minor names (`DefaultEtcdVersion` in
/// cmd/kubeadm/app/constants/constants.go): those named there take TLS handshakes without bound (CVE-2026-73500).
fn etcd_tag(version: KubernetesVersion) -> &'static str {
    match version.minor() {
        36 => "3.6.16-0",
        _ => "3.7.3-0",
    }
}

/// The image of every component of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images(BTreeMap<Component, ImageReference>);

impl Images {
    pub(crate) fn of(version: KubernetesVersion, config: &ImagesConfig) -> Self {
        let image = |component: Component| {
            let upstream = || {
                let repository = component.repository(&config.repository);
                let name = format!("{repository}:{}", component.tag(version));
                ImageReference::trusted(match config.digests.get(&name) {
                    Some(digest) => format!("{name}@{digest}"),
                    None => name,
                })
            };
            (component, config.overrides.get(component.name()).cloned().unwrap_or_else(upstream))
        };
        Self(Component::ALL.into_iter().map(image).collect())
    }

    /// The image of one component.
    pub fn get(&self, component: Component) -> &str {
        // Every component is in the map: `of` puts all of them in.
        self.0.get(&component).map_or("", ImageReference::as_str)
    }

    /// Every component with its image.
    pub fn iter(&self) -> impl Iterator<Item = (Component, &str)> {
        self.0.iter().map(|(component, image)| (*component, image.as_str()))
    }
}
