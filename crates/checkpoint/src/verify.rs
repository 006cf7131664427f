//! What a kubelet would refuse in the manifest of a checkpoint.
//!
//! The API has accepted the pod that it was made from. So it is enough to look at references to the API and at
//! what a copy changes: names, volumes, mounts, ports.

use std::collections::BTreeSet;

use objects::{items, pod, text};
use serde_json::Value;

/// A kubelet reads no longer file (pkg/kubelet/config/common.go, `maxConfigLength`).
const MAX_LENGTH: usize = 10 << 20;

/// Every reason for which a kubelet would refuse this manifest; empty when it takes it.
pub fn manifest_problems(pod: &Value) -> Vec<String> {
    let mut problems = assets::static_pod_problems(pod);
    let length = pod.to_string().len();
    if length > MAX_LENGTH {
        problems.push(format!("it is {length} bytes long, and a kubelet reads {MAX_LENGTH} at most"));
    }
    if pod["spec"]["hostNetwork"] != true {
        problems.push("it does not use the host's network".to_owned());
    }
    let volumes = check_volumes(pod, &mut problems);
    for container in pod::containers(pod) {
        check_container(container, &volumes, &mut problems);
    }
    problems
}

/// The names of all volumes.
fn check_volumes<'a>(pod: &'a Value, problems: &mut Vec<String>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for volume in pod::volumes(pod) {
        let name = text(&volume["name"]);
        if !names.insert(name) {
            problems.push(format!("two volumes have the name {name}"));
        }
        if let Some(path) = volume["hostPath"]["path"].as_str()
            && (path.is_empty() || path.split('/').any(|part| part == ".."))
        {
            problems.push(format!("volume {name}: {path:?} is no path that a kubelet takes"));
        }
    }
    names
}

fn check_container(container: &Value, volumes: &BTreeSet<&str>, problems: &mut Vec<String>) {
    let name = text(&container["name"]);
    if name.is_empty() {
        problems.push("a container has no name".to_owned());
    }
    if text(&container["image"]).is_empty() {
        problems.push(format!("container {name} has no image"));
    }
    let mut paths = BTreeSet::new();
    for mount in items(&container["volumeMounts"]) {
        let (volume, path) = (text(&mount["name"]), text(&mount["mountPath"]));
        if !volumes.contains(volume) {
            problems.push(format!("container {name} mounts {volume}, and there is no such volume"));
        }
        if path.is_empty() || !paths.insert(path) {
            problems.push(format!("container {name}: nothing or two things are mounted at {path:?}"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        for kind in ["httpGet", "tcpSocket"] {
            if container[probe][kind]["port"].is_string() {
                problems.push(format!("container {name}: {probe} names its port, and there are no names"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
            "hostNetwork": true,
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}})
    }

    #[test]
    fn a_whole_manifest_is_fine_and_each_fault_is_told() {
        assert_eq!(manifest_problems(&pod()), Vec::<String>::new());
        let changes: [(&str, Value); 7] = [
            ("/spec/hostNetwork", json!(false)),
            ("/spec/volumes/0/name", json!("other")),
            ("/spec/volumes/0/hostPath/path", json!("/a/../b")),
            ("/spec/volumes/0", json!({"name": "v", "secret": {"secretName": "s"}})),
            ("/spec/containers/0/image", json!("")),
            ("/spec/containers/0/name", json!("")),
            ("/metadata/name", json!("")),
        ];
        for (pointer, value) in changes {
            let mut changed = pod();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_eq!(manifest_problems(&changed).len(), 1, "{pointer}");
        }
        let mut twice = pod();
        let mount = twice["spec"]["containers"][0]["volumeMounts"][0].clone();
        twice["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
        twice["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"port": "https"}});
        assert_eq!(manifest_problems(&twice).len(), 2);
    }

    #[test]
    fn a_manifest_longer_than_a_kubelet_reads_is_refused() {
        let mut long = pod();
        long["spec"]["containers"][0]["args"] = json!(["x".repeat(MAX_LENGTH)]);
        assert_eq!(manifest_problems(&long).len(), 1);
    }
}
