//! The checkpoints of our own control plane, file by file, against golden files. A change there is to be read
//! like code: `UPDATE_GOLDEN=1 cargo test --release -p checkpoint --test golden` writes them anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use assets::{AssetTree, Given, RenderInput, parse_documents, render};
use checkpoint::{Checkpoint, Kind, Store, Tree};
use cluster::ClusterConfig;
use common::{Kubelet, UID, now};
use pki::NodeIdentity;
use serde_json::{Value, json};

fn check(name: &str, text: &str) {
    golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name), text);
}

fn rendered() -> Vec<Value> {
    let input = RenderInput {
        node: NodeIdentity {
            name: "node-a".to_owned(),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10))],
        },
        given: Given::default(),
        existing: None,
        upstream_dns: true,
        now: now(),
    };
    let tree: AssetTree = render(&ClusterConfig::default(), input).unwrap();
    let manifests = tree.iter().filter(|(path, _)| path.starts_with("manifests/kube-"));
    let texts = manifests.map(|(_, file)| String::from_utf8(file.content.clone()).unwrap());
    texts.flat_map(|text| parse_documents(&text).unwrap()).map(|document| document.value).collect()
}

fn find<'a>(objects: &'a [Value], kinds: &[&str], name: &str) -> &'a Value {
    let is_it = |object: &&Value| {
        kinds.contains(&object["kind"].as_str().unwrap()) && object["metadata"]["name"] == name
    };
    objects.iter().find(is_it).unwrap()
}

/// The pod that the controllers make of a workload, with what the API adds to it.
fn pod_of(workload: &Value) -> Value {
    let name = workload["metadata"]["name"].as_str().unwrap();
    let template = &workload["spec"]["template"];
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
    let (owner, parent) = match workload["kind"].as_str().unwrap() {
        "DaemonSet" => ("DaemonSet", name.to_owned()),
        _ => ("ReplicaSet", format!("{name}-5d4b7c9f66")),
    };
    let metadata = &mut pod["metadata"];
    metadata["namespace"] = "kube-system".into();
    metadata["name"] = format!("{name}-x7x2v").into();
    metadata["uid"] = UID.into();
    metadata["labels"]["pod-template-hash"] = "5d4b7c9f66".into();
    metadata["ownerReferences"] = json!([{"kind": owner, "name": parent, "controller": true}]);
    let spec = &mut pod["spec"];
    for (field, value) in [
        ("nodeName", json!("node-a")),
        ("schedulerName", json!("default-scheduler")),
        ("serviceAccount", json!("default")),
        ("serviceAccountName", json!("default")),
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("priority", json!(2_000_001_000)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        spec[field] = value;
    }
    pod
}

/// What the kubelet makes of a pod's volumes of ConfigMaps; all else lies on the host.
fn materialise(kubelet: &Kubelet, pod: &Value, objects: &[Value]) {
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let data = find(objects, &["ConfigMap"], name)["data"].as_object().unwrap();
        let files: Vec<common::Content<'_>> = data
            .iter()
            .map(|(key, text)| (key.as_str(), text.as_str().unwrap().as_bytes(), 0o644, 0, 0))
            .collect();
        kubelet.write("kubernetes.io~configmap", volume["name"].as_str().unwrap(), &files);
    }
}

/// The manifest as a kubelet gets it, and each file with its mode and owner.
fn text_of(checkpoint: &Checkpoint) -> String {
    let root = tempfile::tempdir().unwrap();
    let store = Store::view(root.path(), std::path::Path::new("/var/lib/kubestrap/checkpoints"));
    let generation = store.write(checkpoint, now()).unwrap();
    assert_eq!(store.check(&generation), []);
    let manifest = generation.manifest().unwrap();
    assert_eq!(assets::static_pod_problems(&manifest), Vec::<String>::new());
    let mut lines = vec![serde_json::to_string_pretty(&manifest).unwrap()];
    for (volume, tree) in &checkpoint.files {
        for entry in tree.entries() {
            let slash = if entry.kind == Kind::Dir && !entry.path.is_empty() { "/" } else { "" };
            lines
                .push(format!("{volume}/{}{slash} {:o} {}:{}", entry.path, entry.mode, entry.uid, entry.gid));
        }
    }
    // Keys are new each time, and so is what is made of them.
    let id = generation.id.to_string();
    lines.join("\n").replace(&id, "000001-<digest>") + "\n"
}

fn check_component(name: &str) {
    let objects = rendered();
    let pod = pod_of(find(&objects, &["DaemonSet", "Deployment"], name));
    let kubelet = Kubelet::new();
    materialise(&kubelet, &pod, &objects);
    let checkpoint: Checkpoint = kubelet.checkpoint(&pod);
    // A copy holds no key: it refers to the directory that the pod refers to.
    assert!(checkpoint.files.keys().all(|volume| volume == "config"), "{:?}", checkpoint.files.keys());
    for entry in checkpoint.files.values().flat_map(Tree::entries) {
        assert!(entry.mode & 0o004 != 0, "{entry:?}");
    }
    check(&format!("{name}.txt"), &text_of(&checkpoint));
}

#[test]
fn kube_apiserver() {
    check_component("kube-apiserver");
}

#[test]
fn kube_controller_manager() {
    check_component("kube-controller-manager");
}

#[test]
fn kube_scheduler() {
    check_component("kube-scheduler");
}

#[test]
fn two_pods_of_one_revision_have_one_digest() {
    let objects = rendered();
    let first = pod_of(find(&objects, &["DaemonSet"], "kube-apiserver"));
    let mut second = first.clone();
    second["metadata"]["name"] = "kube-apiserver-abcde".into();
    second["metadata"]["resourceVersion"] = "77".into();
    second["spec"]["nodeName"] = "node-b".into();
    second["status"] = json!({"phase": "Running"});
    let kubelet = Kubelet::new();
    materialise(&kubelet, &first, &objects);
    assert_eq!(kubelet.checkpoint(&first).digest, kubelet.checkpoint(&second).digest);
}
