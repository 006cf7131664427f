//! Which pods of the self-hosted control plane are ready on this node, each by its identity: an
//! owner that exists (by UID), the node it is on, and the very containers that the runtime runs
//! now. A pod's `Ready` alone is not believed: after a power cut it is a memory of the time before.

use std::collections::{HashMap, HashSet};

use cri::{ContainerState, Cri, Filter};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde::Serialize;

use crate::error::StartError;
use crate::required::RequiredPod;

/// How one required pod stands on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The requirement.
    pub required: String,
    /// The pod that fulfils it, or the nearest to it.
    pub pod: Option<PodIdentity>,
    /// What is still missing; `None` when it is ready.
    pub missing: Option<String>,
}

/// A pod that cannot be taken for another one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Standing {
    /// True when the requirement is met.
    pub fn ready(&self) -> bool {
        self.missing.is_none()
    }
}

/// Looks at all required pods at once.
///
/// # Errors
/// When the API or the runtime does not answer.
pub(crate) async fn look(
    client: &Client,
    runtime: &Cri,
    node: &str,
    required: &[RequiredPod],
) -> Result<Vec<Standing>, StartError> {
    let running: HashSet<String> = runtime
        .containers(Filter::all())
        .await?
        .into_iter()
        .filter(|c| c.state == ContainerState::Running)
        .map(|c| c.id)
        .collect();
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&on_node).await?.items;
    let mut owners = Owners { client, known: HashMap::new() };
    let mut standings = Vec::new();
    for requirement in required {
        standings.push(standing(requirement, &pods, &running, &mut owners).await?);
    }
    Ok(standings)
}

/// The requirements for which a copy from a checkpoint runs on this node.
///
/// # Errors
/// When the runtime does not answer.
pub(crate) async fn copies(runtime: &Cri, required: &[RequiredPod]) -> Result<Vec<String>, StartError> {
    let containers = runtime.containers(Filter::all()).await?;
    let running: HashSet<_> =
        containers.iter().filter(|c| c.state == ContainerState::Running).map(|c| c.pod_id.as_str()).collect();
    let mut pods = runtime.sandboxes(Filter::all()).await?;
    pods.retain(|pod| {
        pod.labels.contains_key(names::label::CHECKPOINT_OF) && running.contains(pod.id.as_str())
    });
    let has_copy = |r: &&RequiredPod| pods.iter().any(|pod| r.matches(&pod.namespace, &pod.name));
    Ok(required.iter().filter(has_copy).map(|r| r.description.clone()).collect())
}

/// The pods of a namespace that are not ready, each with what it lacks.
///
/// # Errors
/// When the API does not answer.
pub async fn unready_pods(client: &Client, namespace: &str) -> Result<Vec<String>, StartError> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
    let ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        conditions.into_iter().any(|c| c.type_ == names::condition::READY && c.status == "True")
    };
    let unready = pods.items.iter().filter(|pod| !ready(pod));
    Ok(unready.map(|pod| format!("{}: {}", pod.name_any(), unready_reason(pod))).collect())
}

fn unready_reason(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "unknown".to_owned() };
    let waiting = status.container_statuses.iter().flatten().find_map(|c| c.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.clone()).or_else(|| status.phase.clone());
    reason.unwrap_or_else(|| "not ready".to_owned())
}

async fn standing(
    required: &RequiredPod,
    pods: &[Pod],
    running: &HashSet<String>,
    owners: &mut Owners<'_>,
) -> Result<Standing, StartError> {
    let mut best = Standing {
        required: required.description.clone(),
        pod: None,
        missing: Some("no pod of it is on this node yet".to_owned()),
    };
    for pod in pods {
        let namespace = pod.namespace().unwrap_or_default();
        if !required.matches(&namespace, &pod.name_any())
            || pod.annotations().contains_key(names::annotation::CONFIG_MIRROR)
        {
            continue;
        }
        let missing = match what_is_missing(pod, running) {
            Some(missing) => Some(missing),
            None => owners.missing(pod, &namespace).await?,
        };
        let ready = missing.is_none();
        let pod = PodIdentity { namespace, name: pod.name_any(), uid: pod.uid().unwrap_or_default() };
        best = Standing { pod: Some(pod), missing, ..best };
        if ready {
            break;
        }
    }
    Ok(best)
}

/// What keeps a pod from being ready, as the API and the runtime see it; `None` when nothing does.
fn what_is_missing(pod: &Pod, running: &HashSet<String>) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("the pod is being deleted".to_owned());
    }
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    for container in containers {
        if let Some(waiting) = container.state.as_ref().and_then(|s| s.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or("waiting");
            let message = waiting.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
            return Some(format!("container {}: {reason}{message}", container.name));
        }
        let id = container.container_id.as_deref().unwrap_or_default();
        let id = id.rsplit('/').next().unwrap_or_default();
        if !running.contains(id) {
            return Some(format!("container {} does not run", container.name));
        }
    }
    let ready =
        status.conditions.iter().flatten().any(|c| c.type_ == names::condition::READY && c.status == "True");
    if !ready || containers.is_empty() {
        let phase = status.phase.as_deref().unwrap_or("Pending");
        return Some(format!("the pod is {phase} and not Ready"));
    }
    None
}

/// Owners that were looked up, so that each is asked for once.
struct Owners<'a> {
    client: &'a Client,
    known: HashMap<String, bool>,
}

impl Owners<'_> {
    async fn missing(&mut self, pod: &Pod, namespace: &str) -> Result<Option<String>, StartError> {
        let owner = pod.owner_references().iter().find(|o| o.controller == Some(true));
        let Some(owner) = owner else {
            return Ok(Some("the pod belongs to no controller".to_owned()));
        };
        if !self.known.contains_key(&owner.uid) {
            let exists = self.exists(owner, namespace).await?;
            self.known.insert(owner.uid.clone(), exists);
        }
        let gone = format!("its {} {} of that UID is gone", owner.kind, owner.name);
        Ok((!self.known[&owner.uid]).then_some(gone))
    }

    async fn exists(&self, owner: &OwnerReference, namespace: &str) -> Result<bool, StartError> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        Ok(api.get_opt(&owner.name).await?.is_some_and(|o| o.uid().as_deref() == Some(&owner.uid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ready: &str, container: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "kube-apiserver-x", "namespace": "kube-system", "uid": "u"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [container],
            }
        }))
        .unwrap()
    }

    fn container(id: &str) -> serde_json::Value {
        json!({"name": "c", "containerID": format!("containerd://{id}"), "image": "i", "imageID": "i",
            "ready": true, "restartCount": 0, "state": {"running": {}}})
    }

    #[test]
    fn a_ready_pod_whose_container_does_not_run_is_a_memory_of_before_the_power_cut() {
        let running = HashSet::from(["new".to_owned()]);
        assert_eq!(what_is_missing(&pod("True", container("new")), &running), None);
        let missing = what_is_missing(&pod("True", container("old")), &running).unwrap();
        assert_eq!(missing, "container c does not run");
    }

    #[test]
    fn a_waiting_container_is_named_with_its_reason() {
        let waiting = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}});
        let missing = what_is_missing(&pod("False", waiting), &HashSet::new()).unwrap();
        assert_eq!(missing, "container c: ErrImagePull: no such host");
    }

    #[test]
    fn a_pod_that_runs_is_not_ready_before_it_says_so_nor_without_containers() {
        let running = HashSet::from(["new".to_owned()]);
        let missing = what_is_missing(&pod("False", container("new")), &running).unwrap();
        assert_eq!(missing, "the pod is Running and not Ready");
        let mut empty = pod("True", container("new"));
        empty.status.as_mut().unwrap().container_statuses = None;
        assert_eq!(what_is_missing(&empty, &running).unwrap(), "the pod is Running and not Ready");
    }

    /// The API with one DaemonSet, whose UID is `now`.
    fn api() -> Client {
        let answer = |request: http::Request<kube::client::Body>| async move {
            assert_eq!(
                request.uri().path(),
                "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-apiserver"
            );
            let daemonset = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": {"name": "kube-apiserver", "namespace": "kube-system", "uid": "now"}});
            let body = kube::client::Body::from(daemonset.to_string().into_bytes());
            Ok::<_, tower::BoxError>(http::Response::new(body))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn a_ready_pod_counts_when_its_owner_is_the_one_that_exists() {
        let required: RequiredPod = "kube-system/kube-apiserver".parse().unwrap();
        let (client, running) = (api(), HashSet::from(["new".to_owned()]));
        let of = |uid: &str| {
            let mut pod = pod("True", container("new"));
            let owner = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kube-apiserver",
                "uid": uid, "controller": true}]);
            pod.metadata.owner_references = serde_json::from_value(owner).unwrap();
            pod
        };
        let mut mirror = of("now");
        mirror.metadata.annotations =
            Some([(names::annotation::CONFIG_MIRROR.to_owned(), "x".to_owned())].into());
        let nobodys = pod("True", container("new"));
        let cases = [
            (of("now"), None),
            (of("before"), Some("its DaemonSet kube-apiserver of that UID is gone")),
            (nobodys, Some("the pod belongs to no controller")),
            (mirror, Some("no pod of it is on this node yet")),
        ];
        for (pod, missing) in cases {
            let mut owners = Owners { client: &client, known: HashMap::new() };
            let found = standing(&required, &[pod], &running, &mut owners).await.unwrap();
            assert_eq!(found.missing.as_deref(), missing);
        }
    }
}
