//! Who made an object: names say nothing about that, UIDs do.

use serde_json::Value;

use crate::{ObjectRef, items, text};

/// The owner that made the object and keeps it: its `ownerReferences` entry.
pub fn controller(object: &Value) -> Option<&Value> {
    items(&object["metadata"]["ownerReferences"]).iter().find(|owner| owner["controller"] == true)
}

/// The UID of the object's controller.
pub fn controller_uid(object: &Value) -> Option<&str> {
    controller(object)?["uid"].as_str()
}

/// The object that an entry of `ownerReferences` means; an owner is in the namespace of what it owns.
pub fn reference(owner: &Value, namespace: &str) -> ObjectRef {
    ObjectRef {
        api_version: text(&owner["apiVersion"]).to_owned(),
        kind: text(&owner["kind"]).to_owned(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: text(&owner["name"]).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_several_owners_the_controller_counts() {
        let owner = |uid: &str, controller: bool| json!({"uid": uid, "controller": controller});
        let pod = json!({"metadata": {"ownerReferences": [owner("a", false), owner("b", true)]}});
        assert_eq!(controller_uid(&pod), Some("b"));
        assert!(controller(&json!({})).is_none());
    }
}
