//! This node as the API has it. Pure.

use std::collections::BTreeMap;

use names::label::NODE_ROLE_PREFIX;
use serde::Serialize;
use serde_json::Value;

/// What the API has of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeObject {
    /// All of it, or it could not be asked.
    #[default]
    Whole,
    /// It is there without labels that it should have, or with other values: the labels' names.
    Unlabelled(Vec<String>),
    /// There is none.
    Gone,
}

impl NodeObject {
    /// What is to be done about it, a line each.
    pub(crate) fn actions(&self, node: &str) -> Vec<String> {
        let label = |labels: &str| format!("label node {node}: {labels}");
        match self {
            Self::Whole => Vec::new(),
            Self::Unlabelled(labels) => vec![label(&labels.join(", "))],
            Self::Gone => vec![
                format!(
                    "restart the kubelet: the API has no Node {node}, and a kubelet registers only when it starts"
                ),
                label("as a node of the control plane"),
            ],
        }
    }
}

/// What a Node object says, of which these labels are wanted.
pub(crate) fn standing(node: &Value, wanted: &BTreeMap<String, Option<String>>) -> NodeObject {
    let has = |label: &str, value: &str| node["metadata"]["labels"][label] == value;
    // Others are the administrator's once the node is made.
    let roles = wanted.iter().filter(|(label, _)| label.starts_with(NODE_ROLE_PREFIX));
    let lost = roles.filter(|(label, value)| !has(label, value.as_deref().unwrap_or_default()));
    let lost: Vec<_> = lost.map(|(label, _)| label.clone()).collect();
    if lost.is_empty() { NodeObject::Whole } else { NodeObject::Unlabelled(lost) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_a_role_count_by_their_values() {
        let role = "node-role.kubernetes.io/control-plane";
        let wanted =
            [(role, ""), ("mine", "")].map(|(label, value)| (label.to_owned(), Some(value.to_owned())));
        let wanted = BTreeMap::from(wanted);
        let of = |labels: Value| standing(&json!({"metadata": {"labels": labels}}), &wanted);
        assert_eq!(of(json!({role: ""})), NodeObject::Whole);
        for labels in [json!({}), json!({role: "true"}), json!(null)] {
            assert_eq!(of(labels), NodeObject::Unlabelled(vec![role.to_owned()]));
        }
    }
}
