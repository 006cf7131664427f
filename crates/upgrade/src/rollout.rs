//! How far a workload's rollout is, judged by identity: pods of its newest revision, owned by it by UID,
//! Ready, in containers that the runtime runs now. Pure.

use std::collections::BTreeSet;

use objects::owner::controller_uid;
use objects::readiness;
use serde_json::Value;

/// What the judgement needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// The DaemonSet or Deployment.
    pub(crate) workload: &'a Value,
    /// ControllerRevisions and ReplicaSets of its namespace.
    pub(crate) revisions: &'a [Value],
    /// Pods of its namespace.
    pub(crate) pods: &'a [Value],
    /// Events of its namespace that tell of pods which could not be made.
    pub(crate) events: &'a [Value],
    /// Ids of the containers that run on this node.
    pub(crate) running: &'a BTreeSet<String>,
    /// This node.
    pub(crate) node: &'a str,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Complete: these containers, each with its pod's UID.
    Settled(BTreeSet<String>),
    /// Complete but for old pods that have not ended yet, of which this is said.
    Ending(BTreeSet<String>, String),
    /// Under way: what is missing.
    Waiting(String),
    /// It will not become complete by itself: what fails.
    Broken(String),
}

/// Reasons for which a container waits and that time does not mend.
const HOPELESS: [&str; 4] =
    ["InvalidImageName", "ErrImageNeverPull", "ImagePullBackOff", "CreateContainerError"];
/// A container that was restarted as often as this crashes.
const CRASHES: i64 = 2;
/// How the runtime says that a container did not end by itself but was lost, with the machine's power mostly
/// (`unknownExitReason` of containerd's internal/cri/server).
const LOST: &str = "Unknown";

/// Judges a rollout.
pub(crate) fn judge(seen: Seen<'_>) -> Verdict {
    let generation = seen.workload["metadata"]["generation"].as_i64().unwrap_or_default();
    let observed = seen.workload["status"]["observedGeneration"].as_i64().unwrap_or_default();
    if observed < generation {
        return Verdict::Waiting("its controller has not seen the change yet".to_owned());
    }
    let Some(newest) = newest(seen) else {
        return Verdict::Waiting("its controller has made no revision yet".to_owned());
    };
    let pods: Vec<&Value> = seen.pods.iter().filter(|pod| owned(pod, &newest.owners)).collect();
    let (new, old): (Vec<&Value>, Vec<&Value>) = pods.into_iter().partition(|pod| newest.is_of(pod));
    for pod in &new {
        if let Some(why) = failing(pod) {
            return Verdict::Broken(format!("pod {}: {why}", objects::name(pod)));
        }
    }
    let mut containers = BTreeSet::new();
    let mut missing = None;
    let mut ready = 0;
    for pod in &new {
        match ready_containers(pod, seen) {
            Ok(ids) => {
                ready += 1;
                containers.extend(ids);
            }
            Err(why) => missing = Some(format!("pod {}: {why}", objects::name(pod))),
        }
    }
    let wanted = wanted(seen.workload);
    if ready < wanted {
        let refused = || causes::newest_refusal(&newest.maker, seen.events, seen.pods);
        let none = || refused().filter(|_| new.is_empty()).map(|why| format!("none could be made: {why}"));
        let more = missing.or_else(none).map(|why| format!(": {why}")).unwrap_or_default();
        return Verdict::Waiting(format!("{ready} of {wanted} new pods are ready{more}"));
    }
    match old.first().or_else(|| new.iter().find(|pod| objects::is_deleting(pod))) {
        Some(pod) => {
            Verdict::Ending(containers, format!("the old pod {} is still there", objects::name(pod)))
        }
        None => Verdict::Settled(containers),
    }
}

/// The newest revision of a workload.
struct Newest {
    /// The UID of who makes its pods.
    maker: String,
    /// UIDs of whom its pods may belong to.
    owners: Vec<String>,
    label: &'static str,
    hash: String,
}

impl Newest {
    fn is_of(&self, pod: &Value) -> bool {
        pod["metadata"]["labels"][self.label] == self.hash.as_str()
    }
}

fn newest(seen: Seen<'_>) -> Option<Newest> {
    let uid = seen.workload["metadata"]["uid"].as_str()?;
    let of_kind = |kind: &str| {
        let kind = kind.to_owned();
        let of_ours = move |r: &&Value| r["kind"] == kind.as_str() && controller_uid(r) == Some(uid);
        seen.revisions.iter().filter(of_ours)
    };
    if seen.workload["kind"] == "DaemonSet" {
        let newest = of_kind("ControllerRevision").max_by_key(|r| r["revision"].as_i64())?;
        let label = names::label::CONTROLLER_REVISION_HASH;
        let hash = newest["metadata"]["labels"][label].as_str()?.to_owned();
        return Some(Newest { maker: uid.to_owned(), owners: vec![uid.to_owned()], label, hash });
    }
    let number = |object: &Value| {
        let text = object["metadata"]["annotations"][names::annotation::DEPLOYMENT_REVISION].as_str()?;
        text.parse::<i64>().ok()
    };
    let newest = of_kind("ReplicaSet").max_by_key(|r| number(r))?;
    let label = names::label::POD_TEMPLATE_HASH;
    let hash = newest["metadata"]["labels"][label].as_str()?.to_owned();
    let uids = of_kind("ReplicaSet").filter_map(|r| Some(r["metadata"]["uid"].as_str()?.to_owned()));
    Some(Newest { maker: objects::uid(newest).to_owned(), owners: uids.collect(), label, hash })
}

fn owned(pod: &Value, owners: &[String]) -> bool {
    !readiness::has_ended(pod) && controller_uid(pod).is_some_and(|uid| owners.iter().any(|o| o == uid))
}

fn wanted(workload: &Value) -> u64 {
    let of_daemonset = workload["status"]["desiredNumberScheduled"].as_u64();
    of_daemonset.or_else(|| workload["spec"]["replicas"].as_u64()).unwrap_or(1)
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|list| objects::items(&pod["status"][list]))
}

/// Why a pod will not become ready by itself.
fn failing(pod: &Value) -> Option<String> {
    if objects::is_deleting(pod) {
        return None;
    }
    statuses(pod).find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let reason = waiting["reason"].as_str().unwrap_or_default();
        let crashes = container["restartCount"].as_i64().unwrap_or_default() >= CRASHES
            && container["ready"] != true
            && (reason == "CrashLoopBackOff" || container["state"].get("terminated").is_some())
            && end(container).is_none_or(|end| end["reason"] != LOST);
        if !crashes && !HOPELESS.contains(&reason) {
            return None;
        }
        let name = container["name"].as_str().unwrap_or_default();
        let message = waiting["message"].as_str().map(|m| format!(": {m}")).unwrap_or_default();
        let waits = if reason.is_empty() { "ends".to_owned() } else { format!("waits with {reason}") };
        Some(format!("container {name} {waits}{message}{}", last_end(container)))
    })
}

/// The last end of a container.
fn end(container: &Value) -> Option<&Value> {
    let ends = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
    ends.into_iter().find(|end| end.is_object())
}

/// What is to be said of it.
fn last_end(container: &Value) -> String {
    let Some(end) = end(container) else { return String::new() };
    let message = end["message"].as_str().map(str::trim).filter(|m| !m.is_empty());
    let message = message.map(|m| format!(": {m}")).unwrap_or_default();
    format!("; it ended with exit code {}{message}", end["exitCode"])
}

/// The containers of a pod that is ready, each with the pod's UID; or what is missing.
fn ready_containers(pod: &Value, seen: Seen<'_>) -> Result<Vec<String>, String> {
    let here = pod["spec"]["nodeName"] == seen.node;
    let statuses = readiness::container_statuses(pod);
    if let Some(lack) = readiness::lack(pod, here.then_some(seen.running)) {
        let waits = statuses.iter().find(|status| status["state"]["waiting"].is_object());
        return Err(format!("{lack}{}", waits.map(last_end).unwrap_or_default()));
    }
    let uid = objects::uid(pod);
    Ok(statuses.iter().map(|status| format!("{uid}/{}", readiness::container_id(status))).collect())
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
