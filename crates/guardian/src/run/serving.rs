//! The readiness gate `kubestrap.io/serving`: an apiserver's pod is Ready when the guardian found that very
//! instance Ready. The kubelet's own probe on a shared port may have been answered by the other one.

use std::time::Duration;

use apply::{ApiError, Call};
use jiff::Timestamp;
use kube::Client;
use serde_json::json;
use traffic::{State, View};

use super::cluster::{Cluster, SERVING};

const LIMIT: Duration = Duration::from_secs(2);

/// A condition that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) serving: bool,
}

/// The gates to be changed.
pub(crate) fn to_change(cluster: &Cluster, view: &View) -> Vec<Gate> {
    let gated = cluster.pods.values().filter(|pod| pod.gated && !pod.over && cluster.pods_known);
    let wrong = gated.filter_map(|pod| {
        let seen = view.seen.iter().find(|seen| seen.owner.as_ref().is_some_and(|o| o.uid == pod.uid));
        let serving = seen.is_some_and(|seen| seen.state == State::Ready);
        (pod.serving.unwrap_or(false) != serving || pod.serving.is_none()).then(|| Gate {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            serving,
        })
    });
    wrong.collect()
}

/// Sets the condition of that very pod.
pub(crate) async fn change(client: &Client, gate: &Gate) -> Result<(), ApiError> {
    let status = if gate.serving { "True" } else { "False" };
    let time = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let condition = json!({"type": SERVING, "status": status, "lastTransitionTime": time.to_string()});
    let patch = json!({"metadata": {"uid": gate.uid}, "status": {"conditions": [condition]}});
    let path = format!("/api/v1/namespaces/{}/pods/{}/status", gate.namespace, gate.name);
    Call::strategic_merge(path, &patch).object(client, LIMIT).await.map(|_| ())
}
