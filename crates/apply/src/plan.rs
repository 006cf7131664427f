//! In which order objects are applied, and which cannot be applied at all. Pure: the cluster is not
//! asked.

use std::collections::HashMap;

use names::group::{ADMISSION, RBAC};
use objects::ObjectRef;
use serde::Serialize;
use serde_json::Value;

use crate::object::Object;
use crate::report::{Outcome, Rejection};

/// What must be there before what. Within a rank the order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Namespaces: nothing can be put into one that is not there.
    Namespaces,
    /// CustomResourceDefinitions: their kinds exist once they are Established.
    Definitions,
    /// What pods refer to and would be refused or delayed without.
    Foundations,
    /// Everything else.
    Workloads,
    /// What can refuse or divert requests: last, so that it cannot refuse the rest.
    Hooks,
}

impl Rank {
    /// The ranks in the order in which they are applied.
    pub const ALL: [Self; 5] =
        [Self::Namespaces, Self::Definitions, Self::Foundations, Self::Workloads, Self::Hooks];

    fn of(object: &ObjectRef) -> Self {
        match (object.group(), object.kind.as_str()) {
            ("", "Namespace") => Self::Namespaces,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Self::Definitions,
            ("", "ServiceAccount" | "Secret" | "ConfigMap" | "LimitRange" | "ResourceQuota")
            | (RBAC | "scheduling.k8s.io" | "node.k8s.io" | "storage.k8s.io", _) => Self::Foundations,
            (ADMISSION | "apiregistration.k8s.io", _) => Self::Hooks,
            _ => Self::Workloads,
        }
    }
}

/// One object of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// When it is applied.
    pub rank: Rank,
    /// Which object it is.
    pub object: ObjectRef,
    /// Where it is from.
    pub source: String,
    /// The object itself.
    #[serde(skip)]
    pub value: Value,
}

/// What would be applied, in order, and what is refused before the cluster is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// What is applied, sorted by rank.
    pub steps: Vec<Step>,
    /// What cannot be applied, and why.
    pub refused: Vec<Outcome>,
}

/// Sorts objects by rank, takes lists apart, and refuses what cannot be applied: objects without
/// apiVersion, kind or name, and the second of two that are the same object.
pub fn plan(objects: Vec<Object>) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    let mut refused = Vec::new();
    let mut seen: HashMap<(String, String, String, String), String> = HashMap::new();
    for Object { value, source } in objects.into_iter().flat_map(flatten) {
        let object = ObjectRef::of(&value);
        if let Some(error) = unfit(&object, &value) {
            refused.push(Outcome::refused(object, source, error));
            continue;
        }
        let key = (
            object.group().to_owned(),
            object.kind.clone(),
            object.namespace.clone().unwrap_or_default(),
            object.name.clone(),
        );
        if let Some(first) = seen.get(&key) {
            let error = Rejection::local("Duplicate", format!("the same object is also in {first}"));
            refused.push(Outcome::refused(object, source, error));
            continue;
        }
        seen.insert(key, source.clone());
        steps.push(Step { rank: Rank::of(&object), object, source, value });
    }
    // Stable: within a rank the order of the files stays.
    steps.sort_by_key(|step| step.rank);
    Plan { steps, refused }
}

/// The items of a `List` (or of a typed list such as `RoleBindingList`), or the object itself.
fn flatten(object: Object) -> Vec<Object> {
    let is_list = object.value.get("kind").and_then(Value::as_str).is_some_and(|k| k.ends_with("List"));
    let Some(Value::Array(items)) = object.value.get("items").filter(|_| is_list) else {
        return vec![object];
    };
    let item = |(n, value): (usize, &Value)| Object {
        value: value.clone(),
        source: format!("{} (item {})", object.source, n + 1),
    };
    items.iter().enumerate().map(item).flat_map(flatten).collect()
}

/// Why this is nothing that can be applied by name.
fn unfit(object: &ObjectRef, value: &Value) -> Option<Rejection> {
    let malformed = |message: &str| Some(Rejection::local("Malformed", message.to_owned()));
    if !value.is_object() {
        return malformed("not an object");
    }
    if object.api_version.is_empty() {
        return malformed("apiVersion is missing");
    }
    if object.kind.is_empty() {
        return malformed("kind is missing");
    }
    if object.name.is_empty() && value.pointer("/metadata/generateName").is_some() {
        return malformed("generateName cannot be applied again: give it a name");
    }
    if object.name.is_empty() {
        return malformed("metadata.name is missing");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(api_version: &str, kind: &str, name: &str) -> Object {
        let value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        Object::new(value, format!("{name}.yaml:1"))
    }

    #[test]
    fn sorts_by_rank_and_keeps_the_order_of_files_within() {
        let plan = plan(vec![
            object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "hook"),
            object("apps/v1", "DaemonSet", "b"),
            object("example.com/v1", "Widget", "a"),
            object("v1", "ConfigMap", "config"),
            object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com"),
            object("rbac.authorization.k8s.io/v1", "ClusterRole", "role"),
            object("v1", "Namespace", "ns"),
        ]);
        let names: Vec<_> = plan.steps.iter().map(|s| s.object.name.as_str()).collect();
        assert_eq!(names, ["ns", "widgets.example.com", "config", "role", "b", "a", "hook"]);
        assert!(plan.refused.is_empty());
    }

    #[test]
    fn takes_lists_apart() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one", "namespace": "kube-system"}},
            {"apiVersion": "v1", "kind": "ConfigMapList", "items": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}},
            ]},
        ]});
        let plan = plan(vec![Object::new(list, "all.yaml:3")]);
        let seen: Vec<_> = plan.steps.iter().map(|s| (s.object.to_string(), s.source.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("Secret kube-system/one".to_owned(), "all.yaml:3 (item 1)"),
                ("ConfigMap two".to_owned(), "all.yaml:3 (item 2) (item 1)"),
            ]
        );
    }

    #[test]
    fn refuses_what_has_no_name_of_its_own() {
        let nameless = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}});
        let kindless = json!({"apiVersion": "v1", "metadata": {"name": "x"}});
        let plan = plan(vec![
            Object::new(nameless, "a.yaml:1"),
            Object::new(kindless, "b.yaml:1"),
            Object::new(json!("text"), "c.yaml:1"),
            object("v1", "ConfigMap", "same"),
            object("v1", "ConfigMap", "same"),
        ]);
        assert_eq!(plan.steps.len(), 1);
        let messages: Vec<_> =
            plan.refused.iter().filter_map(|o| o.error.as_ref()).map(|e| e.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "generateName cannot be applied again: give it a name",
                "kind is missing",
                "not an object",
                "the same object is also in same.yaml:1"
            ]
        );
    }
}
