//! A host becomes a node of a cluster: all that is done on it before anything of the cluster is started there. What `up`
//! does first, and every other verb that makes a node.
//!
//! ```text
//! facts, bundle, config, role ──▶ preflight ──▶ (rendered) ──▶ plan ──▶ verify ──▶ install ──▶ import
//! ```

use std::path::Path;

use bundle::{Bundle, BundleError};
use cluster::{ClusterConfig, Component, EtcdConfig, Host, NetworkProvider, ProxyMode};
use names::path;
use pki::NodeIdentity;

use crate::execute;
use crate::images::{self, ImagesError, Imported, Mended};
use crate::plan::{Action, Because, Plan};
use checks::Check;

use crate::preflight::{self, HostInput};
use crate::units::Units;
use crate::{Facts, InstallError, NodeConfig, NodeCredentials, Registration, Root, containerd};

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The cluster is brought up on it.
    FirstControlPlane,
    /// It takes part in the control plane of a cluster that there is.
    ControlPlane,
    /// It runs pods.
    Worker,
}

impl Role {
    /// Whether a part of the control plane runs on it.
    pub fn is_control_plane(self) -> bool {
        self != Self::Worker
    }
}

/// Why a host cannot be made a node.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The bundle lacks what sandboxes of pods are made of.
    #[error("the bundle has no image `pause`")]
    NoPause,
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The install failed.
    #[error(transparent)]
    Install(#[from] InstallError),
}

/// What was made for the node: rendered with its cluster, or found in it.
#[derive(Clone)]
pub struct Rendered {
    /// The cluster CA's certificate, PEM.
    pub ca: String,
    /// How the kubelet talks to the API.
    pub credentials: NodeCredentials,
}

/// A host that shall become a node, and of what.
#[derive(Debug)]
pub struct Provision<'a> {
    /// The host's file system.
    pub root: Root,
    /// What kind of host it is.
    pub facts: &'a Facts,
    /// Where programs and images come from.
    pub bundle: &'a Bundle,
    /// The cluster.
    pub cluster: &'a ClusterConfig,
    /// What the node is for.
    pub role: Role,
    /// Who it is.
    pub identity: NodeIdentity,
    /// What it is registered with.
    pub registration: Registration,
    /// Leave containerd to the host.
    pub existing_containerd: bool,
}

impl Provision<'_> {
    /// Makes all checks of the host. `ca` is the cluster's, when there is one already. Changes nothing.
    pub async fn preflight(&self, ca: Option<&str>) -> Vec<Check> {
        let images = self.bundle.images().iter().map(|image| image.size);
        let sizes = images.chain(self.bundle.programs().iter().map(|program| program.size));
        let data_dir = etcd_data_dir(self.cluster, self.role);
        let network = &self.cluster.network;
        let input = HostInput {
            node_name: &self.identity.name,
            control_plane: self.role.is_control_plane(),
            api_name: api_name(self.cluster),
            api_port: self.cluster.api.port,
            kube_proxy: self.cluster.proxy.mode != ProxyMode::Disabled,
            local_etcd: data_dir.is_some(),
            etcd_data_dir: data_dir.unwrap_or_default(),
            ca,
            needed_bytes: sizes.sum(),
            cluster_version: &self.cluster.kubernetes_version.to_string(),
            kubelet_version: self.bundle.kubernetes_version(),
            existing_containerd: self.existing_containerd,
            pod_ranges: &network.pod_cidrs,
            service_ranges: &network.service_cidrs,
            flannel: network.provider == NetworkProvider::Flannel,
            ipv6: network.pod_cidrs.iter().any(|cidr| cidr.is_ipv6()),
        };
        preflight::host(&self.root, self.facts, &input).await
    }

    /// The node's configuration, of what was rendered for it.
    ///
    /// # Errors
    /// [`ProvisionError::NoPause`].
    pub fn node(&self, rendered: &Rendered) -> Result<NodeConfig, ProvisionError> {
        let pause = self.bundle.pause_image().ok_or(ProvisionError::NoPause)?;
        let mut node = node_config(self.cluster, self.role, &self.identity, rendered, &pause.reference());
        node.existing_containerd = self.existing_containerd;
        node.registration = self.registration.clone();
        Ok(node)
    }

    /// What [`Provision::install`] would do. Changes nothing.
    ///
    /// # Errors
    /// [`ProvisionError`].
    pub fn plan(&self, rendered: &Rendered) -> Result<Plan, ProvisionError> {
        Ok(execute::plan_install(&self.root, self.facts, self.bundle, &self.node(rendered)?)?)
    }

    /// Reads all that such a plan and the import after it will take out of the bundle, and compares it with its digests:
    /// before anything is changed, since half of it helps nobody. Changes nothing.
    ///
    /// # Errors
    /// [`ProvisionError::Bundle`] names the first blob that is wrong.
    pub fn verify(&self, plan: &Plan) -> Result<(), ProvisionError> {
        let program = |action: &Action| match action {
            Action::InstallProgram { name, .. } => Some(name.clone()),
            _ => None,
        };
        let programs: Vec<String> = plan.actions.iter().filter_map(program).collect();
        Ok(self.bundle.verify_parts(&self.images_to_come(plan), &programs)?)
    }

    /// Those that containerd lacks; all where nobody can be asked, or it will begin anew.
    fn images_to_come(&self, plan: &Plan) -> Vec<String> {
        let anew = plan.set_aside().next().is_some();
        let runs = !anew && Units::of(&self.root).is_active(containerd::UNIT);
        let missing = runs.then(|| images::plan_images(&self.root, self.bundle).ok()).flatten();
        let all = || self.bundle.images().iter().map(|image| image.name.clone()).collect();
        missing.map_or_else(all, |plan| plan.import)
    }

    /// Does what [`Provision::plan`] said; containerd and the kubelet run at the end. `progress` gets each step just
    /// before it is done. Returns warnings.
    ///
    /// # Errors
    /// [`ProvisionError`]; what was done until then stays and is found by the next run.
    pub async fn install(
        &self,
        plan: &Plan,
        progress: impl FnMut(&Action),
    ) -> Result<Vec<String>, ProvisionError> {
        let extract = |name: &str, path: &Path| self.bundle.extract_program(name, path).map(drop);
        Ok(execute::execute(&self.root, plan, extract, progress).await?)
    }

    /// Puts files of images right that are not what the images' layers say: out of the layers, or out of the bundle.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn mend(&self) -> Result<Mended, ImagesError> {
        if self.existing_containerd {
            return Ok(Mended::default());
        }
        images::mend(&self.root, self.bundle)
    }

    /// Has the kubelet started again: it waits the longer the more often a container crashed, and forgets that.
    ///
    /// # Errors
    /// [`ProvisionError::Install`].
    pub async fn restart_kubelet(&self) -> Result<(), ProvisionError> {
        let unit = path::KUBELET_UNIT.to_owned();
        let restart = Action::RestartUnit { unit, because: Because::InputsChanged };
        self.install(&Plan { actions: vec![restart, Action::AwaitKubelet] }, |_| ()).await.map(drop)
    }

    /// Imports the images that the node's containerd lacks.
    ///
    /// # Errors
    /// [`ImagesError`].
    pub fn import(&self) -> Result<Imported, ImagesError> {
        images::import_images(&self.root, self.bundle)
    }
}

/// The configuration of a node, of what was rendered for it and the pause image's name.
pub fn node_config(
    cluster: &ClusterConfig,
    role: Role,
    identity: &NodeIdentity,
    rendered: &Rendered,
    pause_image: &str,
) -> NodeConfig {
    let credentials = rendered.credentials.clone();
    let addresses = identity.addresses.clone();
    let mut node =
        NodeConfig::new(cluster, &identity.name, addresses, &rendered.ca, credentials, pause_image);
    node.etcd_data_dir = etcd_data_dir(cluster, role).map(str::to_owned);
    node.audit_dir = node.audit_dir.filter(|_| role.is_control_plane());
    node
}

/// Where etcd has its data on a node of that role; none when it has none there.
fn etcd_data_dir(cluster: &ClusterConfig, role: Role) -> Option<&str> {
    match &cluster.etcd {
        EtcdConfig::Local(etcd) if role.is_control_plane() => Some(&etcd.data_dir),
        EtcdConfig::Local(_) | EtcdConfig::External(_) => None,
    }
}

/// The name that clients dial; none where they dial an address.
fn api_name(cluster: &ClusterConfig) -> Option<&str> {
    match cluster.api.endpoint.as_ref()?.host() {
        Host::Name(name) => Some(name),
        Host::Ip(_) => None,
    }
}

/// What runs on every node of a cluster.
const OF_EVERY_NODE: [Component; 4] =
    [Component::KubeProxy, Component::Coredns, Component::Flannel, Component::FlannelCniPlugin];

/// The images that a node of that role needs by the cluster's configuration, and that the bundle lacks.
pub fn missing_images(bundle: &Bundle, cluster: &ClusterConfig, role: Role) -> Vec<String> {
    let images = cluster.images();
    let needed =
        images.iter().filter(|(component, _)| role.is_control_plane() || OF_EVERY_NODE.contains(component));
    needed.map(|(_, image)| image).filter(|image| !bundle.has_image(image)).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_no_etcd_and_a_control_plane_node_has_the_config_s() {
        let cluster = ClusterConfig::parse("c", "etcd: {local: {dataDir: /data/etcd}}").unwrap();
        let identity = NodeIdentity { name: "a".to_owned(), addresses: vec!["192.0.2.1".parse().unwrap()] };
        let rendered = Rendered { ca: "ca".to_owned(), credentials: NodeCredentials::Own };
        let dir = |role| node_config(&cluster, role, &identity, &rendered, "pause").etcd_data_dir;
        assert_eq!(dir(Role::FirstControlPlane).as_deref(), Some("/data/etcd"));
        assert_eq!(dir(Role::ControlPlane).as_deref(), Some("/data/etcd"));
        assert_eq!(dir(Role::Worker), None);
        assert!(!Role::Worker.is_control_plane());
    }
}
