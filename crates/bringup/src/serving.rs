//! The readiness gate of self-hosted apiservers: a condition of the pod that says that this very instance
//! was probed ready. On a shared port the kubelet's own probe may have been answered by another one.
//!
//! The guardian sets it. It stands back as long as a temporary apiserver is there: then this does.

use std::collections::HashSet;

use api::{ApiError, Call, Client};
use names::condition::SERVING;
use serde_json::Value;

use crate::options::REQUEST_LIMIT;
use crate::workloads::PodIdentity;

/// Pods that need no more telling, by UID.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    told: HashSet<String>,
}

impl Serving {
    /// Whether nothing is left to say of this pod.
    pub(crate) fn knows(&self, pod: &PodIdentity) -> bool {
        self.told.contains(&pod.uid)
    }

    /// Says of a pod that it serves, where it has the gate. What fails now is tried again next time.
    pub(crate) async fn tell(&mut self, client: &Client, pod: &PodIdentity) {
        match set(client, pod).await {
            Ok(()) => {
                self.told.insert(pod.uid.clone());
            }
            Err(error) => {
                tracing::warn!(error = host::error::chain(&error), pod.name, "cannot set {SERVING}");
            }
        }
    }
}

async fn set(client: &Client, pod: &PodIdentity) -> Result<(), ApiError> {
    let PodIdentity { namespace, name, uid, .. } = pod;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let pod = match Call::get(path).object(client, REQUEST_LIMIT).await {
        Ok(pod) => pod,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    if objects::uid(&pod) != uid || !waits(&pod) {
        return Ok(());
    }
    let why = ("Probed", "this very instance answered /readyz");
    api::set_condition(client, (namespace, name, uid), SERVING, true, why, REQUEST_LIMIT).await
}

/// Whether the pod has the gate and nobody has opened it.
fn waits(pod: &Value) -> bool {
    let gates = objects::items(&pod["spec"]["readinessGates"]);
    gates.iter().any(|gate| gate["conditionType"] == SERVING)
        && objects::condition(pod, SERVING) != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(gate: &str, status: &str) -> Value {
        json!({"metadata": {"name": "a", "namespace": "kube-system", "uid": "u"},
            "spec": {"readinessGates": [{"conditionType": gate}]},
            "status": {"conditions": [{"type": SERVING, "status": status}]}})
    }

    #[test]
    fn only_a_pod_with_a_closed_gate_waits() {
        assert!(waits(&pod(SERVING, "False")));
        assert!(!waits(&pod(SERVING, "True")));
        assert!(!waits(&pod("example.com/other", "False")));
        assert!(!waits(&Value::Null));
    }

    #[tokio::test]
    async fn the_gate_of_that_very_pod_is_opened_once() {
        let path = "/api/v1/namespaces/kube-system/pods/a";
        let cluster = fakes::cluster::Cluster::default();
        cluster.put(path, pod(SERVING, "False"));
        let of = |uid: &str| PodIdentity {
            namespace: "kube-system".to_owned(),
            name: "a".to_owned(),
            uid: uid.to_owned(),
            node: "n".to_owned(),
        };
        let mut serving = Serving::default();
        let status = || cluster.objects()[path]["status"]["conditions"][0]["status"].clone();
        serving.tell(&cluster.client(), &of("another")).await;
        assert_eq!(status(), "False");
        serving.tell(&cluster.client(), &of("u")).await;
        assert_eq!(status(), "True");
        assert!(serving.knows(&of("u")));
    }
}
