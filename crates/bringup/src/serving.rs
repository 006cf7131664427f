//! The readiness gate of self-hosted apiservers: a condition of the pod that says that this very instance
//! was probed ready. On a shared port the kubelet's own probe may have been answered by another one.
//!
//! The guardian sets it. It stands back as long as a temporary apiserver is there: then this does.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use names::condition::SERVING;
use serde_json::json;

use crate::error::StartError;
use crate::start::Context;
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
    pub(crate) async fn tell(&mut self, context: &Context<'_>, pod: &PodIdentity) {
        match set(context, pod).await {
            Ok(()) => {
                self.told.insert(pod.uid.clone());
            }
            Err(error) => {
                tracing::warn!(error = host::error::chain(&error), pod.name, "cannot set {SERVING}");
            }
        }
    }
}

async fn set(context: &Context<'_>, identity: &PodIdentity) -> Result<(), StartError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &identity.namespace);
    let Some(pod) = pods.get_opt(&identity.name).await? else { return Ok(()) };
    if pod.metadata.uid.as_ref() != Some(&identity.uid) || !waits(&pod) {
        return Ok(());
    }
    let condition = json!({
        "type": SERVING,
        "status": "True",
        "reason": "Probed",
        "message": "this very instance answered /readyz",
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    // Conditions are merged by their type; the UID keeps it off a successor of the same name.
    let patch = json!({"metadata": {"uid": identity.uid}, "status": {"conditions": [condition]}});
    pods.patch_status(&identity.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// Whether the pod has the gate and nobody has opened it.
fn waits(pod: &Pod) -> bool {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    gates.into_iter().any(|gate| gate.condition_type == SERVING)
        && !conditions.into_iter().any(|c| c.type_ == SERVING && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(gate: &str, status: &str) -> Pod {
        serde_json::from_value(json!({
            "spec": {"containers": [], "readinessGates": [{"conditionType": gate}]},
            "status": {"conditions": [{"type": SERVING, "status": status}]},
        }))
        .unwrap()
    }

    #[test]
    fn only_a_pod_with_a_closed_gate_waits() {
        assert!(waits(&pod(SERVING, "False")));
        assert!(!waits(&pod(SERVING, "True")));
        assert!(!waits(&pod("example.com/other", "False")));
        assert!(!waits(&Pod::default()));
    }
}
