//! Files of ConfigMaps reach pods that run, but few programs read them again. So a workload
//! whose files change gets their digest into its pod template, and rolls out like any other change.

use names::annotation::INPUTS;
use objects::pod;
use serde_json::{Value, json};

/// The digest of what a workload reads among these objects; `None` when it reads none of them.
pub(crate) fn digest(workload: &Value, objects: &[Value]) -> Option<String> {
    let wanted = pod::config_maps(workload);
    let of_ours = |object: &&Value| {
        object["kind"] == "ConfigMap"
            && wanted.contains(objects::name(object))
            && object["metadata"]["namespace"] == workload["metadata"]["namespace"]
    };
    let content = |object: &Value| {
        json!([object["kind"], object["metadata"]["name"], object["data"], object["binaryData"]]).to_string()
    };
    let mut contents: Vec<String> = objects.iter().filter(of_ours).map(content).collect();
    if contents.is_empty() {
        return None;
    }
    contents.sort();
    Some(node::sha256_hex(contents.join("\n").as_bytes())[..16].to_owned())
}

/// Puts the digest into a workload that is to be applied: when its files differ from what they were before
/// the upgrade (`before` and `after` are all objects of its part, as they were and as they will be), or
/// when the live one has a digest already.
pub(crate) fn stamp(workload: &mut Value, live: Option<&Value>, before: &[Value], after: &[Value]) {
    let Some(digest_after) = digest(workload, after) else { return };
    let stamped = live.is_some_and(|live| at(live).is_some());
    let changes = live.is_some() && digest(workload, before).as_ref() != Some(&digest_after);
    if !stamped && !changes {
        return;
    }
    let annotations = &mut workload["spec"]["template"]["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[INPUTS] = json!(digest_after);
}

fn at(workload: &Value) -> Option<&str> {
    workload["spec"]["template"]["metadata"]["annotations"][INPUTS].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Value {
        json!({"kind": "DaemonSet", "metadata": {"name": "a", "namespace": "n"}, "spec": {"template": {"spec":
            {"volumes": [{"name": "s", "projected": {"sources": [{"configMap": {"name": "a"}}]}}, {"name": "c", "configMap": {"name": "c"}}]}}}})
    }

    fn config_map(value: &str) -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": value}})
    }

    fn stamped(live: &Value, before: &[Value], after: &[Value]) -> Option<String> {
        let mut new = workload();
        stamp(&mut new, Some(live), before, after);
        at(&new).map(str::to_owned)
    }

    #[test]
    fn only_changed_files_roll_a_workload_out() {
        assert_eq!(stamped(&workload(), &[config_map("1")], &[config_map("1")]), None);
        assert!(stamped(&workload(), &[config_map("1")], &[config_map("2")]).is_some());
    }

    #[test]
    fn a_digest_that_is_there_stays_and_follows_the_files() {
        let mut live = workload();
        stamp(&mut live, Some(&workload()), &[config_map("1")], &[config_map("2")]);
        let first = at(&live).unwrap().to_owned();
        assert_eq!(stamped(&live, &[config_map("2")], &[config_map("2")]), Some(first.clone()));
        assert_ne!(stamped(&live, &[config_map("2")], &[config_map("3")]), Some(first));
    }

    #[test]
    fn others_files_do_not_count() {
        let other =
            json!({"kind": "ConfigMap", "metadata": {"name": "b", "namespace": "n"}, "data": {"k": "1"}});
        assert_eq!(stamped(&workload(), &[], &[other]), None);
    }
}
