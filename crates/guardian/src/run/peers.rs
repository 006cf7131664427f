//! Apiservers of other nodes. Each renews a Lease of its own every 10 s, which names its host
//! (`IdentityLeaseRenewIntervalPeriod` of k8s.io/kubernetes/pkg/controlplane/apiserver): one whose renewals are seen
//! to go on serves there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::{ApiError, Call, Client};
use names::component::KUBE_APISERVER;
use names::label;
use names::object::KUBE_SYSTEM;
use serde_json::Value;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How often they are looked at, in milliseconds.
const PERIOD_MS: u64 = 5_000;
/// Who renewed so long ago may be dead.
const FRESH_MS: u64 = 40_000;

/// When each of them was renewed last, in its own words.
pub(crate) type Renewals = BTreeMap<String, String>;

/// What was seen of them.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Names of this node, as its own apiservers write them.
    hosts: BTreeSet<String>,
    asking: bool,
    asked_ms: Option<u64>,
    seen: Renewals,
    /// When one was seen to be renewed.
    renewed_ms: Option<u64>,
}

impl Peers {
    pub(crate) fn new(hosts: BTreeSet<String>) -> Self {
        Self { hosts, asking: false, asked_ms: None, seen: Renewals::new(), renewed_ms: None }
    }

    /// Whose names to leave out, when it is time to look.
    pub(crate) fn question(&mut self, now_ms: u64) -> Option<BTreeSet<String>> {
        let due = self.asked_ms.is_none_or(|asked| now_ms.saturating_sub(asked) >= PERIOD_MS);
        if self.asking || !due {
            return None;
        }
        self.asking = true;
        self.asked_ms = Some(now_ms);
        Some(self.hosts.clone())
    }

    pub(crate) fn answered(&mut self, answer: Result<Renewals, ApiError>, now_ms: u64) {
        self.asking = false;
        match answer {
            Ok(now) => {
                // Clocks of other nodes are not believed, and the first look proves nothing: a change does.
                if now.iter().any(|(lease, time)| self.seen.get(lease).is_some_and(|before| before != time)) {
                    self.renewed_ms = Some(now_ms);
                }
                self.seen = now;
            }
            Err(error) => tracing::debug!(%error, "cannot see which other apiservers serve"),
        }
    }

    /// Whether one of them was seen to serve just now.
    pub(crate) fn serve(&self, now_ms: u64) -> bool {
        self.renewed_ms.is_some_and(|at| now_ms.saturating_sub(at) <= FRESH_MS)
    }
}

/// The renewals of all apiservers but those of these hosts.
pub(crate) async fn look(client: &Client, hosts: &BTreeSet<String>) -> Result<Renewals, ApiError> {
    Ok(renewals(&Call::get(path()).object(client, LIMIT).await?, hosts))
}

/// The leases by which apiservers say that they live.
fn path() -> String {
    let label = label::APISERVER_IDENTITY.replace('/', "%2F");
    format!(
        "/apis/coordination.k8s.io/v1/namespaces/{KUBE_SYSTEM}/leases?labelSelector={label}%3D{KUBE_APISERVER}"
    )
}

fn renewals(list: &Value, hosts: &BTreeSet<String>) -> Renewals {
    let of = |lease: &Value| {
        let host = lease["metadata"]["labels"][label::HOSTNAME].as_str()?;
        let (name, time) = (lease["metadata"]["name"].as_str()?, lease["spec"]["renewTime"].as_str()?);
        (!hosts.contains(host)).then(|| (name.to_owned(), time.to_owned()))
    };
    list["items"].as_array().into_iter().flatten().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(host: &str, time: &str) -> Value {
        let labels = json!({label::HOSTNAME: host, "apiserver.kubernetes.io/identity": "kube-apiserver"});
        json!({"items": [{"metadata": {"name": "apiserver-x", "labels": labels}, "spec": {"renewTime": time}}]})
    }

    #[test]
    fn another_one_serves_when_its_lease_was_seen_to_be_renewed() {
        let mut peers = Peers::new(BTreeSet::from(["here".to_owned()]));
        let mut look = |host: &str, time: &str, now_ms| {
            let hosts = peers.question(now_ms).unwrap();
            assert_eq!(peers.question(now_ms + PERIOD_MS), None, "one question at a time");
            peers.answered(Ok(renewals(&list(host, time), &hosts)), now_ms);
            peers.serve(now_ms)
        };
        assert!(!look("there", "1", 0), "it may have ended long ago");
        assert!(!look("there", "1", 10_000));
        assert!(!look("here", "2", 20_000), "our own");
        assert!(!look("there", "2", 30_000));
        assert!(look("there", "3", 40_000));
        assert!(peers.serve(80_000) && !peers.serve(80_001));
        assert_eq!(peers.question(41_000), None, "not so soon");
    }
}
