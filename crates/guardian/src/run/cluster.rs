//! What the API says of this node: its pods and its labels, each reduced to what counts here.

use std::collections::{BTreeMap, BTreeSet};

use api::Change;
use checkpoint::Component;
use jiff::Timestamp;
use names::condition::{CONTAINERS_READY, READY, SERVING};
use names::{annotation, label, object};
use objects::items;
use serde_json::Value;

use super::parents::Maker;

/// A pod of this node.
#[derive(Debug, Clone)]
pub(crate) struct ApiPod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) created: Option<Timestamp>,
    /// It was told to end.
    pub(crate) deleting: bool,
    /// It has ended for good.
    pub(crate) over: bool,
    pub(crate) ready: bool,
    /// Ready but for its gates.
    pub(crate) containers_ready: bool,
    /// The guardian's condition; none where nobody has set it.
    pub(crate) serving: Option<bool>,
    /// Whether the pod waits for that condition.
    pub(crate) gated: bool,
    /// The containers that the kubelet told of last.
    pub(crate) containers: BTreeSet<String>,
    pub(crate) installer: bool,
    pub(crate) component: Component,
    pub(crate) revision: String,
    /// What it says has made it.
    pub(crate) maker: Option<Maker>,
    /// The UID of the static pod that this is the image of.
    pub(crate) mirror_of: Option<String>,
    /// All of it, when it asks for checkpoints.
    pub(crate) object: Option<Value>,
}

impl ApiPod {
    fn of(mut object: Value) -> Option<Self> {
        let component = Component::of(&object)?;
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("managedFields");
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let text = |value: &Value| objects::text(value).to_owned();
        let condition = |name: &str| objects::condition(&object, name);
        let mut pod = Self {
            uid: text(&metadata["uid"]),
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            version: text(&metadata["resourceVersion"]),
            created: metadata["creationTimestamp"].as_str().and_then(|time| time.parse().ok()),
            deleting: !metadata["deletionTimestamp"].is_null(),
            over: status["phase"] == "Failed" || status["phase"] == "Succeeded",
            ready: condition(READY) == Some(true),
            containers_ready: condition(CONTAINERS_READY) == Some(true),
            serving: condition(SERVING),
            gated: items(&object["spec"]["readinessGates"])
                .iter()
                .any(|gate| gate["conditionType"] == SERVING),
            containers: items(&status["containerStatuses"])
                .iter()
                .filter_map(|c| c["containerID"].as_str()?.rsplit('/').next().map(str::to_owned))
                .collect(),
            installer: metadata["labels"][label::APP] == object::GUARDIAN_INSTALLER,
            revision: checkpoint::revision(&object).unwrap_or_default(),
            maker: objects::owner::controller(&object)
                .map(|owner| Maker { name: text(&owner["name"]), uid: text(&owner["uid"]) }),
            mirror_of: metadata["annotations"][annotation::CONFIG_MIRROR].as_str().map(str::to_owned),
            component,
            object: None,
        };
        if checkpoint::wants_checkpoint(&object) {
            pod.object = Some(object);
        }
        (!pod.uid.is_empty()).then_some(pod)
    }

    /// Made by the API, and asks for checkpoints.
    pub(crate) fn is_wanted(&self) -> bool {
        self.object.is_some()
    }
}

/// All that the API says; what it said last where it does not answer now.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// By UID.
    pub(crate) pods: BTreeMap<String, ApiPod>,
    /// Whether that is how things stand now.
    pub(crate) pods_known: bool,
    /// Whether the node has the control-plane label; none when it is not known, or there is no node.
    control_plane: Option<bool>,
    node_known: bool,
}

impl Cluster {
    /// Takes in news of pods. Returns the components of which one came, went or was told to end.
    pub(crate) fn pods_changed(&mut self, change: Change) -> BTreeSet<Component> {
        let before = self.alive();
        match change {
            Change::All(objects) => {
                let pods = objects.into_iter().filter_map(ApiPod::of);
                self.pods = pods.map(|pod| (pod.uid.clone(), pod)).collect();
                self.pods_known = true;
            }
            Change::Set(object) => {
                if let Some(pod) = ApiPod::of(object) {
                    self.pods.insert(pod.uid.clone(), pod);
                }
            }
            Change::Gone(object) => {
                self.pods.remove(object["metadata"]["uid"].as_str().unwrap_or_default());
            }
            Change::Live => self.pods_known = true,
            Change::Lost => self.pods_known = false,
        }
        let after = self.alive();
        before.symmetric_difference(&after).map(|(_, component)| component.clone()).collect()
    }

    fn alive(&self) -> BTreeSet<(String, Component)> {
        let alive = self.pods.values().filter(|pod| pod.mirror_of.is_none() && !pod.deleting);
        alive.map(|pod| (pod.uid.clone(), pod.component.clone())).collect()
    }

    /// Takes in news of the node.
    pub(crate) fn node_changed(&mut self, change: Change) {
        let labelled = |node: &Value| !node["metadata"]["labels"][label::CONTROL_PLANE_NODE].is_null();
        match change {
            Change::All(objects) => {
                self.control_plane = objects.first().map(labelled);
                self.node_known = true;
            }
            Change::Set(object) => self.control_plane = Some(labelled(&object)),
            // A node that is gone comes back with its kubelet: that says nothing of its role.
            Change::Gone(_) => self.control_plane = None,
            Change::Live => self.node_known = true,
            Change::Lost => self.node_known = false,
        }
    }

    /// Whether this is a control-plane node.
    pub(crate) fn is_control_plane(&self) -> Option<bool> {
        self.control_plane.filter(|_| self.node_known)
    }

    /// The pod that the runtime knows by this UID: made by the API, or the image of a static one.
    pub(crate) fn pod(&self, uid: &str) -> Option<&ApiPod> {
        self.pods.get(uid).or_else(|| self.pods.values().find(|pod| pod.mirror_of.as_deref() == Some(uid)))
    }

    /// Those of a component that the API made.
    pub(crate) fn of<'a>(&'a self, component: &'a Component) -> impl Iterator<Item = &'a ApiPod> {
        self.pods.values().filter(move |pod| pod.mirror_of.is_none() && pod.component == *component)
    }

    /// Orders the revisions of a component: seconds from the epoch to the first pod of it that is here.
    /// The numbers of its ControllerRevisions would take a right more.
    pub(crate) fn revision_number(&self, pod: &ApiPod) -> u64 {
        let same = self.of(&pod.component).filter(|other| other.revision == pod.revision);
        let first = same.filter_map(|other| other.created).min();
        first.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0)
    }
}
