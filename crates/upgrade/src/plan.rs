//! What an upgrade would do, as a value: checks that failed, and steps in order. Pure: `--dry-run` prints
//! exactly what an upgrade executes. What is as it shall be has no step, and that is how a run that was
//! killed goes on.

use ::checks::Check;
use cluster::KubernetesVersion;
use jiff::Timestamp;
use serde::Serialize;

use crate::checks;
use crate::diff::Change;
use crate::direction::Direction;
use crate::lifecycle::DeprecatedApi;
use crate::observed::{CertificateState, EtcdState, NodeState, Observed, UnfinishedState};
use crate::part::Part;

/// The version of the plan's JSON form.
const FORMAT: u32 = 1;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version of this form.
    pub format: u32,
    /// The version that the cluster has.
    pub from: KubernetesVersion,
    /// The version that it gets.
    pub to: KubernetesVersion,
    /// Which way that is.
    pub direction: Direction,
    /// The minors that the cluster could go to now.
    pub possible: Vec<String>,
    /// What speaks against it or should be known.
    pub checks: Vec<Check>,
    /// What is to be done, in this order.
    pub steps: Vec<Step>,
    /// Nodes with their kubelets.
    pub nodes: Vec<NodeState>,
    /// etcd.
    pub etcd: EtcdState,
    /// Certificates and their ends.
    pub certificates: Vec<CertificateState>,
    /// Deprecated APIs in use.
    pub deprecated: Vec<DeprecatedApi>,
    /// A run that did not end, which this one goes on with.
    pub unfinished: Option<UnfinishedState>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Step {
    /// Take a snapshot of etcd.
    Snapshot {
        /// Where etcd is.
        endpoint: String,
    },
    /// Bring images to this node.
    Images {
        /// Their names.
        images: Vec<String>,
    },
    /// Write certificates, keys and config of the control plane on this node, which it reads again by itself.
    Keys {
        /// The files that change.
        files: Vec<String>,
    },
    /// Change a part of the cluster and wait until it is settled.
    Part {
        /// Which part.
        part: Part,
        /// Its image now, when that changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Its image then, when that changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// The objects that change; none when an earlier run has changed them and only the wait is left.
        changes: Vec<Change>,
        /// What its rollout lacks now.
        #[serde(skip_serializing_if = "Option::is_none")]
        unsettled: Option<String>,
    },
    /// Keep new pods off this node, and evict those that can run elsewhere.
    Drain {
        /// This node.
        node: String,
        /// The pods that are evicted.
        pods: Vec<String>,
    },
    /// Change this node's programs, files and units.
    Kubelet {
        /// This node.
        node: String,
        /// Its kubelet's version.
        from: Option<KubernetesVersion>,
        /// The version that it gets.
        to: KubernetesVersion,
        /// What is done.
        actions: Vec<String>,
    },
    /// Let pods onto this node again.
    Uncordon {
        /// This node.
        node: String,
    },
    /// Write the asset directory as it is for the new version or config.
    Assets {
        /// The files that change.
        files: Vec<String>,
    },
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Which way it goes: what an unfinished run began with counts, then the apiserver, then the rest.
fn direction(observed: &Observed, to: KubernetesVersion) -> Direction {
    let from = observed.unfinished.as_ref().map_or(observed.version, |run| run.from);
    let parts = observed.parts.iter().filter(|p| p.part.is_kubernetes()).filter_map(|p| p.version);
    let here = observed.nodes.iter().filter(|n| n.name == observed.node).filter_map(|n| n.kubelet);
    let differing = [from, observed.version].into_iter().chain(parts).chain(here).find(|v| *v != to);
    match differing.map(|version| version.cmp(&to)) {
        Some(std::cmp::Ordering::Less) => Direction::Up,
        Some(std::cmp::Ordering::Greater) => Direction::Down,
        _ => Direction::Same,
    }
}

/// Plans what leads from `observed` to the target that it was compared with, of version `to`.
pub fn plan(observed: &Observed, to: KubernetesVersion, now: Timestamp) -> Plan {
    let direction = direction(observed, to);
    let mut steps: Vec<Step> = observed.parts.iter().filter_map(part).collect();
    let config = steps.iter().position(|s| matches!(s, Step::Part { part: Part::Config, .. }));
    let config = config.map(|position| steps.remove(position));
    let host = host(observed, to);
    if direction == Direction::Down {
        steps.reverse();
        steps.splice(0..0, host);
    } else {
        steps.extend(host);
    }
    steps.extend(config);
    if !observed.keys.is_empty() {
        // First: a part may be told to read one that is new.
        steps.insert(0, Step::Keys { files: observed.keys.clone() });
    }
    if !steps.is_empty() && !observed.images.import.is_empty() {
        steps.insert(0, Step::Images { images: observed.images.import.clone() });
    }
    if !steps.is_empty() && observed.etcd.snapshot.is_none() {
        steps.insert(0, Step::Snapshot { endpoint: observed.etcd.endpoint.clone() });
    }
    if !observed.assets.is_empty() {
        steps.push(Step::Assets { files: observed.assets.clone() });
    }
    Plan {
        format: FORMAT,
        from: observed.unfinished.as_ref().map_or(observed.version, |run| run.from),
        to,
        direction,
        possible: possible(observed.version),
        checks: checks::checks(observed, to, direction, now),
        steps,
        nodes: observed.nodes.clone(),
        etcd: observed.etcd.clone(),
        certificates: observed.certificates.clone(),
        deprecated: observed.deprecated.clone(),
        unfinished: observed.unfinished.clone(),
    }
}

fn part(state: &crate::observed::PartState) -> Option<Step> {
    if state.changes.is_empty() && state.unsettled.is_none() {
        return None;
    }
    let moves = state.image != state.wanted_image;
    Some(Step::Part {
        part: state.part,
        from: state.image.clone().filter(|_| moves),
        to: state.wanted_image.clone().filter(|_| moves),
        changes: state.changes.clone(),
        unsettled: state.unsettled.clone(),
    })
}

/// The kubelet's change, and what is done about the node's pods before and after it.
fn host(observed: &Observed, to: KubernetesVersion) -> Vec<Step> {
    let kubelet = kubelet(observed, to);
    let node = || observed.node.clone();
    let drain = (observed.drain.asked && kubelet.is_some())
        .then(|| Step::Drain { node: node(), pods: observed.drain.evict.clone() });
    let uncordon = (drain.is_some() || observed.drain.cordoned).then(|| Step::Uncordon { node: node() });
    [drain, kubelet, uncordon].into_iter().flatten().collect()
}

fn kubelet(observed: &Observed, to: KubernetesVersion) -> Option<Step> {
    let from = observed.nodes.iter().find(|n| n.name == observed.node).and_then(|n| n.kubelet);
    let step = Step::Kubelet { node: observed.node.clone(), from, to, actions: observed.host.clone() };
    (!observed.host.is_empty()).then_some(step)
}

/// The minors that are one step away and known.
fn possible(version: KubernetesVersion) -> Vec<String> {
    let known = KubernetesVersion::SUPPORTED_MINORS.into_iter();
    known.filter(|minor| minor.abs_diff(version.minor()) <= 1).map(|minor| format!("1.{minor}")).collect()
}
