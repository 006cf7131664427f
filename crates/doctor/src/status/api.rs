//! What the API tells of the control plane.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{ApiError, Call, Client};
use checkpoint::Component;
use jiff::{SignedDuration, Timestamp};
use names::condition::CONTAINERS_READY;
use names::{annotation, component, label, object};
use objects::{Origin, pod, readiness};
use serde_json::Value;

use super::model::{Leader, PodStatus, image_version};
use crate::report::NodeReport;

/// How the state of a pod begins that is ready but for a readiness gate, whose name follows.
pub(super) const WAITS_FOR_GATE: &str = "waits for ";
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A node of the control plane as the API has it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether its kubelet reported that it is ready.
    pub ready: bool,
    /// Its kubelet's version, as that said last.
    pub kubelet: Option<String>,
    /// The control plane's pods on it.
    pub pods: Vec<PodStatus>,
    /// Its guardian's report, or why there is none.
    pub report: Result<NodeReport, String>,
}

/// The control plane as the API has it.
#[derive(Clone, Debug)]
pub struct ApiView {
    /// The API's version.
    pub version: String,
    /// Nodes with the control plane's label, and others that run pods of it.
    pub nodes: Vec<NodeView>,
    leases: Vec<Value>,
}

impl ApiView {
    /// Who leads.
    pub(super) fn leaders(&self, now: Timestamp) -> Vec<Leader> {
        self.leases.iter().map(|lease| leader(lease, now)).collect()
    }
}

/// Asks the API for all of it.
///
/// # Errors
/// [`ApiError`] when it does not answer, or refuses.
pub async fn gather(client: &Client) -> Result<ApiView, ApiError> {
    let version = get(client, "/version").await?;
    let pods = get(client, &format!("/api/v1/namespaces/{}/pods", object::KUBE_SYSTEM)).await?;
    let nodes = get(client, "/api/v1/nodes").await?;
    let mut leases = Vec::new();
    for name in component::LEADER_ELECTED {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{name}", object::KUBE_SYSTEM);
        // Nobody has led yet: that is no reason to say nothing of the rest.
        leases.extend(get(client, &path).await.ok());
    }
    let version = version["gitVersion"].as_str().unwrap_or_default().to_owned();
    Ok(view(version, objects::items(&pods["items"]), objects::items(&nodes["items"]), leases))
}

async fn get(client: &Client, path: &str) -> Result<Value, ApiError> {
    Call::get(path).object(client, LIMIT).await
}

pub(super) fn view(version: String, pods: &[Value], nodes: &[Value], leases: Vec<Value>) -> ApiView {
    let mut by_node: BTreeMap<&str, Vec<PodStatus>> = BTreeMap::new();
    for pod in pods {
        // One that has ended and that another one took the place of is nobody's problem.
        if readiness::has_ended(pod) && is_replaced(pod, pods) {
            continue;
        }
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if let Some(status) = pod_status(pod, node) {
            by_node.entry(node).or_default().push(status);
        }
    }
    let name = |node: &Value| node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let belongs = |node: &&Value| {
        !node["metadata"]["labels"][label::CONTROL_PLANE_NODE].is_null()
            || by_node.contains_key(name(node).as_str())
    };
    let nodes = nodes.iter().filter(belongs).map(|node| {
        let mut on_node = by_node.get(name(node).as_str()).cloned().unwrap_or_default();
        on_node.sort_by(|a, b| (&a.component, &a.pod).cmp(&(&b.component, &b.pod)));
        NodeView {
            ready: readiness::is_ready(node),
            kubelet: node["status"]["nodeInfo"]["kubeletVersion"].as_str().map(str::to_owned),
            report: report(pods, &name(node)),
            pods: on_node,
            name: name(node),
        }
    });
    ApiView { version, nodes: nodes.collect(), leases }
}

/// Whether its workload has another pod: a ReplicaSet of a later revision may have made it.
fn is_replaced(pod: &Value, pods: &[Value]) -> bool {
    let of_replicaset =
        |pod: &Value| objects::owner::controller(pod).is_some_and(|of| of["kind"] == "ReplicaSet");
    let lives = |other: &Value| {
        !readiness::has_ended(other) && of_replicaset(other) && Component::of(other) == Component::of(pod)
    };
    readiness::is_replaced(pod, pods) || (of_replicaset(pod) && pods.iter().any(lives))
}

/// A pod of the control plane; none for all others.
fn pod_status(pod: &Value, node: &str) -> Option<PodStatus> {
    let (metadata, name) = (&pod["metadata"], objects::name(pod));
    let static_name = || name.strip_suffix(&format!("-{node}")).unwrap_or(name);
    let wanted =
        || metadata["labels"][label::TIER] == label::CONTROL_PLANE_TIER || checkpoint::wants_checkpoint(pod);
    let source = Origin::of_object(pod);
    let component = match &source {
        Origin::Checkpoint { .. } => metadata["labels"][label::CHECKPOINT_OF].as_str()?.to_owned(),
        Origin::Temporary => static_name().trim_start_matches(object::TEMPORARY_PREFIX).to_owned(),
        _ if !wanted() => return None,
        Origin::Static => static_name().to_owned(),
        Origin::Api => Component::of(pod)?.name,
    };
    let statuses = readiness::container_statuses(pod).iter();
    let image = pod::containers(pod).last().and_then(|container| container["image"].as_str());
    Some(PodStatus {
        namespace: objects::namespace(pod).to_owned(),
        component,
        pod: name.to_owned(),
        source,
        version: image_version(image.unwrap_or_default()),
        state: state(pod),
        restarts: statuses.filter_map(|status| status["restartCount"].as_u64()).sum(),
        since: pod["status"]["startTime"].as_str().and_then(|time| time.parse().ok()),
    })
}

/// One word, and the reason where there is one.
fn state(pod: &Value) -> String {
    if objects::is_deleting(pod) {
        return "ending".to_owned();
    }
    if readiness::is_ready(pod) {
        return "ready".to_owned();
    }
    if let Some(gate) = closed_gate(pod).filter(|_| condition(pod, CONTAINERS_READY)) {
        return format!("{WAITS_FOR_GATE}{gate}");
    }
    let mut statuses = readiness::container_statuses(pod).iter();
    let waiting = statuses.find_map(|status| status["state"]["waiting"]["reason"].as_str());
    match (waiting, pod["status"]["phase"].as_str()) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some("Running")) => "not ready".to_owned(),
        (None, phase) => phase.unwrap_or("unknown").to_lowercase(),
    }
}

/// The first readiness gate that nobody has opened.
fn closed_gate(pod: &Value) -> Option<&str> {
    let gates = objects::items(&pod["spec"]["readinessGates"]).iter();
    gates.filter_map(|gate| gate["conditionType"].as_str()).find(|gate| !condition(pod, gate))
}

fn condition(object: &Value, kind: &str) -> bool {
    objects::condition(object, kind) == Some(true)
}

/// The newest report of a node: while an installer is replaced there may be two pods.
fn report(pods: &[Value], node: &str) -> Result<NodeReport, String> {
    let of_node = |pod: &&Value| {
        pod["metadata"]["labels"][label::APP] == object::GUARDIAN_INSTALLER
            && pod["spec"]["nodeName"].as_str() == Some(node)
    };
    let installers: Vec<_> = pods.iter().filter(of_node).collect();
    if installers.is_empty() {
        return Err(format!("no {} is installed on {node}", object::GUARDIAN));
    }
    let texts = installers
        .iter()
        .filter_map(|pod| pod["metadata"]["annotations"][annotation::GUARDIAN_REPORT].as_str());
    let reports: Vec<_> = texts.map(NodeReport::parse).collect();
    let mut why = "the guardian has not reported yet".to_owned();
    let mut newest: Option<NodeReport> = None;
    for report in reports {
        match report {
            Ok(report) if newest.as_ref().is_none_or(|newest| report.time > newest.time) => {
                newest = Some(report);
            }
            Ok(_) => {}
            Err(error) => why = host::error::chain(&error),
        }
    }
    newest.ok_or(why)
}

fn leader(lease: &Value, now: Timestamp) -> Leader {
    let spec = &lease["spec"];
    let renewed: Option<Timestamp> = spec["renewTime"].as_str().and_then(|time| time.parse().ok());
    let length = SignedDuration::from_secs(spec["leaseDurationSeconds"].as_i64().unwrap_or(15));
    let holder = spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty());
    Leader {
        component: objects::name(lease).to_owned(),
        holder: holder.map(str::to_owned),
        renewed,
        expired: renewed.is_none_or(|renewed| now.duration_since(renewed) > length),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, more: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "kube-system", "uid": name, "labels": {}, "annotations": {}},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "r/x:v1"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": 2}]}});
        merge(&mut pod, more);
        pod
    }

    fn merge(into: &mut Value, more: Value) {
        match more {
            Value::Object(map) if into.is_object() => {
                map.into_iter().for_each(|(key, value)| merge(&mut into[key], value));
            }
            other => *into = other,
        }
    }

    fn pods() -> Vec<Value> {
        let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
        let control_plane = json!({"tier": "control-plane"});
        vec![
            pod(
                "kube-apiserver-x1",
                json!({"metadata": {"labels": control_plane, "ownerReferences": owner("DaemonSet", "kube-apiserver")}}),
            ),
            pod(
                "kube-scheduler-5d-y2",
                json!({
                "metadata": {"labels": {"tier": "control-plane", "pod-template-hash": "5d"}, "ownerReferences": owner("ReplicaSet", "kube-scheduler-5d")},
                "status": {"conditions": [], "containerStatuses": [{"restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}}),
            ),
            pod(
                "kube-scheduler-checkpoint-a",
                json!({"metadata": {
                "labels": {"kubestrap.io/checkpoint-of": "kube-scheduler"},
                "annotations": {"kubestrap.io/generation": "000002-abc", "kubernetes.io/config.mirror": "h"}}}),
            ),
            pod(
                "etcd-a",
                json!({"metadata": {"labels": control_plane, "annotations": {"kubernetes.io/config.mirror": "h"}}}),
            ),
            pod(
                "bootstrap-kube-apiserver-a",
                json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}, "deletionTimestamp": "x"}}),
            ),
            // Its successor is above.
            pod(
                "kube-scheduler-5d-y1",
                json!({
                "metadata": {"labels": {"tier": "control-plane", "pod-template-hash": "5d"}, "ownerReferences": owner("ReplicaSet", "kube-scheduler-5d")},
                "status": {"phase": "Failed", "conditions": []}}),
            ),
            pod("coredns-1", json!({})),
            pod(
                "installer-1",
                json!({"metadata": {"labels": {"k8s-app": "kubestrap-guardian-installer"}, "annotations": {
                "kubestrap.io/guardian": r#"{"version":1,"node":"a","time":"2026-11-01T12:00:00Z","steering":{"on":true},"components":[]}"#}}}),
            ),
        ]
    }

    #[test]
    fn every_pod_has_its_source() {
        let node = json!({"metadata": {"name": "a", "labels": {label::CONTROL_PLANE_NODE: ""}}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let worker = json!({"metadata": {"name": "w", "labels": {}}});
        let silent = json!({"metadata": {"name": "b", "labels": {label::CONTROL_PLANE_NODE: ""}}});
        let view = view("v1".to_owned(), &pods(), &[node, worker, silent], Vec::new());
        assert_eq!(
            view.nodes.iter().map(|n| (n.name.as_str(), n.ready)).collect::<Vec<_>>(),
            [("a", true), ("b", false)]
        );
        let told: Vec<_> = view.nodes[0]
            .pods
            .iter()
            .map(|p| (p.component.as_str(), p.source.clone(), p.state.as_str(), p.restarts))
            .collect();
        assert_eq!(
            told,
            [
                ("etcd", Origin::Static, "ready", 2),
                ("kube-apiserver", Origin::Temporary, "ending", 2),
                ("kube-apiserver", Origin::Api, "ready", 2),
                ("kube-scheduler", Origin::Api, "CrashLoopBackOff", 7),
                ("kube-scheduler", Origin::Checkpoint { generation: "000002-abc".to_owned() }, "ready", 2),
            ]
        );
        assert!(view.nodes[0].report.as_ref().unwrap().steering.on);
        assert_eq!(view.nodes[1].report.as_ref().unwrap_err(), "no kubestrap-guardian is installed on b");
    }

    #[test]
    fn a_lease_that_ran_out_has_no_leader() {
        let lease = json!({"metadata": {"name": "kube-scheduler"}, "spec": {
            "holderIdentity": "a_1", "renewTime": "2026-11-01T12:00:00.000000Z", "leaseDurationSeconds": 15}});
        let at = |text: &str| leader(&lease, text.parse().unwrap());
        assert!(!at("2026-11-01T12:00:14Z").expired);
        assert!(at("2026-11-01T12:00:16Z").expired);
        assert_eq!(at("2026-11-01T12:00:16Z").holder.as_deref(), Some("a_1"));
        let released = json!({"metadata": {"name": "kube-scheduler"}, "spec": {"holderIdentity": ""}});
        assert_eq!(leader(&released, Timestamp::UNIX_EPOCH).holder, None);
    }

    #[test]
    fn a_kubelet_that_the_api_s_version_does_not_allow_is_told_with_its_node() {
        let node = |name: &str, kubelet: &str| {
            json!({"metadata": {"name": name, "labels": {label::CONTROL_PLANE_NODE: ""}},
                "status": {"nodeInfo": {"kubeletVersion": kubelet}}})
        };
        let nodes = [node("newer", "v1.37.2"), node("older", "v1.35.9")];
        let view = view("v1.36.3".to_owned(), &[], &nodes, Vec::new());
        let status = super::super::combine(&Ok(view), None, &[], Timestamp::UNIX_EPOCH);
        let mixed: Vec<_> = status.nodes.iter().map(|node| (node.name.as_str(), node.mixed.len())).collect();
        assert_eq!(mixed, [("newer", 1), ("older", 0)]);
    }
}
