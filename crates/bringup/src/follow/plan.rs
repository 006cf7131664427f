//! What an object of the API has of a node's address, and how it is changed. Pure.

use std::net::IpAddr;

use assets::address::{Moved, exchanged};
use names::annotation::ADDRESS;
use objects::pod;
use serde_json::{Value, json};

/// Kinds whose objects are told where the API is, and can be told anew.
const KINDS: [&str; 3] = ["ConfigMap", "DaemonSet", "Deployment"];
/// Where a pod template has its containers.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// Whether an object has one of the addresses that nodes have now: as it is rendered, so that it has it for that reason.
pub(super) fn holds(rendered: &Value, moved: &[Moved]) -> bool {
    let back: Vec<Moved> = moved.iter().map(|moved| Moved { was: moved.is, is: moved.was }).collect();
    KINDS.contains(&objects::text(&rendered["kind"])) && change(rendered, &back).is_some()
}

/// The patch that puts the new addresses in the place of the old ones; none where nothing is to be changed. It fits this very
/// version of the object.
pub(super) fn change(live: &Value, moved: &[Moved]) -> Option<Value> {
    let mut patch = if live["kind"] == "ConfigMap" {
        let data = live["data"].as_object().into_iter().flatten();
        let changed: serde_json::Map<_, _> = data
            .filter_map(|(key, value)| Some((key.clone(), json!(exchanged(value.as_str()?, moved)?))))
            .collect();
        (!changed.is_empty())
            .then(|| json!({"metadata": {"annotations": {ADDRESS: of_now(moved)}}, "data": changed}))?
    } else {
        let spec = pod::spec(live);
        let changed: serde_json::Map<_, _> = CONTAINERS
            .iter()
            .filter_map(|list| Some(((*list).to_owned(), everywhere(&spec[*list], moved)?)))
            .collect();
        (!changed.is_empty()).then(|| json!({"spec": {"template": {"spec": changed}}}))?
    };
    patch["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
    Some(patch)
}

/// The addresses that are put in the place of others, as annotations have them.
pub(super) fn of_now(moved: &[Moved]) -> String {
    moved.iter().map(|moved| moved.is.to_string()).collect::<Vec<_>>().join(",")
}

/// A value with the addresses exchanged in all of its texts; none when there is none of them.
fn everywhere(value: &Value, moved: &[Moved]) -> Option<Value> {
    match value {
        Value::String(text) => {
            // Alone an IPv6 address has no brackets.
            let whole = text.parse::<IpAddr>().ok().and_then(|ip| moved.iter().find(|moved| moved.was == ip));
            whole.map(|moved| moved.is.to_string()).or_else(|| exchanged(text, moved)).map(Value::from)
        }
        Value::Array(items) => {
            let new: Vec<Option<Value>> = items.iter().map(|item| everywhere(item, moved)).collect();
            let changes = new.iter().any(Option::is_some);
            let all = new.into_iter().zip(items).map(|(new, old)| new.unwrap_or_else(|| old.clone()));
            changes.then(|| all.collect())
        }
        Value::Object(fields) => {
            let mut new = fields.clone();
            let mut changes = false;
            for (key, value) in fields {
                if let Some(value) = everywhere(value, moved) {
                    new.insert(key.clone(), value);
                    changes = true;
                }
            }
            changes.then_some(Value::Object(new))
        }
        _ => None,
    }
}

/// The patch that has a workload's pods started anew, since what they have read leads elsewhere by now: `read` are the
/// ConfigMaps of which its pods have files. None where they have been, and where no ConfigMap was ever changed.
pub(super) fn restart<'a>(live: &Value, read: impl IntoIterator<Item = &'a Value>) -> Option<Value> {
    let mut read = read.into_iter();
    let told = read.find_map(|map| map["metadata"]["annotations"][ADDRESS].as_str())?;
    started_with(live, told)
}

/// The patch that has a workload's pods started anew, unless they were started with this last.
pub(super) fn started_with(live: &Value, address: &str) -> Option<Value> {
    let known = &pod::template(live)?["metadata"]["annotations"][ADDRESS];
    (*known != address).then(|| {
        json!({
            "metadata": {"resourceVersion": live["metadata"]["resourceVersion"]},
            "spec": {"template": {"metadata": {"annotations": {ADDRESS: address}}}}
        })
    })
}

/// What a `DaemonSet`'s rollout lacks; none when all of its pods are of its newest template and Ready.
pub(super) fn lack(live: &Value) -> Option<String> {
    let status = |field: &str| live["status"][field].as_i64().unwrap_or_default();
    let name = objects::name(live);
    if status("observedGeneration") < live["metadata"]["generation"].as_i64().unwrap_or_default() {
        return Some(format!("{name}: its controller has not seen the change yet"));
    }
    let wanted = status("desiredNumberScheduled");
    let ready = status("updatedNumberScheduled").min(status("numberReady"));
    (ready < wanted).then(|| format!("{name}: {ready} of {wanted} new pods are ready"))
}

/// Whether the API's own Service still leads to one of the old addresses.
pub(super) fn leads_to_old(slice: &Value, moved: &[Moved]) -> bool {
    let endpoints = objects::items(&slice["endpoints"]).iter();
    let mut addresses = endpoints.flat_map(|endpoint| objects::items(&endpoint["addresses"]));
    addresses.any(|address| {
        address
            .as_str()
            .and_then(|ip| ip.parse::<IpAddr>().ok())
            .is_some_and(|ip| moved.iter().any(|m| m.was == ip))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved() -> Vec<Moved> {
        let of = |was: &str, is: &str| Moved { was: was.parse().unwrap(), is: is.parse().unwrap() };
        vec![of("10.0.0.1", "10.0.0.77"), of("fd89::1", "fd89::77")]
    }

    fn map() -> Value {
        json!({"kind": "ConfigMap", "metadata": {"name": "kube-proxy", "resourceVersion": "7"},
            "data": {"config.conf": "mode: x", "kubeconfig.conf": "server: https://10.0.0.1:6443 # mine"}})
    }

    fn daemon_set(env: &str) -> Value {
        json!({"kind": "DaemonSet", "metadata": {"name": "d", "resourceVersion": "8", "generation": 2},
            "spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": {
                "initContainers": [{"name": "i", "args": ["10.0.0.11"]}],
                "containers": [{"name": "c", "image": "kept:1", "env": [{"name": "HOST", "value": env}]}]}}}})
    }

    #[test]
    fn a_file_leads_to_the_new_address_and_keeps_what_else_was_changed() {
        assert_eq!(
            change(&map(), &moved()).unwrap(),
            json!({"metadata": {"resourceVersion": "7", "annotations": {ADDRESS: "10.0.0.77,fd89::77"}},
                "data": {"kubeconfig.conf": "server: https://10.0.0.77:6443 # mine"}})
        );
        let other = json!({"kind": "ConfigMap", "data": {"k": "https://k.lan:6443"}});
        assert_eq!(change(&other, &moved()), None);
    }

    #[test]
    fn a_variable_is_exchanged_whichever_family_it_is_of() {
        for (old, new) in [("10.0.0.1", "10.0.0.77"), ("fd89::1", "fd89::77")] {
            let patch = change(&daemon_set(old), &moved()).unwrap();
            let template = &patch["spec"]["template"]["spec"];
            assert_eq!(template["containers"][0]["env"][0]["value"], new);
            assert_eq!(
                (&template["containers"][0]["image"], &template["initContainers"]),
                (&json!("kept:1"), &json!(null))
            );
        }
        assert_eq!(change(&daemon_set("10.0.0.2"), &moved()), None);
    }

    #[test]
    fn what_holds_an_address_is_seen_by_what_is_rendered() {
        assert!(holds(&daemon_set("10.0.0.77"), &moved()));
        assert!(!holds(&daemon_set("10.0.0.1"), &moved()), "that of somebody's own manifest");
        let service = json!({"kind": "Service", "data": {"k": "10.0.0.77"}});
        assert!(!holds(&service, &moved()));
    }

    #[test]
    fn who_has_read_a_changed_file_is_started_anew_once() {
        let mut told = map();
        let live = daemon_set("x");
        assert_eq!(restart(&live, [&told]), None, "nothing was ever changed");
        told["metadata"]["annotations"][ADDRESS] = json!("10.0.0.77");
        let patch = restart(&live, [&map(), &told]).unwrap();
        assert_eq!(patch["spec"]["template"]["metadata"]["annotations"], json!({ADDRESS: "10.0.0.77"}));
        let mut started = live;
        started["spec"]["template"]["metadata"]["annotations"][ADDRESS] = json!("10.0.0.77");
        assert_eq!(restart(&started, [&told]), None);
    }

    #[test]
    fn a_rollout_is_over_when_all_of_its_new_pods_are_ready() {
        let mut set = daemon_set("x");
        assert_eq!(lack(&set).unwrap(), "d: its controller has not seen the change yet");
        set["status"] = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberReady": 2});
        assert_eq!(lack(&set).unwrap(), "d: 1 of 2 new pods are ready");
        set["status"]["updatedNumberScheduled"] = json!(2);
        assert_eq!(lack(&set), None);
    }

    #[test]
    fn the_api_s_service_is_read() {
        let slice = |ip: &str| json!({"endpoints": [{"addresses": ["10.0.0.5"]}, {"addresses": [ip]}]});
        assert!(leads_to_old(&slice("10.0.0.1"), &moved()));
        assert!(!leads_to_old(&slice("10.0.0.77"), &moved()));
    }
}
