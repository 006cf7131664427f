//! Leadership handed over on purpose: a scheduler or controller-manager that was killed leaves a
//! lease behind that nobody may take for 15 seconds. When its holder is certainly dead, the lease
//! is given back at once, the way client-go does it on a clean exit (`LeaderElector.release`).

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

use crate::CONFLICT;
use crate::call::Call;
use crate::error::ApiError;

/// A lease that somebody holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldLease {
    /// Who: client-go's `<host name>_<uuid>`.
    pub holder: String,
    /// When the holder became its holder.
    pub acquired: Timestamp,
    /// When the holder last said that it lives.
    pub renewed: Option<Timestamp>,
    object: Value,
}

impl HeldLease {
    /// Reads a Lease object; `None` when nobody holds it.
    fn of(object: Value) -> Option<Self> {
        let spec = &object["spec"];
        let time = |field: &str| spec[field].as_str().and_then(|time| time.parse().ok());
        let holder = spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?.to_owned();
        Some(Self { holder, acquired: time("acquireTime")?, renewed: time("renewTime"), object })
    }

    /// The host that the holder runs on.
    pub fn host(&self) -> &str {
        self.holder.split_once('_').map_or(self.holder.as_str(), |(host, _)| host)
    }

    /// Whether the holder cannot be any of the candidates alive: it acquired the lease before the first
    /// of them was started.
    pub fn older_than(&self, first_candidate_started: Timestamp) -> bool {
        self.acquired < first_candidate_started
    }

    /// Gives it back in the holder's name. Returns whether it did: a lease that changed meanwhile is
    /// left alone.
    ///
    /// # Errors
    /// [`ApiError`] when the API does not answer, or refuses.
    pub async fn release(mut self, client: &Client, limit: Duration) -> Result<bool, ApiError> {
        let now = format!("{:.6}", Timestamp::now());
        let name = self.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let spec = &mut self.object["spec"];
        spec["holderIdentity"] = json!("");
        // client-go: a released lease lasts one second, so that whoever saw it late does not wait.
        spec["leaseDurationSeconds"] = json!(1);
        spec["renewTime"] = json!(now);
        spec["acquireTime"] = json!(now);
        match Call::put(path(&name), &self.object).object(client, limit).await {
            Ok(_) => Ok(true),
            // Somebody took it in this moment: then there is nothing left to hand over.
            Err(error) if error.status() == Some(CONFLICT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn path(name: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/{name}", names::object::KUBE_SYSTEM)
}

/// Who holds one of the control plane's leases; `None` when nobody does.
///
/// # Errors
/// [`ApiError`] when the API does not answer, or refuses.
pub async fn held_lease(client: &Client, name: &str, limit: Duration) -> Result<Option<HeldLease>, ApiError> {
    match Call::get(path(name)).object(client, limit).await {
        Ok(object) => Ok(HeldLease::of(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a lease back when its holder cannot be any of the candidates alive. Returns whether it did.
///
/// # Errors
/// [`ApiError`] when the API does not answer, or refuses.
pub async fn release_dead_lease(
    client: &Client,
    name: &str,
    first_candidate_started: Timestamp,
    limit: Duration,
) -> Result<bool, ApiError> {
    match held_lease(client, name, limit).await?.filter(|lease| lease.older_than(first_candidate_started)) {
        Some(lease) => lease.release(client, limit).await,
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str) -> Option<HeldLease> {
        HeldLease::of(json!({
            "spec": {"holderIdentity": holder, "acquireTime": "2026-01-01T00:00:00.000000Z"}
        }))
    }

    #[test]
    fn only_a_held_lease_has_a_holder_that_can_be_dead() {
        let held = lease("node-1_5f2c").unwrap();
        assert_eq!(held.acquired, "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(held.host(), "node-1");
        assert!(held.older_than("2026-01-01T00:00:01Z".parse().unwrap()));
        assert!(!held.older_than("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(lease(""), None);
    }

    /// The API with one lease; it answers a change of it so. What it is to be comes out of the channel.
    fn api(answer: u16) -> (Client, tokio::sync::mpsc::UnboundedReceiver<Value>) {
        let lease = json!({"metadata": {"name": "kube-scheduler", "resourceVersion": "7"},
            "spec": {"holderIdentity": "node-1_5f2c", "acquireTime": "2026-01-01T00:00:00.000000Z",
                "leaseDurationSeconds": 15}});
        let (sender, written) = tokio::sync::mpsc::unbounded_channel();
        let client = fakes::api::client(move |asked| {
            assert_eq!(
                asked.path,
                "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler"
            );
            if asked.method == http::Method::PUT {
                sender.send(asked.body).unwrap();
                return (answer, lease.clone()).into();
            }
            (200, lease.clone()).into()
        });
        (client, written)
    }

    #[tokio::test]
    async fn a_dead_holder_s_lease_is_given_back_and_a_living_one_s_is_not() {
        let (dead, maybe_itself) = ("2026-01-01T00:00:01Z", "2025-12-31T23:59:59Z");
        // Who takes it in this moment keeps it.
        for (started, answer, released) in
            [(dead, 200, true), (dead, CONFLICT, false), (maybe_itself, 200, false)]
        {
            let (client, mut written) = api(answer);
            let limit = Duration::from_mins(1);
            let result = release_dead_lease(&client, "kube-scheduler", started.parse().unwrap(), limit).await;
            assert_eq!(result.unwrap(), released, "{started} {answer}");
            let put = written.try_recv().ok();
            assert_eq!(put.is_some(), started == dead, "{started} {answer}");
            if let Some(put) = put {
                assert_eq!(
                    (&put["spec"]["holderIdentity"], &put["spec"]["leaseDurationSeconds"]),
                    (&json!(""), &json!(1))
                );
                assert_eq!(put["metadata"]["resourceVersion"], "7");
            }
        }
    }
}
