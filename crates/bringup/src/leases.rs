//! Leadership handed over on purpose: a scheduler or controller-manager that was killed leaves a
//! lease behind that nobody may take for 15 seconds. When its holder is certainly dead, the lease
//! is given back at once, the way client-go does it on a clean exit (`LeaderElector.release`).

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::error::StartError;

/// Where kube-controller-manager and kube-scheduler keep their leases.
const NAMESPACE: &str = "kube-system";
/// The leases of the control plane, named as the components name them by default.
pub(crate) const CONTROL_PLANE: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];

/// When the lease's holder became its holder; `None` when nobody holds it.
fn acquired(lease: &Lease) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    spec.holder_identity.as_ref().filter(|holder| !holder.is_empty())?;
    spec.acquire_time.as_ref().map(|t| t.0)
}

/// Gives the lease back when its holder cannot be any of the candidates alive: it acquired the
/// lease before the first of them started. Returns whether it did.
///
/// # Errors
/// When the API does not answer. A lease that changed meanwhile is left alone, without an error.
pub(crate) async fn release(
    client: &Client,
    name: &str,
    first_candidate_started: Timestamp,
) -> Result<bool, StartError> {
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let Some(mut lease) = api.get_opt(name).await? else { return Ok(false) };
    let dead = acquired(&lease).is_some_and(|t| t < first_candidate_started);
    let Some(spec) = lease.spec.as_mut().filter(|_| dead) else { return Ok(false) };
    let now = MicroTime(Timestamp::now());
    spec.holder_identity = Some(String::new());
    // client-go: a released lease lasts one second, so that whoever saw it late does not wait.
    spec.lease_duration_seconds = Some(1);
    spec.renew_time = Some(now.clone());
    spec.acquire_time = Some(now);
    match api.replace(name, &PostParams::default(), &lease).await {
        Ok(_) => Ok(true),
        // Somebody took it in this moment: then there is nothing left to hand over.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_held_lease_has_a_holder_that_can_be_dead() {
        let lease = |holder: &str| -> Lease {
            serde_json::from_value(json!({
                "spec": {"holderIdentity": holder, "acquireTime": "2026-01-01T00:00:00.000000Z"}
            }))
            .unwrap()
        };
        assert_eq!(acquired(&lease("node_1")), Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(acquired(&lease("")), None);
    }
}
