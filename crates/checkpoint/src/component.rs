//! What a checkpoint is of: the key of a component, read from a pod that the API made.

use std::fmt;

use names::annotation::{BOOTKUBE_CHECKPOINT, CHECKPOINT, CONFIG_MIRROR};
use names::label::{CONTROLLER_REVISION_HASH, POD_TEMPLATE_HASH};
use objects::text;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Between namespace and name in file names; neither may hold one.
const SEPARATOR: char = '_';
/// Ends the name of every copy.
const SUFFIX: &str = "-checkpoint";

/// The key of a component: all pods of one parent on this node are the same component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component {
    /// Its namespace.
    pub namespace: String,
    /// The name of what made its pods; see [`Component::of`].
    pub name: String,
}

impl Component {
    /// The component that a pod is of; `None` when the pod has no name or no namespace.
    ///
    /// Named after the controller: a Deployment's pods go by the ReplicaSet's name without the template's hash, a
    /// StatefulSet's pods each by their own name, as do those that nobody controls and the images of static ones.
    pub fn of(pod: &Value) -> Option<Self> {
        let metadata = &pod["metadata"];
        let pod_name = objects::name(pod);
        let name =
            match objects::owner::controller(pod).map(|owner| (text(&owner["kind"]), text(&owner["name"]))) {
                Some(("ReplicaSet", name)) => {
                    let hash = text(&metadata["labels"][POD_TEMPLATE_HASH]);
                    name.strip_suffix(hash).and_then(|rest| rest.strip_suffix('-')).unwrap_or(name)
                }
                None | Some(("StatefulSet" | "Node", _)) => pod_name,
                Some((_, name)) => name,
            };
        let namespace = text(&metadata["namespace"]);
        let whole = ![pod_name, namespace, name].contains(&"");
        whole.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Whether it is this one of Kubernetes' own.
    pub fn is(&self, name: &str) -> bool {
        self.namespace == names::object::KUBE_SYSTEM && self.name == name
    }

    /// The name of its directory: `<namespace>_<name>`.
    pub fn dir_name(&self) -> String {
        format!("{}{SEPARATOR}{}", self.namespace, self.name)
    }

    /// The way back from [`Component::dir_name`].
    pub fn from_dir_name(name: &str) -> Option<Self> {
        let (namespace, name) = name.split_once(SEPARATOR)?;
        let whole = !namespace.is_empty() && !namespace.starts_with('.') && !name.is_empty();
        whole.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The name of a copy, to which the generation's is added, and by the kubelet that of the node.
    pub fn static_pod_name(&self) -> String {
        format!("{}{SUFFIX}", self.name)
    }

    /// The name of the copy's file in the static pod directory.
    pub fn file_name(&self) -> String {
        format!("{}{SUFFIX}.yaml", self.dir_name())
    }

    /// The way back from [`Component::file_name`].
    pub fn from_file_name(name: &str) -> Option<Self> {
        Self::from_dir_name(name.strip_suffix(".yaml")?.strip_suffix(SUFFIX)?)
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What makes a component's pods: where a generation comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// `DaemonSet`, `Deployment` or `StatefulSet`.
    pub kind: String,
    /// Its UID: one of the same name that was made later has another.
    pub uid: String,
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.uid)
    }
}

/// A pod of the API that a generation is a copy of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourcePod {
    /// Its UID.
    pub uid: Option<String>,
    /// Its revision; see [`revision`].
    pub revision: Option<String>,
    /// What made it; none where that is not known.
    pub parent: Option<Parent>,
}

/// The kinds whose pods are components.
const PARENTS: [&str; 3] = ["DaemonSet", "ReplicaSet", "StatefulSet"];

/// True when a pod asks for checkpoints and a controller made it. One that somebody made by hand is kept by nobody: it
/// could take any component's name, and would come back for ever when it was deleted.
pub fn wants_checkpoint(pod: &Value) -> bool {
    let annotations = &pod["metadata"]["annotations"];
    let asks = [CHECKPOINT, BOOTKUBE_CHECKPOINT].iter().any(|name| annotations[*name] == "true");
    let made = objects::owner::controller(pod).is_some_and(|owner| PARENTS.contains(&text(&owner["kind"])));
    asks && made && !is_mirror(pod)
}

/// True when a pod of the API is only the image of a static one.
pub fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][CONFIG_MIRROR].is_null()
}

/// Which revision of its parent a pod is of: the label that the controller gave it.
pub fn revision(pod: &Value) -> Option<String> {
    let labels = &pod["metadata"]["labels"];
    let label = [CONTROLLER_REVISION_HASH, POD_TEMPLATE_HASH].map(|name| text(&labels[name]));
    label.into_iter().find(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(pod: &str, owner: Option<(&str, &str)>) -> String {
        let owners: Vec<Value> = owner
            .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true}))
            .into_iter()
            .collect();
        let pod = json!({"metadata": {"name": pod, "namespace": "kube-system", "ownerReferences": owners,
            "labels": {"pod-template-hash": "5d4b7c"}}});
        Component::of(&pod).unwrap().to_string()
    }

    #[test]
    fn a_component_is_named_after_what_made_its_pods() {
        assert_eq!(
            named("kube-apiserver-x7x2v", Some(("DaemonSet", "kube-apiserver"))),
            "kube-system/kube-apiserver"
        );
        assert_eq!(
            named("kube-scheduler-5d4b7c-abcde", Some(("ReplicaSet", "kube-scheduler-5d4b7c"))),
            "kube-system/kube-scheduler"
        );
        assert_eq!(named("a-5d4b7c-abcde", Some(("ReplicaSet", "other"))), "kube-system/other");
        assert_eq!(named("etcd-0", Some(("StatefulSet", "etcd"))), "kube-system/etcd-0");
        assert_eq!(named("etcd-node-a", Some(("Node", "node-a"))), "kube-system/etcd-node-a");
        assert_eq!(named("alone", None), "kube-system/alone");
        assert_eq!(Component::of(&json!({"metadata": {"name": "a"}})), None);
    }

    #[test]
    fn names_lead_back() {
        let component = Component { namespace: "kube-system".into(), name: "kube-apiserver".into() };
        assert_eq!(component.file_name(), "kube-system_kube-apiserver-checkpoint.yaml");
        assert_eq!(Component::from_file_name(&component.file_name()), Some(component.clone()));
        assert_eq!(Component::from_dir_name(&component.dir_name()), Some(component));
        assert_eq!(Component::from_dir_name(".new_x"), None);
        assert_eq!(Component::from_file_name("etcd.yaml"), None);
    }

    #[test]
    fn pods_ask_with_either_annotation_and_mirrors_do_not_count() {
        let owners = json!([{"kind": "DaemonSet", "name": "a", "controller": true}]);
        let pod =
            |annotations: Value| json!({"metadata": {"annotations": annotations, "ownerReferences": owners}});
        assert!(wants_checkpoint(&pod(json!({CHECKPOINT: "true"}))));
        assert!(wants_checkpoint(&pod(json!({BOOTKUBE_CHECKPOINT: "true"}))));
        assert!(!wants_checkpoint(&pod(json!({CHECKPOINT: "false"}))));
        assert!(!wants_checkpoint(&pod(json!({CHECKPOINT: "true", CONFIG_MIRROR: "x"}))));
        assert!(!wants_checkpoint(&json!({})));
        // Nobody's, a node's, or one whose controller is another.
        let asks = json!({CHECKPOINT: "true"});
        for owners in [
            json!([]),
            json!([{"kind": "Node", "name": "n", "controller": true}]),
            json!([{"kind": "DaemonSet", "name": "a"}]),
        ] {
            let pod = json!({"metadata": {"annotations": asks, "ownerReferences": owners}});
            assert!(!wants_checkpoint(&pod), "{owners}");
        }
    }
}
