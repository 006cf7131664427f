//! Whether an object is ready. Of a pod the kubelet's word alone is not enough: after a power cut it is a
//! memory of the time before, and only the runtime knows which containers run now.

use std::collections::BTreeSet;
use std::fmt;

use names::condition::READY;
use serde_json::Value;

use crate::owner::controller;
use crate::{condition, is_deleting, items, text};

/// Whether a node or pod is Ready, as its kubelet last said.
pub fn is_ready(object: &Value) -> bool {
    condition(object, READY) == Some(true)
}

/// Whether a pod has ended for good: it will not run again.
pub fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Whether whoever made a pod has another one among these that has not ended: a DaemonSet on the same node.
pub fn is_replaced(pod: &Value, pods: &[Value]) -> bool {
    let Some(owner) = controller(pod) else { return false };
    let in_place =
        |other: &Value| owner["kind"] != "DaemonSet" || other["spec"]["nodeName"] == pod["spec"]["nodeName"];
    let same = |other: &Value| controller(other).is_some_and(|of| of["uid"] == owner["uid"]);
    pods.iter().any(|other| !has_ended(other) && same(other) && in_place(other))
}

/// What the kubelet told of a pod's containers without the init containers.
pub fn container_statuses(pod: &Value) -> &[Value] {
    items(&pod["status"]["containerStatuses"])
}

/// The runtime's id of a container: `containerd://<id>` in its status. Empty while it was not started.
pub fn container_id(status: &Value) -> &str {
    text(&status["containerID"]).rsplit('/').next().unwrap_or_default()
}

/// What a pod lacks to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack<'a> {
    /// It was told to end.
    Deleting,
    /// A container is not started.
    Waiting {
        /// Its name.
        container: &'a str,
        /// The kubelet's word for why.
        reason: &'a str,
        /// The same at length; empty where there is nothing to add.
        message: &'a str,
    },
    /// A container that the API tells of does not run.
    Stopped {
        /// Its name.
        container: &'a str,
    },
    /// All of it runs, or nothing is known of it yet, and its kubelet does not say that it is Ready.
    NotReady {
        /// The pod's phase.
        phase: &'a str,
    },
}

impl fmt::Display for Lack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleting => f.write_str("the pod is being deleted"),
            Self::Waiting { container, reason, message: "" } => {
                write!(f, "container {container} waits with {reason}")
            }
            Self::Waiting { container, reason, message } => {
                write!(f, "container {container} waits with {reason}: {message}")
            }
            Self::Stopped { container } => write!(f, "container {container} does not run"),
            Self::NotReady { phase } => write!(f, "the pod is {phase} and not Ready"),
        }
    }
}

/// What keeps a pod from being ready, as the API and the runtime see it; none when nothing does. `running`
/// are the ids of the containers that the runtime runs now; none for a pod of another node, of which nobody
/// here knows them.
pub fn lack<'a>(pod: &'a Value, running: Option<&BTreeSet<String>>) -> Option<Lack<'a>> {
    if is_deleting(pod) {
        return Some(Lack::Deleting);
    }
    let statuses = container_statuses(pod);
    for status in statuses {
        let (container, waiting) = (text(&status["name"]), &status["state"]["waiting"]);
        if waiting.is_object() {
            let reason = waiting["reason"].as_str().unwrap_or("no reason given");
            return Some(Lack::Waiting { container, reason, message: text(&waiting["message"]) });
        }
        if running.is_some_and(|running| !running.contains(container_id(status))) {
            return Some(Lack::Stopped { container });
        }
    }
    let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
    (statuses.is_empty() || !is_ready(pod)).then_some(Lack::NotReady { phase })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ready: &str, container: &Value) -> Value {
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [container]}})
    }

    fn container(id: &str) -> Value {
        json!({"name": "c", "containerID": format!("containerd://{id}"), "state": {"running": {}}})
    }

    fn said(pod: &Value) -> Option<String> {
        let running = BTreeSet::from(["new".to_owned()]);
        lack(pod, Some(&running)).map(|lack| lack.to_string())
    }

    #[test]
    fn a_ready_pod_whose_container_does_not_run_is_a_memory_of_before_the_power_cut() {
        assert_eq!(said(&pod("True", &container("new"))), None);
        let before = pod("True", &container("old"));
        assert_eq!(said(&before).unwrap(), "container c does not run");
        assert_eq!(lack(&before, None), None, "of another node's pod only its kubelet knows");
    }

    #[test]
    fn a_waiting_container_is_named_with_its_reason() {
        let waiting = json!({"name": "c",
            "state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}});
        let missing = said(&pod("False", &waiting)).unwrap();
        assert_eq!(missing, "container c waits with ErrImagePull: no such host");
    }

    #[test]
    fn a_pod_that_nothing_is_known_of_is_not_ready() {
        let running = pod("False", &container("new"));
        assert_eq!(said(&running).unwrap(), "the pod is Running and not Ready");
        let mut empty = pod("True", &container("new"));
        empty["status"]["containerStatuses"] = json!([]);
        assert_eq!(said(&empty).unwrap(), "the pod is Running and not Ready");
        for nothing in [json!({}), json!({"status": null})] {
            assert_eq!(said(&nothing).unwrap(), "the pod is Pending and not Ready");
        }
    }

    #[test]
    fn a_pod_is_replaced_by_one_of_the_same_maker_that_has_not_ended() {
        let of = |phase: &str, uid: &str| json!({"metadata": {"ownerReferences": [{"uid": uid, "controller": true}]}, "status": {"phase": phase}});
        let failed = of("Failed", "a");
        for (other, replaced) in
            [(of("Pending", "a"), true), (of("Running", "b"), false), (of("Succeeded", "a"), false)]
        {
            assert_eq!(is_replaced(&failed, &[failed.clone(), other.clone()]), replaced, "{other}");
        }
        let on = |phase: &str, node: &str| {
            json!({"metadata": {"ownerReferences": [{"kind": "DaemonSet", "uid": "a", "controller": true}]},
                "spec": {"nodeName": node}, "status": {"phase": phase}})
        };
        assert!(is_replaced(&on("Failed", "n"), &[on("Running", "n")]));
        assert!(!is_replaced(&on("Failed", "n"), &[on("Running", "m")]), "that one is of another node");
        let nobodys = json!({"status": {"phase": "Failed"}});
        assert!(!is_replaced(&nobodys, &[json!({"status": {"phase": "Running"}})]));
    }

    #[test]
    fn a_pod_that_ends_is_not_ready_however_ready_it_is() {
        let mut pod = pod("True", &container("new"));
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(said(&pod).unwrap(), "the pod is being deleted");
    }
}
