//! Whether the API would take one more pod of each workload of `kube-system`: asked by making one that is not kept. Who
//! runs already shows nothing of a quota or a policy that has come since, and the next rollout or power cut would.

use std::time::Duration;

use api::{ApiError, Call, Client};
use names::object::KUBE_SYSTEM;
use objects::name;
use serde_json::{Value, json};

use crate::pods::workload;

/// The statuses of a refusal that is the object's own: forbidden, and invalid with what was added on the way. That a
/// webhook does not answer, or takes no trial, is told of the webhook.
const REFUSALS: [u16; 2] = [403, 422];

/// What the API says of a pod that would be made now: whose, and its words. One that could not be asked for is left out.
pub(crate) async fn refused(
    client: &Client,
    daemonsets: &[Value],
    replicasets: &[Value],
    limit: Duration,
) -> Vec<(String, String)> {
    let newer = replicasets.iter().filter(|set| set["spec"]["replicas"].as_u64() > Some(0));
    let mut refused = Vec::new();
    for set in daemonsets.iter().chain(newer) {
        let path = format!("/api/v1/namespaces/{KUBE_SYSTEM}/pods");
        let trial = Call::post(path, &pod(set)).dry_run().object(client, limit).await;
        if let Err(ApiError::Refused { status, message, .. }) = trial
            && REFUSALS.contains(&status)
        {
            refused.push((workload(set), message));
        }
    }
    refused
}

/// A pod as a controller would make it, but for where it is to run.
fn pod(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["generateName"] = json!(format!("{}-", name(set)));
    metadata["namespace"] = json!(KUBE_SYSTEM);
    // A policy may ask by whom it is made.
    metadata["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": set["kind"], "name": name(set),
        "uid": objects::uid(set), "controller": true}]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use fakes::cluster::Cluster;

    use super::*;

    const PODS: &str = "/api/v1/namespaces/kube-system/pods";

    fn set(kind: &str, name: &str, replicas: u64) -> Value {
        json!({"kind": kind, "metadata": {"name": name, "uid": "u"}, "spec": {"replicas": replicas, "template":
            {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[tokio::test]
    async fn a_pod_is_asked_for_and_not_kept() {
        let cluster = Cluster::default();
        let (daemonsets, replicasets) =
            ([set("DaemonSet", "x", 0)], [set("ReplicaSet", "old", 0), set("ReplicaSet", "y", 1)]);
        let ask =
            async || refused(&cluster.client(), &daemonsets, &replicasets, Duration::from_secs(5)).await;
        assert_eq!(ask().await, []);
        assert!(cluster.objects().is_empty(), "{:?}", cluster.objects());
        cluster.say(PODS, 403, "pods \"x-\" is forbidden: exceeded quota: few");
        let told: Vec<_> = ask().await.into_iter().map(|(whose, _)| whose).collect();
        assert_eq!(told, ["DaemonSet kube-system/x", "ReplicaSet kube-system/y"]);
        cluster.say(PODS, 400, "admission webhook does not support dry run");
        assert_eq!(ask().await, []);
    }
}
