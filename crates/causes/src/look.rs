//! Looks at the API. Each list is asked for by itself, once and for some seconds: whoever asks has something to tell
//! already, and tells it without what could not be had.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::{Call, Client, Discovery};
use names::label::SERVICE_NAME;
use names::object::KUBE_SYSTEM;
use objects::{ObjectRef, items};
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::find::find;
use crate::place::Place;
use crate::pods::refusals;
use crate::seen::{Backend, Seen};
use crate::trial;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(15);

/// What is in the way right now, as far as the API tells; nothing when it does not answer in time.
pub async fn told(client: &Client, place: &Place, expected: &[ObjectRef]) -> Vec<Cause> {
    // So many requests at once are large, and whoever waits for them holds much already: they go to the heap.
    let seen = tokio::time::timeout(ALL, Box::pin(look(client, expected))).await;
    seen.map(|seen| find(&seen, place)).unwrap_or_default()
}

/// What the API has; of `expected` objects it is found out which are gone.
async fn look(client: &Client, expected: &[ObjectRef]) -> Seen {
    let list = async |path: String, kind: &str| named(get(client, path).await, kind);
    let ours = |group: &str, plural: &str| format!("{group}/namespaces/{KUBE_SYSTEM}/{plural}");
    let (core, apps) = (|plural: &str| ours("/api/v1", plural), |plural: &str| ours("/apis/apps/v1", plural));
    let admission = |plural: &str| format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let (nodes, namespace, pods, daemonsets, replicasets, revisions) = tokio::join!(
        list("/api/v1/nodes".to_owned(), "Node"),
        get(client, format!("/api/v1/namespaces/{KUBE_SYSTEM}")),
        list(core("pods"), "Pod"),
        list(apps("daemonsets"), "DaemonSet"),
        list(apps("replicasets"), "ReplicaSet"),
        list(apps("controllerrevisions"), "ControllerRevision"),
    );
    let (events, accounts, limits, validating, mutating, bindings, services) = tokio::join!(
        list(refusals(KUBE_SYSTEM), "Event"),
        list(core("serviceaccounts"), "ServiceAccount"),
        list(core("limitranges"), "LimitRange"),
        list(admission("validatingwebhookconfigurations"), "ValidatingWebhookConfiguration"),
        list(admission("mutatingwebhookconfigurations"), "MutatingWebhookConfiguration"),
        list(admission("mutatingadmissionpolicybindings"), "MutatingAdmissionPolicyBinding"),
        list("/apis/apiregistration.k8s.io/v1/apiservices".to_owned(), "APIService"),
    );
    let (daemonsets, replicasets) = (daemonsets.unwrap_or_default(), replicasets.unwrap_or_default());
    let webhooks: Vec<Value> = [validating, mutating].into_iter().flatten().flatten().collect();
    Seen {
        nodes,
        namespace: namespace.unwrap_or_default(),
        pods,
        would_refuse: trial::refused(client, &daemonsets, &replicasets, LIMIT).await,
        daemonsets,
        replicasets,
        revisions: revisions.unwrap_or_default(),
        events: events.unwrap_or_default(),
        service_accounts: accounts.unwrap_or_default(),
        limit_ranges: limits.unwrap_or_default(),
        backends: backends(client, &webhooks).await,
        webhooks,
        mutating_bindings: bindings.unwrap_or_default(),
        api_services: services.unwrap_or_default(),
        gone: absent(client, expected).await,
    }
}

async fn get(client: &Client, path: String) -> Option<Value> {
    Call::get(path).object(client, LIMIT).await.ok()
}

/// The items of a list, each with the kind that the list leaves out.
fn named(list: Option<Value>, kind: &str) -> Option<Vec<Value>> {
    let mut items = items(&list?["items"]).to_vec();
    for item in &mut items {
        item["kind"] = json!(kind);
    }
    Some(items)
}

/// What stands behind the Services of webhooks.
async fn backends(client: &Client, webhooks: &[Value]) -> BTreeMap<(String, String), Backend> {
    let hooks = webhooks.iter().flat_map(|config| items(&config["webhooks"]));
    let services: BTreeSet<(String, String)> = hooks
        .filter_map(|hook| {
            let service = &hook["clientConfig"]["service"];
            Some((service["namespace"].as_str()?.to_owned(), service["name"].as_str()?.to_owned()))
        })
        .collect();
    let mut found = BTreeMap::new();
    for service in services {
        if let Some(backend) = backend(client, &service).await {
            found.insert(service, backend);
        }
    }
    found
}

/// None when it could not be found out.
async fn backend(client: &Client, (namespace, name): &(String, String)) -> Option<Backend> {
    let service = format!("/api/v1/namespaces/{namespace}/services/{name}");
    match Call::get(service).object(client, LIMIT).await {
        Ok(service) if service["spec"]["type"] == "ExternalName" => return None,
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Some(Backend::NoService),
        Err(_) => return None,
    }
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={}%3D{name}",
        SERVICE_NAME.replace('/', "%2F")
    );
    let slices = get(client, slices).await?;
    let mut endpoints = items(&slices["items"]).iter().flat_map(|slice| items(&slice["endpoints"]));
    // One that says nothing is ready (`EndpointConditions` in k8s.io/api/discovery/v1/types.go).
    let ready = endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false);
    Some(if ready { Backend::Ready } else { Backend::Nobody })
}

/// Those of these objects that are not there. One whose kind is not served, or that may not be read, is not said to be gone.
pub async fn absent(client: &Client, expected: &[ObjectRef]) -> Vec<ObjectRef> {
    let mut discovery = Discovery::default();
    discovery.load(client, LIMIT, expected.iter()).await;
    let mut gone = Vec::new();
    for object in expected {
        let Ok(path) = discovery.path(object) else { continue };
        if Call::get(path).object(client, LIMIT).await.is_err_and(|error| error.is_not_found()) {
            gone.push(object.clone());
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use fakes::cluster::Cluster;
    use jiff::Timestamp;

    use super::*;

    #[tokio::test]
    async fn what_is_in_the_way_is_found_in_an_api() {
        let cluster = Cluster::default();
        cluster.put("/api/v1/nodes/b", json!({"metadata": {"name": "b"}}));
        let object = |kind: &str, name: &str, namespace: &str| {
            let version = if kind == "DaemonSet" { "apps/v1" } else { "rbac.authorization.k8s.io/v1" };
            let mut metadata = json!({"name": name});
            if !namespace.is_empty() {
                metadata["namespace"] = json!(namespace);
            }
            json!({"apiVersion": version, "kind": kind, "metadata": metadata})
        };
        let there = object("DaemonSet", "kube-proxy", "kube-system");
        cluster.put("/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy", there.clone());
        let gone = [
            object("ClusterRoleBinding", "kubestrap:guardian", ""),
            object("DaemonSet", "x", "kube-flannel"),
        ];
        let expected: Vec<_> = [&there, &gone[0], &gone[1]].map(ObjectRef::of).into();
        let hook = json!({"metadata": {"name": "dead"}, "webhooks": [{"name": "a.b.c", "clientConfig":
                {"service": {"namespace": "default", "name": "nobody"}},
            "rules": [{"apiGroups": ["*"], "operations": ["*"], "resources": ["*/*"]}]}]});
        let hooks = json!({"items": [hook]}).to_string();
        cluster.say("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", 200, &hooks);
        let place = Place::node("a", Timestamp::now());
        let objects = async || -> Vec<String> {
            let found = told(&cluster.client(), &place, &expected).await;
            found.into_iter().map(|cause| cause.object).collect()
        };
        let all = [
            "Node a",
            "ValidatingWebhookConfiguration dead",
            "ClusterRoleBinding kubestrap:guardian",
            "DaemonSet kube-flannel/x",
        ];
        assert_eq!(objects().await, all);
        // What stands behind the webhook's Service counts.
        cluster.put("/api/v1/namespaces/default/services/nobody", json!({}));
        let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let behind =
            |ready: bool| json!({"items": [{"endpoints": [{"conditions": {"ready": ready}}]}]}).to_string();
        cluster.say(slices, 200, &behind(false));
        assert_eq!(objects().await, all);
        cluster.say(slices, 200, &behind(true));
        let still = told(&cluster.client(), &place, &expected).await;
        assert!(!still[1].stops_pods, "it is answered: {}", still[1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_does_not_answer_says_nothing() {
        let cluster = Cluster::default();
        cluster.set_away(true);
        let place = Place::node("a", Timestamp::now());
        assert_eq!(told(&cluster.client(), &place, &[]).await, []);
    }
}
