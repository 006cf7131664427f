//! What the kubelet refuses in a static pod: anything that would need the API.
//!
//! The rules are those of `HasAPIObjectReference` (pkg/api/pod/util.go, feature gate
//! `PreventStaticPodAPIReferences`, on since Kubernetes 1.34) and of the kubelet's own file source.

use serde_json::Value;

use objects::{items, text};

/// Volumes that need no API object.
const VOLUMES: [&str; 4] = ["hostPath", "emptyDir", "downwardAPI", "image"];
/// Volumes that name an API object, with what they name.
const REFERENCES: [(&str, &str); 7] = [
    ("secret", "a Secret"),
    ("configMap", "a ConfigMap"),
    ("persistentVolumeClaim", "a PersistentVolumeClaim"),
    ("ephemeral", "a PersistentVolumeClaim"),
    ("csi", "a CSI driver"),
    ("glusterfs", "Endpoints"),
    ("azureFile", "a Secret"),
];
/// The lists of containers in a pod's spec.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Every reason for which a kubelet would refuse this pod as a static one; empty when it takes it.
pub fn static_pod_problems(pod: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if pod["kind"] != "Pod" || pod["apiVersion"] != "v1" {
        problems.push("it is not a v1 Pod".to_owned());
    }
    if text(&pod["metadata"]["name"]).is_empty() {
        problems.push("it has no name".to_owned());
    }
    let spec = &pod["spec"];
    for field in ["serviceAccountName", "serviceAccount"] {
        if !text(&spec[field]).is_empty() {
            problems.push(format!("{field} names the ServiceAccount {}", text(&spec[field])));
        }
    }
    if !items(&spec["imagePullSecrets"]).is_empty() {
        problems.push("imagePullSecrets names a Secret".to_owned());
    }
    if !items(&spec["resourceClaims"]).is_empty() {
        problems.push("resourceClaims names a ResourceClaim".to_owned());
    }
    if items(&spec["containers"]).is_empty() {
        problems.push("it has no containers".to_owned());
    }
    for list in CONTAINERS {
        for container in items(&spec[list]) {
            check_container(container, &mut problems);
        }
    }
    for volume in items(&spec["volumes"]) {
        check_volume(volume, &mut problems);
    }
    problems
}

fn check_container(container: &Value, problems: &mut Vec<String>) {
    let name = text(&container["name"]);
    for from in items(&container["envFrom"]) {
        for (field, kind) in [("secretRef", "a Secret"), ("configMapRef", "a ConfigMap")] {
            if !from[field].is_null() {
                problems.push(format!("container {name}: envFrom names {kind}"));
            }
        }
    }
    for env in items(&container["env"]) {
        for (field, kind) in [("secretKeyRef", "a Secret"), ("configMapKeyRef", "a ConfigMap")] {
            if !env["valueFrom"][field].is_null() {
                problems.push(format!("container {name}: env {} names {kind}", text(&env["name"])));
            }
        }
    }
}

fn check_volume(volume: &Value, problems: &mut Vec<String>) {
    let name = text(&volume["name"]);
    if let Some((_, kind)) = REFERENCES.iter().find(|(field, _)| !volume[*field].is_null()) {
        problems.push(format!("volume {name} names {kind}"));
    } else if !volume["projected"].is_null() {
        check_projected(name, &volume["projected"], problems);
    } else if !VOLUMES.iter().any(|field| !volume[*field].is_null()) {
        // The kubelet takes some old network volumes too; several of them name Secrets, none is of use here.
        problems.push(format!("volume {name} is of a kind that a static pod should not use"));
    }
}

fn check_projected(name: &str, projected: &Value, problems: &mut Vec<String>) {
    for source in items(&projected["sources"]) {
        let kind = source.as_object().and_then(|fields| fields.keys().find(|key| *key != "downwardAPI"));
        if let Some(kind) = kind {
            problems.push(format!("volume {name} projects a {kind}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems_of(spec: Value) -> Vec<String> {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
            "containers": [{"name": "c", "image": "i"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        static_pod_problems(&pod)
    }

    #[test]
    fn a_self_contained_pod_is_fine() {
        let volumes = json!({"volumes": [
            {"name": "h", "hostPath": {"path": "/x"}}, {"name": "e", "emptyDir": {}},
            {"name": "d", "projected": {"sources": [{"downwardAPI": {}}]}}]});
        assert_eq!(problems_of(volumes), Vec::<String>::new());
    }

    #[test]
    fn every_reference_is_found() {
        let c = |field: Value| json!({"containers": [field]});
        let v = |field: Value| json!({"volumes": [field]});
        for spec in [
            json!({"serviceAccountName": "x"}),
            json!({"imagePullSecrets": [{"name": "x"}]}),
            json!({"resourceClaims": [{"name": "x"}]}),
            json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "x"}}]}]}),
            c(json!({"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]})),
            c(json!({"name": "c", "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "x"}}}]})),
            c(json!({"name": "c", "env": [{"name": "e", "valueFrom": {"configMapKeyRef": {"name": "x"}}}]})),
            v(json!({"name": "v", "secret": {}})),
            v(json!({"name": "v", "configMap": {}})),
            v(json!({"name": "v", "persistentVolumeClaim": {}})),
            v(json!({"name": "v", "ephemeral": {}})),
            v(json!({"name": "v", "csi": {}})),
            v(json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {}}]}})),
            v(json!({"name": "v", "projected": {"sources": [{"secret": {}}]}})),
            v(json!({"name": "v", "projected": {"sources": [{"configMap": {}}]}})),
            v(json!({"name": "v", "projected": {"sources": [{"clusterTrustBundle": {}}]}})),
            v(json!({"name": "v", "projected": {"sources": [{"podCertificate": {}}]}})),
            v(json!({"name": "v"})),
        ] {
            assert_eq!(problems_of(spec.clone()).len(), 1, "{spec}");
        }
    }

    #[test]
    fn a_thing_that_is_no_pod_is_no_static_pod() {
        let problems = static_pod_problems(&json!({"kind": "Deployment"}));
        assert!(problems.contains(&"it is not a v1 Pod".to_owned()), "{problems:?}");
    }
}
