//! Pods of `kube-system` that cannot be made, that are not as they were made, and static ones of which the API has no image.

use std::collections::BTreeSet;
use std::time::Duration;

use checks::kind;
use jiff::Timestamp;
use names::label::CONTROLLER_REVISION_HASH;
use names::object::KUBE_SYSTEM;
use objects::{items, name, owner, pod, readiness, text, uid};
use serde_json::Value;

use crate::cause::Cause;
use crate::place::Place;
use crate::refusal::{Refused, changers, remove_changers, whose};
use crate::seen::Seen;

/// The reason of the event by which a controller tells that it could not make a pod (`FailedCreatePodReason` in
/// pkg/controller/controller_utils.go), and how its message begins.
const FAILED_CREATE: (&str, &str) = ("FailedCreate", "Error creating: ");

/// Where the API has the events of a namespace that tell of pods which could not be made.
pub fn refusals(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/events?fieldSelector=reason%3D{}", FAILED_CREATE.0)
}

/// How long a kubelet may need to show its static pods to an API that is new to it: it looks at each once a minute
/// (`SyncFrequency` in pkg/kubelet/apis/config/v1beta1/defaults.go).
pub const UNSHOWN: Duration = Duration::from_mins(2);

/// DaemonSets and ReplicaSets that lack pods which the API refuses.
pub(crate) fn not_made(seen: &Seen) -> Vec<Cause> {
    let sets = seen.daemonsets.iter().chain(&seen.replicasets);
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for set in sets.filter(|set| lacks_pods(set)) {
        let Some(message) = newest_refusal(uid(set), &seen.events, seen.pods.as_deref().unwrap_or_default())
        else {
            continue;
        };
        let workload = workload(set);
        // Of a Deployment's ReplicaSets several may lack pods.
        if told.insert(workload.clone()) {
            found.push(refused(&workload, &message, seen));
        }
    }
    found
}

fn refused(workload: &str, message: &str, seen: &Seen) -> Cause {
    let what = format!("no pod of {workload} can be made: {message}");
    let about = workload.rsplit('/').next().unwrap_or_default();
    let name = kind::PODS_MADE.of(about);
    let Some(whose) = whose(message, seen) else {
        let command = workload.to_lowercase().replacen(&format!("{KUBE_SYSTEM}/"), "", 1);
        let remedy = format!("see to what the API says: kubectl -n {KUBE_SYSTEM} describe {command}");
        // It may be a moment's.
        return Cause::new(name, workload, what, remedy);
    };
    let remedy = format!("{}: {}", whose.object, whose.remedy);
    Cause::new(name, whose.object, what, remedy).stopping_pods(!whose.by_upgrade)
}

/// What lets no further pod be made, of workloads that have theirs: told once of each object, and not of what is told already.
pub(crate) fn would_be_refused(seen: &Seen, told: &[Cause]) -> Vec<Cause> {
    let mut by_object: Vec<(Refused, Vec<&str>, &str)> = Vec::new();
    for (workload, message) in &seen.would_refuse {
        // Whoever asks may have less rights than a controller, and what nobody knows may be a moment's.
        let Some(whose) = whose(message, seen).filter(|whose| !whose.by_upgrade) else { continue };
        if told.iter().any(|cause| cause.object == whose.object) {
            continue;
        }
        match by_object.iter_mut().find(|(known, ..)| known.object == whose.object) {
            Some((_, workloads, _)) => workloads.push(workload),
            None => by_object.push((whose, vec![workload], message)),
        }
    }
    let cause = |(whose, workloads, message): (Refused, Vec<&str>, &str)| {
        let about = workloads.first().and_then(|first| first.rsplit('/').next()).unwrap_or_default();
        let what = format!("no further pod of {} could be made: {message}", workloads.join(", "));
        let remedy = format!("{}: {}", whose.object, whose.remedy);
        Cause::new(kind::PODS_MADE.of(about), whose.object, what, remedy).stopping_pods(true)
    };
    by_object.into_iter().map(cause).collect()
}

/// Whom people know: the Deployment of a ReplicaSet.
pub(crate) fn workload(set: &Value) -> String {
    let deployment = owner::controller(set).filter(|owner| owner["kind"] == "Deployment");
    let (kind, name) = match deployment {
        Some(owner) => ("Deployment", text(&owner["name"])),
        None => (text(&set["kind"]), name(set)),
    };
    format!("{kind} {KUBE_SYSTEM}/{name}")
}

fn lacks_pods(set: &Value) -> bool {
    let count = |at: &str| set.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    if set["kind"] == "DaemonSet" {
        let wanted = count("/status/desiredNumberScheduled");
        return count("/status/currentNumberScheduled") < wanted
            || count("/status/updatedNumberScheduled") < wanted;
    }
    count("/status/replicas") < count("/spec/replicas")
}

/// What the API said last when whoever has this UID wanted to make a pod; none when nothing, or when it has made one since.
pub fn newest_refusal(owner: &str, events: &[Value], pods: &[Value]) -> Option<String> {
    let of_owner =
        |event: &&Value| event["involvedObject"]["uid"] == owner && event["reason"] == FAILED_CREATE.0;
    let newest = events.iter().filter(of_owner).max_by_key(|event| told_at(event))?;
    let made = pods.iter().filter(|pod| owner::controller_uid(pod) == Some(owner));
    let last = made.filter_map(|pod| time(&pod["metadata"]["creationTimestamp"])).max();
    if last.is_some_and(|last| told_at(newest).is_some_and(|told| told < last)) {
        return None;
    }
    let message = text(&newest["message"]);
    Some(message.strip_prefix(FAILED_CREATE.1).unwrap_or(message).trim().to_owned())
}

/// When an event was told for the last time: old events and new ones have different fields.
fn told_at(event: &Value) -> Option<Timestamp> {
    let fields = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    fields.iter().filter_map(|field| time(event.pointer(field)?)).max()
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Pods that are not Ready and not as their DaemonSet or ReplicaSet has them: something changes them on the way.
pub(crate) fn changed(seen: &Seen) -> Vec<Cause> {
    let pods = seen.pods.as_deref().unwrap_or_default().iter();
    // One that works is meant to be as it is: a mirror of registries, for instance.
    let stuck = pods
        .filter(|pod| !readiness::has_ended(pod) && !objects::is_deleting(pod) && !readiness::is_ready(pod));
    stuck.filter_map(|pod| differs(pod, template(pod, seen)?, seen)).collect()
}

/// What a pod was made from.
fn template<'a>(pod: &Value, seen: &'a Seen) -> Option<&'a Value> {
    let (of, kind) = (owner::controller_uid(pod)?, &owner::controller(pod)?["kind"]);
    if kind != "DaemonSet" {
        let set = seen.replicasets.iter().find(|set| uid(set) == of)?;
        return Some(&set["spec"]["template"]);
    }
    let hash = &pod["metadata"]["labels"][CONTROLLER_REVISION_HASH];
    let is_of = |revision: &&Value| {
        owner::controller_uid(revision) == Some(of)
            && revision["metadata"]["labels"][CONTROLLER_REVISION_HASH] == *hash
    };
    seen.revisions.iter().find(is_of)?.pointer("/data/spec/template")
}

fn differs(pod: &Value, template: &Value, seen: &Seen) -> Option<Cause> {
    let mut differences = Vec::new();
    for container in pod::containers(pod) {
        let same = |other: &&Value| other["name"] == container["name"];
        let Some(meant) = ["initContainers", "containers"]
            .iter()
            .flat_map(|list| items(&template["spec"][*list]))
            .find(same)
        else {
            continue;
        };
        if meant["image"] != container["image"] {
            let (has, wanted) = (text(&container["image"]), text(&meant["image"]));
            differences.push(format!(
                "the image of its container {} is {has}, not {wanted}",
                text(&container["name"])
            ));
        }
    }
    let secrets = |holder: &Value| -> Vec<String> {
        items(&holder["imagePullSecrets"]).iter().map(|secret| text(&secret["name"]).to_owned()).collect()
    };
    // An account brings its own where the template has none.
    let account =
        seen.service_accounts.iter().find(|account| name(account) == pod["spec"]["serviceAccountName"]);
    let meant = [secrets(&template["spec"]), account.map(secrets).unwrap_or_default()].concat();
    let added: Vec<_> = secrets(&pod["spec"]).into_iter().filter(|one| !meant.contains(one)).collect();
    if !added.is_empty() {
        differences.push(format!("it has imagePullSecrets {}", added.join(", ")));
    }
    if differences.is_empty() {
        return None;
    }
    let maker = owner::controller(pod)?;
    let changers = changers(seen);
    let by = match &changers {
        Some(changers) => format!("something changes new pods: {changers}"),
        None => "something has changed it that is gone".to_owned(),
    };
    let what = format!(
        "pod {KUBE_SYSTEM}/{} is not as its {} has it: {}; {by}",
        name(pod),
        text(&maker["kind"]),
        differences.join("; "),
    );
    let delete = format!("kubectl -n {KUBE_SYSTEM} delete pod {}", name(pod));
    let remedy = match &changers {
        Some(_) => format!("{}; then {delete}", remove_changers(seen)),
        None => format!("have it made anew: {delete}"),
    };
    let object = format!("pod {KUBE_SYSTEM}/{}", name(pod));
    Some(Cause::new(kind::PODS_AS_MADE.of(name(pod)), object, what, remedy).stopping_pods(changers.is_some()))
}

/// Static pods of this node of which the API has no image, though it has had the time for it: it has known the node, and
/// served, for a while.
pub(crate) fn without_image(seen: &Seen, here: &str, place: &Place) -> Option<Cause> {
    let (pods, nodes) = (seen.pods.as_ref()?, seen.nodes.as_ref()?);
    let is_old = |since: &Value| time(since).is_some_and(|since| since + UNSHOWN < place.now);
    let node = nodes.iter().find(|node| name(node) == here)?;
    let apiservers = pods.iter().filter(|pod| pod::apiserver(pod).is_some());
    let mut containers = apiservers.flat_map(readiness::container_statuses);
    let serves = containers.any(|container| is_old(&container["state"]["running"]["startedAt"]));
    if !serves || !is_old(&node["metadata"]["creationTimestamp"]) {
        return None;
    }
    let is_there = |wanted: &str| pods.iter().any(|pod| name(pod) == format!("{wanted}-{here}"));
    let missing: Vec<_> =
        place.static_pods.iter().filter(|wanted| !is_there(wanted)).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    let what = format!(
        "the API has no image of the static pods {} of node {here}: they run, and it refuses what their kubelet would show of \
         them, as a policy that adds secrets or accounts to pods makes it do{}",
        missing.join(", "),
        changers(seen).map(|all| format!(" ({all})")).unwrap_or_default()
    );
    let remedy = format!(
        "{}; the kubelet says whose refusal it is: journalctl -u kubelet | grep 'mirror pod'",
        remove_changers(seen)
    );
    Some(Cause::new(kind::MIRROR_PODS.of(here), format!("static pods of node {here}"), what, remedy))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
