//! Which pods of the self-hosted control plane are ready where they have to be, each by its identity: an
//! owner that exists (by UID), the node it is on, and on this node the very containers that the runtime runs
//! now. A pod's `Ready` alone is not believed: after a power cut it is a memory of the time before.

use std::collections::{BTreeSet, HashMap};

use api::{ApiError, Call, Client, Discovery};
use cri::{ContainerState, Cri, Filter};
use objects::{Origin, origin, owner, readiness};
use serde::Serialize;
use serde_json::Value;

use crate::error::StartError;
use crate::options::REQUEST_LIMIT;
use crate::required::{Place, RequiredPod};

/// How one required pod stands.
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
    /// The node that it is on.
    pub node: String,
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
    let running: BTreeSet<String> = runtime
        .containers(Filter::all())
        .await?
        .into_iter()
        .filter(|c| c.state == ContainerState::Running)
        .map(|c| c.id)
        .collect();
    let mut here = Here { node, pods: api::pods_of_node(client, node, REQUEST_LIMIT).await?, running };
    here.pods.extend(elsewhere(client, node, required).await?);
    let mut owners = Owners { client, discovery: Discovery::default(), known: HashMap::new() };
    let mut standings = Vec::new();
    for requirement in required {
        standings.push(standing(requirement, &here, &mut owners).await?);
    }
    Ok(standings)
}

/// What was seen from this node.
struct Here<'a> {
    node: &'a str,
    /// Pods of this node first, then others.
    pods: Vec<Value>,
    /// The containers that run on this node.
    running: BTreeSet<String>,
}

/// Pods of other nodes among which one may be required.
async fn elsewhere(client: &Client, node: &str, required: &[RequiredPod]) -> Result<Vec<Value>, ApiError> {
    let anywhere = required.iter().filter(|required| required.place == Place::Cluster);
    let namespaces: BTreeSet<&str> =
        anywhere.flat_map(|r| &r.alternatives).map(|pod| pod.namespace.as_str()).collect();
    let mut pods = Vec::new();
    for namespace in namespaces {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let (found, _) = api::list(client, &path, &format!("fieldSelector=spec.nodeName!%3D{node}")).await?;
        pods.extend(found);
    }
    Ok(pods)
}

/// The requirements for which a copy from a checkpoint runs on this node.
///
/// # Errors
/// When the runtime does not answer.
pub(crate) async fn copies(runtime: &Cri, required: &[RequiredPod]) -> Result<Vec<String>, StartError> {
    let containers = runtime.containers(Filter::all()).await?;
    let running: BTreeSet<_> =
        containers.iter().filter(|c| c.state == ContainerState::Running).map(|c| c.pod_id.as_str()).collect();
    let mut pods = runtime.sandboxes(Filter::all()).await?;
    pods.retain(|pod| {
        let origin = Origin::of_sandbox(&pod.name, &pod.labels, &pod.annotations);
        matches!(origin, Origin::Checkpoint { .. }) && running.contains(pod.id.as_str())
    });
    let has_copy = |r: &&RequiredPod| pods.iter().any(|pod| r.matches(&pod.namespace, &pod.name));
    Ok(required.iter().filter(has_copy).map(|r| r.description.clone()).collect())
}

/// The pods of a namespace that are not ready, each with what it lacks. One that has ended is nobody's problem when nobody
/// made it, or when whoever did has another one or wants none: it stays in the API until somebody deletes it.
///
/// # Errors
/// When the API does not answer.
pub(crate) async fn unready_pods(client: &Client, namespace: &str) -> Result<Vec<String>, StartError> {
    let list =
        Call::get(format!("/api/v1/namespaces/{namespace}/pods")).object(client, REQUEST_LIMIT).await?;
    let pods = objects::items(&list["items"]);
    let mut owners = Owners { client, discovery: Discovery::default(), known: HashMap::new() };
    let mut unready = Vec::new();
    for pod in pods {
        let Some(lack) = readiness::lack(pod, None) else { continue };
        if !readiness::has_ended(pod) || owners.misses(pod, pods).await? {
            unready.push(format!("{}: {lack}", objects::name(pod)));
        }
    }
    Ok(unready)
}

async fn standing(
    required: &RequiredPod,
    here: &Here<'_>,
    owners: &mut Owners<'_>,
) -> Result<Standing, StartError> {
    let nobody = match required.place {
        Place::Node => "no pod of it is on this node yet",
        Place::Cluster => "no pod of it is on any node yet",
    };
    let mut best =
        Standing { required: required.description.clone(), pod: None, missing: Some(nobody.to_owned()) };
    for pod in &here.pods {
        let (namespace, name) = (objects::namespace(pod), objects::name(pod));
        let node = objects::text(&pod["spec"]["nodeName"]);
        let is_here = node == here.node;
        let fits = required.matches(namespace, name) && (is_here || required.place == Place::Cluster);
        // One that is on no node yet is nobody's to look at.
        if !fits || node.is_empty() || origin::is_mirror(pod) {
            continue;
        }
        let missing = match readiness::lack(pod, is_here.then_some(&here.running)) {
            Some(lack) => Some(lack.to_string()),
            None => owners.missing(pod).await?,
        };
        let ready = missing.is_none();
        let pod = PodIdentity {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: objects::uid(pod).to_owned(),
            node: node.to_owned(),
        };
        best = Standing { pod: Some(pod), missing, ..best };
        if ready {
            break;
        }
    }
    Ok(best)
}

/// Owners that were looked up, so that each is asked for once.
struct Owners<'a> {
    client: &'a Client,
    discovery: Discovery,
    /// By the UID that was asked for; none where nobody has it any more.
    known: HashMap<String, Option<Value>>,
}

impl Owners<'_> {
    async fn missing(&mut self, pod: &Value) -> Result<Option<String>, ApiError> {
        let Some(owner) = owner::controller(pod) else {
            return Ok(Some("the pod belongs to no controller".to_owned()));
        };
        let gone = self.find(owner, objects::namespace(pod)).await?.is_none();
        let wanted = owner::reference(owner, objects::namespace(pod));
        Ok(gone.then(|| format!("its {} {} of that UID is gone", wanted.kind, wanted.name)))
    }

    /// Whether whoever made a pod that has ended still lacks another one.
    async fn misses(&mut self, pod: &Value, pods: &[Value]) -> Result<bool, ApiError> {
        let Some(owner) = owner::controller(pod) else { return Ok(false) };
        // What a Job makes is to end.
        if owner["kind"] == "Job" || readiness::is_replaced(pod, pods) {
            return Ok(false);
        }
        let found = self.find(owner, objects::namespace(pod)).await?;
        // The ReplicaSet of an earlier revision wants none; a DaemonSet does not say how many it wants.
        Ok(found.is_some_and(|owner| owner["spec"]["replicas"] != 0))
    }

    /// The owner that a reference names; none when it is gone, or another one has its name.
    async fn find(&mut self, owner: &Value, namespace: &str) -> Result<Option<&Value>, ApiError> {
        let uid = objects::text(&owner["uid"]);
        if !self.known.contains_key(uid) {
            let wanted = owner::reference(owner, namespace);
            self.discovery.load(self.client, REQUEST_LIMIT, std::iter::once(&wanted)).await;
            let path = self.discovery.path(&wanted)?;
            let found = match Call::get(path).object(self.client, REQUEST_LIMIT).await {
                Ok(found) => Some(found).filter(|found| objects::uid(found) == uid),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            };
            self.known.insert(uid.to_owned(), found);
        }
        Ok(self.known[uid].as_ref())
    }
}

#[cfg(test)]
mod tests {
    use fakes::cluster::Cluster;
    use serde_json::json;

    use super::*;

    fn pod(owner: &Value) -> Value {
        json!({
            "metadata": {"name": "kube-apiserver-x", "namespace": "kube-system", "uid": "u",
                "ownerReferences": [owner]},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "containerID": "containerd://new", "state": {"running": {}}}]},
        })
    }

    fn of(uid: &str) -> Value {
        pod(&json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kube-apiserver", "uid": uid,
            "controller": true}))
    }

    #[tokio::test]
    async fn a_ready_pod_counts_when_its_owner_is_the_one_that_exists() {
        let required: RequiredPod = "kube-system/kube-apiserver".parse().unwrap();
        let cluster = Cluster::default();
        let daemonset = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "kube-apiserver", "namespace": "kube-system", "uid": "now"}});
        cluster.put("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-apiserver", daemonset);
        let client = cluster.client();
        let running = BTreeSet::from(["new".to_owned()]);
        let mut mirror = of("now");
        mirror["metadata"]["annotations"] = json!({names::annotation::CONFIG_MIRROR: "x"});
        let mut before = of("now");
        before["status"]["containerStatuses"][0]["containerID"] = json!("containerd://old");
        let nobodys = pod(&json!({"controller": false}));
        let cases = [
            (of("now"), None),
            (of("before"), Some("its DaemonSet kube-apiserver of that UID is gone")),
            (before, Some("container c does not run")),
            (nobodys, Some("the pod belongs to no controller")),
            (mirror, Some("no pod of it is on this node yet")),
        ];
        for (pod, missing) in cases {
            let mut owners =
                Owners { client: &client, discovery: Discovery::default(), known: HashMap::new() };
            let here = Here { node: "n", pods: vec![pod], running: running.clone() };
            let found = standing(&required, &here, &mut owners).await.unwrap();
            assert_eq!(found.missing.as_deref(), missing);
        }
    }

    #[tokio::test]
    async fn one_on_another_node_counts_where_any_node_will_do() {
        let cluster = Cluster::default();
        let daemonset =
            json!({"metadata": {"name": "kube-apiserver", "namespace": "kube-system", "uid": "now"}});
        cluster.put("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-apiserver", daemonset);
        let mut other = of("now");
        other["spec"]["nodeName"] = json!("other");
        let mut unbound = of("now");
        unbound["spec"] = json!({});
        let look = async |place: Place, pod: &Value| {
            let mut required: RequiredPod = "kube-system/kube-apiserver".parse().unwrap();
            required.place = place;
            let client = cluster.client();
            let mut owners =
                Owners { client: &client, discovery: Discovery::default(), known: HashMap::new() };
            let here = Here { node: "n", pods: vec![pod.clone()], running: BTreeSet::new() };
            standing(&required, &here, &mut owners).await.unwrap().missing
        };
        assert_eq!(look(Place::Cluster, &other).await, None);
        assert_eq!(look(Place::Node, &other).await.unwrap(), "no pod of it is on this node yet");
        assert_eq!(look(Place::Cluster, &unbound).await.unwrap(), "no pod of it is on any node yet");
    }

    #[tokio::test]
    async fn a_pod_that_has_ended_counts_while_whoever_made_it_lacks_another() {
        let cluster = Cluster::default();
        let replicas = |name: &str, uid: &str, count: u32| {
            let set = json!({"metadata": {"name": name, "namespace": "kube-system", "uid": uid},
                "spec": {"replicas": count}});
            cluster.put(&format!("/apis/apps/v1/namespaces/kube-system/replicasets/{name}"), set);
        };
        replicas("wanted", "wanted", 1);
        replicas("earlier", "earlier", 0);
        let put = |name: &str, phase: &str, kind: &str, owner: Option<&str>| {
            let mut pod = json!({"kind": "Pod", "metadata": {"name": name, "namespace": "kube-system"},
                "status": {"phase": phase}});
            if let Some(owner) = owner {
                pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind,
                    "name": owner, "uid": owner, "controller": true}]);
            }
            cluster.put(&format!("/api/v1/namespaces/kube-system/pods/{name}"), pod);
        };
        put("nobody-s", "Succeeded", "", None);
        put("of-an-earlier-revision", "Failed", "ReplicaSet", Some("earlier"));
        put("of-one-that-is-gone", "Failed", "ReplicaSet", Some("gone"));
        put("of-a-job", "Succeeded", "Job", Some("job"));
        put("lost", "Failed", "ReplicaSet", Some("wanted"));
        let unready = async || unready_pods(&cluster.client(), "kube-system").await.unwrap();
        assert_eq!(unready().await, ["lost: the pod is Failed and not Ready"]);
        put("its-successor", "Pending", "ReplicaSet", Some("wanted"));
        assert_eq!(unready().await, ["its-successor: the pod is Pending and not Ready"]);
        cluster.change("/api/v1/namespaces/kube-system/pods/its-successor", |pod| {
            pod["status"] = of("x")["status"].clone();
        });
        assert_eq!(unready().await, [] as [&str; 0]);
    }
}
