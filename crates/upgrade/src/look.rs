//! Looks at a cluster and at this node, and compares both with a target.

use std::collections::BTreeMap;
use std::path::Path;

use names::label;
use objects::{pod, readiness};
use serde_json::Value;

use crate::before::{Before, StateDir};
use crate::compare;
use crate::error::UpgradeError;
use crate::lifecycle;
use crate::node_files;
use crate::observed::{CertificateState, ImageState, NodeState, Observed};
use crate::part::Part;
use crate::sight::Sight;
use crate::target::{self, Target};
use crate::tools::Tools;

/// What was found.
pub struct Looked {
    /// The cluster, compared with the target.
    pub observed: Observed,
    /// The objects of each part as they are to be applied.
    pub(crate) wanted: Wanted,
    /// Objects that would change, as they are.
    pub(crate) live: Vec<(Part, String, Option<Value>)>,
    /// What would be done to this node.
    pub(crate) host: node::plan::Plan,
    pub(crate) before: Option<Before>,
}

type Wanted = BTreeMap<Part, Vec<apply::Object>>;

impl Sight {
    /// Looks at everything.
    pub(crate) async fn look(&self, target: &Target, state: &StateDir) -> Result<Looked, UpgradeError> {
        let before = state.read()?;
        let compared = compare::compare(self, &target.tree, before.as_ref()).await?;
        let host = target.host_plan()?;
        let tools = Tools { target, state, before: before.as_ref() };
        let said = tools.ask(&compared, !host.is_empty())?;
        let compare::Compared { parts, wanted, live } = compared;
        let version = parts.iter().find(|p| p.part == Part::KubeApiserver).and_then(|p| p.version);
        let metrics = self.api.text("/metrics").await?;
        let observed = Observed {
            node: self.node.clone(),
            version: version.unwrap_or_else(|| target.version()),
            parts,
            nodes: self.nodes().await?,
            host: host.actions.iter().map(ToString::to_string).collect(),
            keys: node_files::changed(target).iter().map(|file| file.path.display().to_string()).collect(),
            drain: self.drain_state(target.drain, before.as_ref()).await?,
            etcd: said.etcd,
            certificates: certificates(target),
            deprecated: lifecycle::deprecated(&metrics),
            unreadable: self.unreadable(target).await?,
            flags: said.flags,
            images: self.images(target, &wanted).await?,
            gate_kept: self.gate_kept(&wanted).await?,
            assets: changed_assets(target)?,
            unfinished: before.as_ref().map(Before::state),
            causes: self.causes().await,
        };
        Ok(Looked { observed, wanted, live, host, before })
    }

    async fn nodes(&self) -> Result<Vec<NodeState>, UpgradeError> {
        let nodes = self.api.list("/api/v1/nodes", "Node").await?;
        let state = |node: &Value| NodeState {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            kubelet: node["status"]["nodeInfo"]["kubeletVersion"].as_str().and_then(|v| v.parse().ok()),
            ready: readiness::is_ready(node),
            control_plane: node["metadata"]["labels"].get(label::CONTROL_PLANE_NODE).is_some(),
            schedulable: node["spec"]["unschedulable"] != true,
        };
        Ok(nodes.iter().map(state).collect())
    }

    async fn unreadable(&self, target: &Target) -> Result<Vec<String>, UpgradeError> {
        let mut found = Vec::new();
        for path in lifecycle::unreadable_in(target.version()) {
            if !self.api.list(&format!("{path}?limit=1"), "").await?.is_empty() {
                found.push(path);
            }
        }
        Ok(found)
    }

    async fn images(&self, target: &Target, wanted: &Wanted) -> Result<ImageState, UpgradeError> {
        let mut state = ImageState::default();
        if let Some(bundle) = &target.bundle {
            state.import = node::images::plan_images(&target.root, bundle)?.import;
        }
        for image in target::images(wanted.values().flatten().map(|o| &o.value)) {
            let bundled = target.bundle.as_ref().is_some_and(|bundle| bundle.has_image(&image));
            if !bundled && !self.runtime.image_present(&image).await? {
                state.missing.push(image);
            }
        }
        if pod::always_pulls(wanted.values().flatten().map(|o| &o.value)) {
            let images = target::images(wanted.values().flatten().map(|o| &o.value));
            state.unpullable = self.runtime.unpullable(images).await;
        }
        Ok(state)
    }

    async fn gate_kept(&self, wanted: &Wanted) -> Result<Option<bool>, UpgradeError> {
        let gated = wanted.get(&Part::KubeApiserver).into_iter().flatten().any(|object| {
            let gates = objects::items(&pod::spec(&object.value)["readinessGates"]);
            gates.iter().any(|gate| gate["conditionType"] == names::condition::SERVING)
        });
        if !gated {
            return Ok(None);
        }
        Ok(Some(!self.guardians().await?.is_empty()))
    }
}

fn changed_assets(target: &Target) -> Result<Vec<String>, UpgradeError> {
    let changes = target.tree.diff(&target.asset_dir).map_err(|error| match error {
        assets::TreeError::Fs(error) => UpgradeError::Fs(error),
        other @ assets::TreeError::NotOurs { .. } => {
            UpgradeError::Unfinished { path: target.asset_dir.clone(), reason: other.to_string() }
        }
    })?;
    Ok(changes.into_iter().map(|change| change.path).collect())
}

fn certificates(target: &Target) -> Vec<CertificateState> {
    let mut states = Vec::new();
    for (path, file) in
        target.tree.iter().filter(|(path, _)| Path::new(path).extension() == Some("crt".as_ref()))
    {
        let new = String::from_utf8_lossy(&file.content).into_owned();
        let old = host::fs::read_to_string(&target.asset_dir.join(path)).ok();
        let Ok(info) = pki::inspect(old.as_deref().unwrap_or(&new)) else { continue };
        let renewed = old.is_some_and(|old| old != new);
        states.push(CertificateState { path: path.to_owned(), not_after: info.not_after, renewed });
    }
    states
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
