//! What an upgrade needs to know of a cluster, as one value. It is read in [`crate::look`].

use causes::Cause;
use cluster::KubernetesVersion;
use jiff::Timestamp;
use serde::Serialize;

use crate::diff::Change;
use crate::lifecycle::DeprecatedApi;
use crate::part::Part;

/// A cluster as it is, and how far it is from what it shall be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The node that this was looked at from.
    pub node: String,
    /// The version that the apiserver's DaemonSet is to run.
    pub version: KubernetesVersion,
    /// The parts that the target has, in the order of an upgrade.
    pub parts: Vec<PartState>,
    /// All nodes.
    pub nodes: Vec<NodeState>,
    /// What would be done to this node's programs, files and units.
    pub host: Vec<String>,
    /// Files of the control plane on this node that would change: certificates, keys, the config.
    pub keys: Vec<String>,
    /// What would be done about this node's pods before that.
    pub drain: DrainState,
    /// etcd.
    pub etcd: EtcdState,
    /// Certificates of the asset directory.
    pub certificates: Vec<CertificateState>,
    /// Deprecated APIs that were asked for since the apiserver's start.
    pub deprecated: Vec<DeprecatedApi>,
    /// Lists that the target's apiserver could not read, and that are not empty.
    pub unreadable: Vec<String>,
    /// What the target's programs say of the flags that they would get.
    pub flags: Vec<FlagAnswer>,
    /// The images to be brought to this node, and those that neither it nor the bundle has.
    pub images: ImageState,
    /// Whether somebody sets the readiness gate of new apiservers; `None` when they have none.
    pub gate_kept: Option<bool>,
    /// Files of the asset directory that would change.
    pub assets: Vec<String>,
    /// A run that was killed or could not step back.
    pub unfinished: Option<UnfinishedState>,
    /// What the API has that is in the way.
    pub causes: Vec<Cause>,
}

/// One part of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartState {
    /// Which part.
    pub part: Part,
    /// The image that its workload is to run now; none for a part without one, or that is not there.
    pub image: Option<String>,
    /// The image that it shall run.
    pub wanted_image: Option<String>,
    /// The version in the image's tag, where that is one of Kubernetes.
    pub version: Option<KubernetesVersion>,
    /// The objects that would change.
    pub changes: Vec<Change>,
    /// What its rollout lacks, as far as one is under way.
    pub unsettled: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its kubelet's version; none when that is no release.
    pub kubelet: Option<KubernetesVersion>,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether it has the control-plane label.
    pub control_plane: bool,
    /// Whether new pods may come to it.
    pub schedulable: bool,
}

/// The drain of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainState {
    /// Whether it was asked for.
    pub asked: bool,
    /// Whether the unfinished run has made the node unschedulable.
    pub cordoned: bool,
    /// The pods that would be evicted.
    pub evict: Vec<String>,
    /// Those of them that nobody makes anew.
    pub unmanaged: Vec<String>,
    /// Those of them that have data in an `emptyDir`.
    pub local_data: Vec<String>,
}

/// etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdState {
    /// Where it is asked for a snapshot.
    pub endpoint: String,
    /// Its image, where it is a static pod of ours.
    pub image: Option<String>,
    /// What is wrong with it; none when it is healthy.
    pub problem: Option<String>,
    /// How `etcdctl` is run in the static pod; none where there is none of ours.
    #[serde(skip)]
    pub etcdctl: Option<String>,
    /// The snapshot that the unfinished run has taken.
    pub snapshot: Option<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// The file in the asset directory.
    pub path: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Whether the upgrade replaces it.
    pub renewed: bool,
}

/// What a program said when it was run with the flags that it would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlagAnswer {
    /// The program.
    pub program: String,
    /// What it said.
    pub said: String,
    /// Whether it refused them.
    pub refused: bool,
}

/// Images of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageState {
    /// Those that the bundle has and this node lacks.
    pub import: Vec<String>,
    /// Those that neither has.
    pub missing: Vec<String>,
    /// Those that no registry gives, and why, where every pod is made to pull its images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unpullable: Vec<(String, String)>,
}

/// What is known of a run that did not end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnfinishedState {
    /// When it began.
    pub began: Timestamp,
    /// What it began with.
    pub from: KubernetesVersion,
    /// Where it was going.
    pub to: KubernetesVersion,
}
