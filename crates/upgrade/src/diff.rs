//! What would change in an object, as the paths of fields. The API itself says what would come of an
//! apply (a dry run), so that defaults and other owners' fields are as they would be.

use serde::Serialize;
use serde_json::Value;

/// What happens to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Which object.
    pub object: objects::ObjectRef,
    /// Whether it is not there yet.
    pub new: bool,
    /// The fields that change, sorted; of a new object none is named.
    pub fields: Vec<Field>,
}

/// A field that changes. Its values are left out of objects that hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Where it is: `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What it is now; none when it is new, or secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What it will be; none when it goes, or is secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// Fields of `metadata` that the API moves by itself, and `status`, which belongs to controllers.
const OF_THE_API: [&str; 6] =
    ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];
/// Annotations that controllers write.
const OF_CONTROLLERS: [&str; 2] =
    [names::annotation::DEPLOYMENT_REVISION, names::annotation::DAEMONSET_GENERATION];

/// An object without what the API and controllers write by themselves.
pub(crate) fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(map) = object.as_object_mut() else { return object };
    map.remove("status");
    if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !OF_THE_API.contains(&key.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !OF_CONTROLLERS.contains(&key.as_str()));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// What leads from the object that is there to the one that would be; `None` when nothing does.
pub(crate) fn change(live: Option<&Value>, wanted: &Value) -> Option<Change> {
    let object = objects::ObjectRef::of(wanted);
    let Some(live) = live else { return Some(Change { object, new: true, fields: Vec::new() }) };
    let mut fields = Vec::new();
    compare("", &essence(live), &essence(wanted), &mut fields);
    if fields.is_empty() {
        return None;
    }
    if object.kind == "Secret" {
        for field in &mut fields {
            (field.from, field.to) = (None, None);
        }
    }
    Some(Change { object, new: false, fields })
}

fn compare(path: &str, from: &Value, to: &Value, fields: &mut Vec<Field>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let path = join(path, key);
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&path, old, new, fields),
                    (old, new) => fields.push(Field { path, from: old.cloned(), to: new.cloned() }),
                }
            }
        }
        // Flags and the like: which came and which went says more than positions do.
        (Value::Array(old), Value::Array(new)) if is_text(old) && is_text(new) => {
            let gone = old.iter().filter(|item| !new.contains(item));
            let come = new.iter().filter(|item| !old.contains(item));
            let before = fields.len();
            fields.extend(gone.map(|item| field(path, Some(item), None)));
            fields.extend(come.map(|item| field(path, None, Some(item))));
            if fields.len() == before {
                fields.push(field(path, Some(from), Some(to)));
            }
        }
        // A file in a ConfigMap: its lines as if they were a list.
        (Value::String(old), Value::String(new)) if is_lines(old) && is_lines(new) => {
            let lines = |text: &str| Value::Array(text.lines().map(Value::from).collect());
            compare(path, &lines(old), &lines(new), fields);
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (n, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{n}]"), old, new, fields);
            }
        }
        _ => fields.push(field(path, Some(from), Some(to))),
    }
}

fn is_lines(text: &str) -> bool {
    text.lines().nth(1).is_some()
}

fn is_text(items: &[Value]) -> bool {
    items.iter().all(Value::is_string)
}

fn field(path: &str, from: Option<&Value>, to: Option<&Value>) -> Field {
    Field { path: path.to_owned(), from: from.cloned(), to: to.cloned() }
}

fn join(path: &str, key: &str) -> String {
    // A key with a dot in it (annotations, files) would read as a path.
    match (path.is_empty(), key.contains('.')) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}[{key}]"),
        (false, false) => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, rest: &Value) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": "x", "resourceVersion": "1", "managedFields": [{}]}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    }

    #[test]
    fn what_the_api_moves_is_no_change() {
        let old = object("DaemonSet", &json!({"spec": {"a": 1}, "status": {"ready": 1}}));
        let mut new = object("DaemonSet", &json!({"spec": {"a": 1}, "status": {"ready": 2}}));
        new["metadata"]["resourceVersion"] = json!("2");
        new["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "3"});
        assert_eq!(change(Some(&old), &new), None);
    }

    #[test]
    fn fields_are_named_and_flags_are_told_one_by_one() {
        let spec =
            |image: &str, args: Value| json!({"spec": {"containers": [{"image": image, "args": args}]}});
        let old = object("Pod", &spec("a:1", json!(["--x=1", "--y"])));
        let new = object("Pod", &spec("a:2", json!(["--x=2", "--y"])));
        let change = change(Some(&old), &new).unwrap();
        let shown: Vec<_> = change.fields.iter().map(|f| (f.path.as_str(), &f.from, &f.to)).collect();
        assert_eq!(
            shown,
            [
                ("spec.containers[0].args", &Some(json!("--x=1")), &None),
                ("spec.containers[0].args", &None, &Some(json!("--x=2"))),
                ("spec.containers[0].image", &Some(json!("a:1")), &Some(json!("a:2"))),
            ]
        );
    }

    #[test]
    fn of_a_file_only_the_lines_that_change_are_told() {
        let old = object("ConfigMap", &json!({"data": {"f": "a: 1\nb: 2\n"}}));
        let new = object("ConfigMap", &json!({"data": {"f": "a: 1\nb: 3\n"}}));
        let change = change(Some(&old), &new).unwrap();
        let told = |from: Option<&str>, to: Option<&str>| Field {
            path: "data.f".into(),
            from: from.map(Value::from),
            to: to.map(Value::from),
        };
        assert_eq!(change.fields, [told(Some("b: 2"), None), told(None, Some("b: 3"))]);
    }

    #[test]
    fn secrets_are_named_and_not_shown() {
        let old = object("Secret", &json!({"data": {"apiserver.crt": "b2xk"}}));
        let new = object("Secret", &json!({"data": {"apiserver.crt": "bmV3"}}));
        let change = change(Some(&old), &new).unwrap();
        assert_eq!(change.fields, [Field { path: "data[apiserver.crt]".into(), from: None, to: None }]);
    }

    #[test]
    fn a_missing_object_is_new() {
        assert!(change(None, &object("ConfigMap", &json!({}))).unwrap().new);
    }
}
