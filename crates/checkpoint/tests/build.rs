//! From pods to checkpoints: what comes along, what stays behind, and which pods can have none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;

use checkpoint::{BuildError, Checkpoint, Environment, Inputs, build, parse_environment, read_volumes};
use common::{Kubelet, images, pod, running};
use serde_json::{Value, json};

fn built_with(
    kubelet: &Kubelet,
    pod: &Value,
    env: &BTreeMap<String, Environment>,
) -> Result<Checkpoint, BuildError> {
    let volumes = read_volumes(kubelet.host.path(), names::path::KUBELET.as_ref(), pod).unwrap_or_default();
    build(&Inputs { pod, volumes: &volumes, instance_env: env, images: &images() })
}

fn built(change: impl FnOnce(&mut Value)) -> Result<Checkpoint, BuildError> {
    let mut pod = pod();
    change(&mut pod);
    built_with(&running("key"), &pod, &BTreeMap::new())
}

fn refused(change: impl FnOnce(&mut Value)) -> BuildError {
    built(change).unwrap_err()
}

fn add_volume(pod: &mut Value, volume: Value) {
    pod["spec"]["volumes"].as_array_mut().unwrap().push(volume);
}

#[test]
fn what_only_the_api_knows_stays_behind() {
    let checkpoint = built(|pod| {
        pod["status"] = json!({"phase": "Running"});
        for (field, value) in [
            ("nodeSelector", json!({"a": "b"})),
            ("affinity", json!({})),
            ("schedulerName", json!("x")),
            ("serviceAccount", json!("default")),
            ("imagePullSecrets", json!([{"name": "pull"}])),
            ("readinessGates", json!([{"conditionType": "kubestrap.io/serving"}])),
            ("topologySpreadConstraints", json!([{}])),
            ("preemptionPolicy", json!("Never")),
            ("overhead", json!({"cpu": "1"})),
            ("ephemeralContainers", json!([{"name": "debug"}])),
            ("activeDeadlineSeconds", json!(5)),
            ("somethingOfTomorrow", json!({"secretRef": "x"})),
        ] {
            pod["spec"][field] = value;
        }
        pod["spec"]["containers"][0]["somethingOfTomorrow"] = json!(1);
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        add_volume(
            pod,
            json!({"name": "kube-api-access-x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
        );
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "kube-api-access-x", "mountPath": "/var/run/secrets"}));
    })
    .unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-checkpoint", "namespace": "kube-system",
            "labels": {"kubestrap.io/checkpoint-of": "web"}},
        "spec": {
            "hostNetwork": true, "restartPolicy": "Always",
            "priority": 2_000_001_000, "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "web:1", "args": ["--flag"],
                "imagePullPolicy": "IfNotPresent",
                "volumeMounts": [{"name": "keys", "mountPath": "/keys", "readOnly": true}]}],
            "volumes": [{"name": "keys", "hostPath": {"path": "files/keys", "type": "Directory"}}],
        },
    });
    assert_eq!(checkpoint.pod, expected);
}

#[test]
fn volumes_that_need_no_api_stay_as_they_are() {
    let kept = json!([
        {"name": "host", "hostPath": {"path": "/etc/ssl"}},
        {"name": "scratch", "emptyDir": {"medium": "Memory"}},
        {"name": "downward", "downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "projected", "projected": {"sources": [{"downwardAPI": {}}]}}]);
    let checkpoint = built(|pod| pod["spec"]["volumes"] = kept.clone());
    // The Secret's volume is gone, and its mount is still there.
    let Err(BuildError::Refused(problems)) = checkpoint else { panic!("{checkpoint:?}") };
    assert_eq!(problems, ["container main mounts keys, and there is no such volume"]);
    let image = json!({"name": "image", "image": {"reference": "r", "pullPolicy": "Always"}});
    let checkpoint = built(|pod| {
        kept.as_array().unwrap().iter().cloned().for_each(|volume| add_volume(pod, volume));
        add_volume(pod, image);
    })
    .unwrap();
    let volumes = checkpoint.pod["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes[1..5], kept.as_array().unwrap()[..]);
    assert_eq!(volumes[5]["image"]["pullPolicy"], "IfNotPresent");
    assert_eq!(checkpoint.files.keys().collect::<Vec<_>>(), ["keys"]);
}

#[test]
fn named_ports_become_numbers_and_ports_go() {
    let ports = json!([{"name": "https", "containerPort": 6443, "hostPort": 6443}]);
    let checkpoint = built(|pod| {
        let container = &mut pod["spec"]["containers"][0];
        container["ports"] = ports.clone();
        container["livenessProbe"] = json!({"httpGet": {"path": "/livez", "port": "https"}});
        container["readinessProbe"] = json!({"tcpSocket": {"port": 99}});
        container["lifecycle"] = json!({"preStop": {"httpGet": {"port": "8080"}}});
    })
    .unwrap();
    let container = &checkpoint.pod["spec"]["containers"][0];
    assert!(container.get("ports").is_none());
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": 6443}));
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 99);
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["port"], 8080);
    let error = refused(|pod| {
        pod["spec"]["containers"][0]["startupProbe"] = json!({"httpGet": {"port": "metrics"}});
    });
    assert_eq!(error.to_string(), "container main: no port has the name metrics");
}

#[test]
fn variables_of_secrets_become_values_and_change_the_digest() {
    let kubelet = running("key");
    let mut pod = pod();
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p"}}}]);
    let with = |text: &[u8]| {
        built_with(&kubelet, &pod, &BTreeMap::from([("main".to_owned(), parse_environment(text))]))
    };
    let (one, two) = (with(b"PASSWORD=one\0").unwrap(), with(b"PASSWORD=two\0").unwrap());
    assert_eq!(one.pod["spec"]["containers"][0]["env"], json!([{"name": "PASSWORD", "value": "one"}]));
    assert_ne!(one.digest, two.digest);
    assert_eq!(
        with(b"OTHER=1\0").unwrap_err(),
        BuildError::Variable { container: "main".into(), variable: "PASSWORD".into() }
    );
    let unknown = built_with(&kubelet, &pod, &BTreeMap::new()).unwrap_err();
    assert_eq!(unknown, BuildError::NoEnvironment { container: "main".into() });
    // Nothing of it is in what is printed for debugging.
    assert!(!format!("{one:?} {:?}", one.files).contains("one"), "{one:?}");
}

#[test]
fn pods_that_cannot_live_without_the_api_are_refused_with_the_reason() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 10] = [
        (|pod| pod["spec"]["hostNetwork"] = json!(false), "hostNetwork"),
        (|pod| pod["spec"]["runtimeClassName"] = json!("gvisor"), "RuntimeClass gvisor"),
        (|pod| pod["spec"]["resourceClaims"] = json!([{"name": "gpu"}]), "resourceClaims"),
        (|pod| pod["metadata"]["namespace"] = json!(""), "a namespace"),
        (|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!("x".repeat(64)), "63 characters"),
        (|pod| pod["spec"]["nodeName"] = json!("n".repeat(253)), "253 characters"),
        (
            |pod| add_volume(pod, json!({"name": "data", "persistentVolumeClaim": {"claimName": "c"}})),
            "volume data: a volume of kind persistentVolumeClaim",
        ),
        (
            |pod| add_volume(pod, json!({"name": "h", "hostPath": {"path": "files/keys"}})),
            "volume h: its path on the host does not begin with /",
        ),
        (
            |pod| add_volume(pod, json!({"name": "h", "hostPath": {"path": "/a/../../etc"}})),
            "volume h: \"/a/../../etc\" is no path",
        ),
        (|pod| pod["spec"]["containers"] = json!([]), "no containers"),
    ];
    for (change, expected) in cases {
        let error = refused(change).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let other = Kubelet::new();
    let error = built_with(&other, &pod(), &BTreeMap::new()).unwrap_err();
    assert_eq!(error, BuildError::VolumeNotRead { volume: "keys".into() });
}
