//! Reading Kubernetes objects as JSON: the one place that knows where in them things stand. Pure.
//!
//! In: an object of a manifest or of an answer of the API, any field of which may be missing or of another
//! type. Out: parts of it, and what follows from them.
//!
//! ```text
//!            ┌─ pod        what makes pods, their containers, flags and volumes
//!            ├─ owner      who made it: its controller, by UID
//! object ────┼─ readiness  is it ready, and what is missing
//!            ├─ origin     from where a pod comes: the API, a checkpoint, a file
//!            └─ ObjectRef  which object it is, for people and for the API
//! ```

pub mod origin;
pub mod owner;
pub mod pod;
pub mod readiness;
mod reference;

pub use origin::Origin;
pub use reference::ObjectRef;

use serde_json::Value;

/// A string, empty when there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list, none when it is no list.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The object's name, empty when it has none.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// The object's namespace, empty when it has none.
pub fn namespace(object: &Value) -> &str {
    text(&object["metadata"]["namespace"])
}

/// The object's UID, empty when it has none: no API has made it yet.
pub fn uid(object: &Value) -> &str {
    text(&object["metadata"]["uid"])
}

/// Whether the object was told to end.
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Namespace and name, for people.
pub fn full_name(object: &Value) -> String {
    format!("{}/{}", namespace(object), name(object))
}

/// Whether a condition of the object's status is `True`; none when the status has no such condition.
pub fn condition(object: &Value, kind: &str) -> Option<bool> {
    let found = items(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == kind)?;
    Some(found["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_found_by_what_they_say() {
        let pod = json!({"status": {"conditions":
            [{"type": "Ready", "status": "Unknown"}, {"type": "Here", "status": "True"}]}});
        let conditions = ["Ready", "Here", "Other"].map(|kind| condition(&pod, kind));
        assert_eq!(conditions, [Some(false), Some(true), None]);
    }

    #[test]
    fn what_an_object_lacks_is_empty() {
        let null = Value::Null;
        assert_eq!((name(&null), uid(&json!({"metadata": 1}))), ("", ""));
        assert!(items(&json!({"a": 1})).is_empty() && !is_deleting(&null));
    }
}
