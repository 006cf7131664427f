//! Nodes as the API has them: one that is gone, and labels with other values than the control plane asks for.

use std::collections::BTreeSet;

use checks::kind;
use names::label::CONTROL_PLANE_NODE;
use objects::{name, pod};
use serde_json::Value;

use crate::cause::Cause;
use crate::seen::Seen;

/// What is wrong with Node objects. `here` is the node that this runs on, if it is one of the control plane.
pub(crate) fn find(seen: &Seen, here: Option<&str>) -> Vec<Cause> {
    let Some(nodes) = &seen.nodes else { return Vec::new() };
    let missing = here.filter(|here| !nodes.iter().any(|node| name(node) == *here)).map(gone);
    let labels = nodes.iter().filter_map(|node| label(node, &wanted(seen), Some(name(node)) == here));
    missing.into_iter().chain(labels).collect()
}

/// A kubelet registers once, when it starts: it asks no more when that is done (`registrationCompleted` in
/// pkg/kubelet/kubelet_node_status.go), and its label is not one that it may give itself.
fn gone(here: &str) -> Cause {
    let what = format!(
        "the API has no Node {here}: its kubelet registers only when it starts, and meanwhile no pod but the static ones \
         runs here"
    );
    let remedy = format!(
        "`kubestrap up` or `kubestrap start` brings it back; by hand: systemctl restart kubelet, then kubectl label node \
         {here} {CONTROL_PLANE_NODE}="
    );
    Cause::new(kind::NODE_OBJECT.of(here), format!("Node {here}"), what, remedy)
}

/// The values of the control plane's label that DaemonSets of `kube-system` want.
fn wanted(seen: &Seen) -> BTreeSet<&str> {
    let selectors = seen.daemonsets.iter().map(|set| &pod::spec(set)["nodeSelector"][CONTROL_PLANE_NODE]);
    selectors.filter_map(Value::as_str).collect()
}

fn label(node: &Value, wanted: &BTreeSet<&str>, here: bool) -> Option<Cause> {
    let (node_name, value) = (name(node), node["metadata"]["labels"][CONTROL_PLANE_NODE].as_str());
    // Nobody asks for it, or several ask for several: somebody else's assets.
    let (Some(first), 1) = (wanted.first(), wanted.len()) else { return None };
    let what = match value {
        Some(value) if value == *first => return None,
        Some(value) => format!(
            "label {CONTROL_PLANE_NODE} of node {node_name} is `{value}`, and the control plane's DaemonSets want {}: they \
             have no pod there",
            if first.is_empty() { "it empty".to_owned() } else { format!("`{first}`") }
        ),
        None if here => format!(
            "node {node_name} has no label {CONTROL_PLANE_NODE}: the control plane's DaemonSets have no pod there, and what \
             serves are copies"
        ),
        None => return None,
    };
    let remedy = format!("kubectl label --overwrite node {node_name} {CONTROL_PLANE_NODE}={first}");
    Some(Cause::new(kind::NODE_OBJECT.of(node_name), format!("Node {node_name}"), what, remedy))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, label: Option<&str>) -> Value {
        let mut node = json!({"metadata": {"name": name, "labels": {}}});
        if let Some(value) = label {
            node["metadata"]["labels"][CONTROL_PLANE_NODE] = json!(value);
        }
        node
    }

    fn told(nodes: Vec<Value>) -> Vec<String> {
        let daemonset = json!({"kind": "DaemonSet",
            "spec": {"template": {"spec": {"nodeSelector": {CONTROL_PLANE_NODE: ""}}}}});
        let seen = Seen { nodes: Some(nodes), daemonsets: vec![daemonset], ..Seen::default() };
        find(&seen, Some("a")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_that_is_gone_is_told_with_what_brings_it_back() {
        assert_eq!(
            told(vec![node("b", Some(""))]),
            [
                "the API has no Node a: its kubelet registers only when it starts, and meanwhile no pod but the static ones runs \
              here; `kubestrap up` or `kubestrap start` brings it back; by hand: systemctl restart kubelet, then kubectl \
              label node a node-role.kubernetes.io/control-plane="
            ]
        );
        assert!(find(&Seen::default(), Some("a")).is_empty(), "nobody knows of any node");
    }

    #[test]
    fn a_label_with_another_value_is_told_of_every_node_and_a_lost_one_of_this() {
        assert!(told(vec![node("a", Some("")), node("worker", None)]).is_empty());
        let other = told(vec![node("a", Some("")), node("b", Some("true"))]).pop().unwrap();
        assert_eq!(
            other,
            "label node-role.kubernetes.io/control-plane of node b is `true`, and the control plane's DaemonSets want it \
             empty: they have no pod there; kubectl label --overwrite node b node-role.kubernetes.io/control-plane="
        );
        let lost = told(vec![node("a", None)]).pop().unwrap();
        assert!(lost.starts_with("node a has no label") && lost.contains("copies"), "{lost}");
    }
}
