//! Files of Secrets and ConfigMaps reach pods that run, but few programs read them again. So a workload
//! whose files change gets their digest into its pod template, and rolls out like any other change.

use std::collections::BTreeSet;

use names::annotation::INPUTS;
use objects::pod;
use serde_json::{Value, json};

/// The names of Secrets and ConfigMaps whose content a workload's pods read, with their kinds.
fn references(workload: &Value) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    let mut add = |kind, name: &Value| {
        if let Some(name) = name.as_str() {
            found.insert((kind, name.to_owned()));
        }
    };
    for volume in pod::volumes(workload) {
        add("Secret", &volume["secret"]["secretName"]);
        add("ConfigMap", &volume["configMap"]["name"]);
        for source in objects::items(&volume["projected"]["sources"]) {
            add("Secret", &source["secret"]["name"]);
            add("ConfigMap", &source["configMap"]["name"]);
        }
    }
    found
}

/// The digest of what a workload reads among these objects; `None` when it reads none of them.
pub(crate) fn digest(workload: &Value, objects: &[Value]) -> Option<String> {
    let wanted = references(workload);
    let of_ours = |object: &&Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = &object["metadata"]["namespace"];
        wanted.iter().any(|(k, n)| *k == kind && n == name) && *namespace == workload["metadata"]["namespace"]
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
            {"volumes": [{"name": "s", "secret": {"secretName": "a"}}, {"name": "c", "configMap": {"name": "c"}}]}}}})
    }

    fn secret(value: &str) -> Value {
        json!({"kind": "Secret", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": value}})
    }

    fn stamped(live: &Value, before: &[Value], after: &[Value]) -> Option<String> {
        let mut new = workload();
        stamp(&mut new, Some(live), before, after);
        at(&new).map(str::to_owned)
    }

    #[test]
    fn only_changed_files_roll_a_workload_out() {
        assert_eq!(stamped(&workload(), &[secret("1")], &[secret("1")]), None);
        assert!(stamped(&workload(), &[secret("1")], &[secret("2")]).is_some());
    }

    #[test]
    fn a_digest_that_is_there_stays_and_follows_the_files() {
        let mut live = workload();
        stamp(&mut live, Some(&workload()), &[secret("1")], &[secret("2")]);
        let first = at(&live).unwrap().to_owned();
        assert_eq!(stamped(&live, &[secret("2")], &[secret("2")]), Some(first.clone()));
        assert_ne!(stamped(&live, &[secret("2")], &[secret("3")]), Some(first));
    }

    #[test]
    fn others_files_do_not_count() {
        let other =
            json!({"kind": "Secret", "metadata": {"name": "b", "namespace": "n"}, "data": {"k": "1"}});
        assert_eq!(stamped(&workload(), &[], &[other]), None);
    }
}
