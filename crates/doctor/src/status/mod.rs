//! What runs where, from which source: as the API tells it, and what the node's own disk and runtime
//! tell when the API does not.
//!
//! ```text
//! API: nodes, pods, leases, the guardians' reports ─┐
//! this node: disk, runtime, etcd ───────────────────┴─▶ Status ─▶ table or JSON
//! ```

mod api;
mod local;
mod model;
mod versions;

use ::checks::{Check, kind};
use causes::{Cause, store};
use jiff::Timestamp;

use crate::check::Verdict;
use crate::checks::guardian;
use crate::report::{ComponentReport, NodeReport};

pub use api::{ApiView, NodeView, gather};
pub use local::{LocalView, look};
pub use model::{ApiStatus, CertificateStatus, EtcdStatus, KnownFrom, Leader, NodeStatus, PodStatus, Status};

/// Puts together what the API and this node said, and what of the API is in the way. `local` is none on a machine that
/// is no control-plane node.
pub fn combine(
    api: &Result<ApiView, String>,
    local: Option<LocalView>,
    causes: &[Cause],
    now: Timestamp,
) -> Status {
    let mut nodes = Vec::new();
    let mut in_the_way: Vec<Check> = causes.iter().map(|cause| cause.check.clone()).collect();
    in_the_way.extend(local.as_ref().and_then(of_etcd));
    let local_name = local.as_ref().map(|local| local.node.clone());
    let etcd = match &local {
        Some(local) => local.etcd.clone(),
        None => EtcdStatus {
            members: Vec::new(),
            unknown: Some("ask on a control-plane node: its certificates are needed".to_owned()),
        },
    };
    let view = api.as_ref().ok();
    let node = |name: &str| view.and_then(|view| view.nodes.iter().find(|node| node.name == name));
    if let Some(local) = local {
        nodes.push(local_node(local, view.map(|view| view.version.as_str()), node, &in_the_way));
    }
    let others = view.into_iter().flat_map(|view| &view.nodes);
    nodes.extend(others.filter(|node| Some(&node.name) != local_name.as_ref()).map(other_node));
    let kubelet = |name: &str| node(name)?.kubelet.clone();
    for node in &mut nodes {
        node.held_up = held_up(&node.pods);
        let api = view.map(|view| view.version.as_str());
        node.mixed
            .extend(versions::kubelet(&kubelet(&node.name).unwrap_or_default(), api.unwrap_or_default()));
    }
    let (answers, version, why) = match api {
        Ok(view) => (true, Some(view.version.clone()), None),
        Err(why) => (false, None, Some(why.clone())),
    };
    let leaders = view.map(|view| view.leaders(now)).unwrap_or_default();
    let api = ApiStatus { answers, version, why };
    Status { version: 1, time: now, api, nodes, leaders, etcd, in_the_way }
}

/// A member that never started is told whether the API answers or not: with too many of them it does not.
fn of_etcd(local: &LocalView) -> Option<Check> {
    let ghosts = store::ghosts(&local.etcd.members, local.etcdctl.as_deref())?;
    Some(Check::warning(&kind::ETCD_MEMBERS, ghosts.what, ghosts.remedy))
}

fn local_node<'a>(
    local: LocalView,
    api: Option<&str>,
    node: impl Fn(&str) -> Option<&'a NodeView>,
    in_the_way: &[Check],
) -> NodeStatus {
    let known = node(&local.node);
    let mut unknown = local.unknown;
    let object = String::from(kind::NODE_OBJECT.of(&local.node));
    if known.is_none() && api.is_some() && in_the_way.iter().all(|check| check.name != object) {
        unknown.push(format!("the API knows no control-plane node {}", local.node));
    }
    let pods = match (known, local.pods) {
        (Some(node), Some(running)) => believable(&node.pods, running),
        (Some(node), None) => node.pods.clone(),
        (None, running) => running.unwrap_or_default(),
    };
    let report = known.and_then(|node| node.report.as_ref().ok());
    let mut mixed = local.moved;
    mixed.extend(local.rendered.as_deref().zip(api).and_then(|(ours, api)| versions::assets(ours, api)));
    NodeStatus {
        ready: known.map(|node| node.ready),
        name: local.node,
        local: true,
        pods,
        origin: KnownFrom::Disk,
        as_of: Some(local.time),
        components: with_events(local.components, report),
        certificates: local.certificates,
        steering: report.map(|report| report.steering.clone()),
        last_revert: report.and_then(|report| report.last_revert.clone()),
        verdict: verdict(report),
        held_up: Vec::new(),
        mixed,
        unknown,
    }
}

/// What the API tells of pods, as far as the runtime bears it out: after a power cut its word is a
/// memory of the time before. What runs and it does not know yet is told, too.
fn believable(told: &[PodStatus], running: Vec<PodStatus>) -> Vec<PodStatus> {
    let same =
        |one: &PodStatus, other: &PodStatus| (&one.namespace, &one.pod) == (&other.namespace, &other.pod);
    let mut pods = told.to_vec();
    for pod in &mut pods {
        match running.iter().find(|other| same(pod, other)) {
            None if pod.state == "ready" => "not running".clone_into(&mut pod.state),
            Some(other) if pod.state == "ready" && other.state != "running" => {
                pod.state.clone_from(&other.state);
            }
            _ => {}
        }
    }
    let new = running.into_iter().filter(|pod| !told.iter().any(|other| same(pod, other)));
    pods.extend(new);
    pods.sort_by(|a, b| (&a.component, &a.pod).cmp(&(&b.component, &b.pod)));
    pods
}

/// The disk does not know what happened; the report does.
fn with_events(mut components: Vec<ComponentReport>, report: Option<&NodeReport>) -> Vec<ComponentReport> {
    for component in &mut components {
        let same =
            |other: &&ComponentReport| other.namespace == component.namespace && other.name == component.name;
        let told = report.and_then(|report| report.components.iter().find(same));
        component.last_event = told.and_then(|told| told.last_event.clone());
    }
    components
}

fn verdict(report: Option<&NodeReport>) -> Option<Verdict> {
    report.and_then(|report| report.doctor.as_ref()).map(|doctor| doctor.verdict)
}

fn other_node(node: &NodeView) -> NodeStatus {
    let report = node.report.as_ref().ok();
    NodeStatus {
        name: node.name.clone(),
        local: false,
        ready: Some(node.ready),
        pods: if node.ready { node.pods.clone() } else { remembered(&node.pods) },
        origin: if report.is_some() { KnownFrom::Report } else { KnownFrom::Nothing },
        as_of: report.map(|report| report.time),
        components: report.map(|report| report.components.clone()).unwrap_or_default(),
        certificates: Vec::new(),
        steering: report.map(|report| report.steering.clone()),
        last_revert: report.and_then(|report| report.last_revert.clone()),
        verdict: verdict(report),
        held_up: Vec::new(),
        mixed: Vec::new(),
        unknown: node.report.as_ref().err().cloned().into_iter().collect(),
    }
}

/// A new apiserver whose readiness gate is shut, where no guardian runs that would open it: its rollout waits.
fn held_up(pods: &[PodStatus]) -> Vec<String> {
    let guardian = pods.iter().find(|pod| pod.component == guardian::NAME).map(|pod| pod.state.as_str());
    if matches!(guardian, Some("ready" | "running")) {
        return Vec::new();
    }
    let guardian =
        guardian.map_or("no guardian runs here".to_owned(), |state| format!("the guardian is {state}"));
    let waits = pods.iter().filter(|pod| pod.state.starts_with(api::WAITS_FOR_GATE));
    let line = |pod: &PodStatus| {
        format!(
            "{} {}, and {guardian}: the rollout waits and the old one serves on. \
             `kubestrap guardian stand-in` on this node lets it go on",
            pod.pod, pod.state
        )
    };
    waits.map(line).collect()
}

/// Pods of a node whose kubelet is silent: the API's word is the last one that it heard.
fn remembered(pods: &[PodStatus]) -> Vec<PodStatus> {
    let was = |pod: &PodStatus| PodStatus { state: format!("unknown (was {})", pod.state), ..pod.clone() };
    pods.iter().map(was).collect()
}

#[cfg(test)]
mod tests {
    use objects::Origin;

    use super::*;
    use crate::fixture::member;

    fn pod(name: &str, state: &str) -> PodStatus {
        PodStatus {
            namespace: "kube-system".to_owned(),
            component: "kube-apiserver".to_owned(),
            pod: name.to_owned(),
            source: Origin::Api,
            version: "v1".to_owned(),
            state: state.to_owned(),
            restarts: 0,
            since: None,
        }
    }

    #[test]
    fn a_pod_that_does_not_run_is_not_ready_whatever_the_api_remembers() {
        let told = [pod("a", "ready"), pod("b", "ready"), pod("c", "ready"), pod("d", "pending")];
        let running = vec![pod("a", "running"), pod("b", "exited"), pod("e", "running")];
        let seen = believable(&told, running);
        let seen: Vec<_> = seen.iter().map(|pod| (pod.pod.as_str(), pod.state.as_str())).collect();
        assert_eq!(
            seen,
            [("a", "ready"), ("b", "exited"), ("c", "not running"), ("d", "pending"), ("e", "running")]
        );
        assert_eq!(remembered(&told)[0].state, "unknown (was ready)");
    }

    fn view() -> ApiView {
        api::view("v1.37.2".to_owned(), &[], &[], Vec::new())
    }

    fn local(members: Vec<etcd::Member>) -> LocalView {
        LocalView {
            node: "a".to_owned(),
            time: Timestamp::UNIX_EPOCH,
            pods: None,
            components: Vec::new(),
            certificates: Vec::new(),
            etcd: EtcdStatus { members, unknown: None },
            rendered: None,
            moved: Vec::new(),
            etcdctl: None,
            unknown: Vec::new(),
        }
    }

    #[test]
    fn what_is_in_the_way_is_told_once_and_with_what_ends_it() {
        let causes = |found: &[Cause]| {
            let status = combine(&Ok(view()), Some(local(vec![member("a")])), found, Timestamp::UNIX_EPOCH);
            (status.in_the_way, status.nodes[0].unknown.clone())
        };
        let gone = Check::warning(kind::NODE_OBJECT.of("a"), "the API has no Node a", "restart its kubelet");
        let cause = Cause { check: gone.clone(), object: "Node a".to_owned(), stops_pods: false };
        assert_eq!(causes(&[cause]), (vec![gone], Vec::new()));
        assert_eq!(causes(&[]), (Vec::new(), vec!["the API knows no control-plane node a".to_owned()]));
        // Of etcd it is told without an API, which there may be none for that.
        let members = vec![member("a"), member("")];
        let away = combine(&Err("refused".to_owned()), Some(local(members)), &[], Timestamp::UNIX_EPOCH);
        assert!(away.in_the_way[0].what.contains("1 never started"), "{:?}", away.in_the_way);
    }

    #[test]
    fn a_gate_is_held_up_where_no_guardian_would_open_it() {
        let waits = pod("new", "waits for kubestrap.io/serving");
        let guardian = |state: &str| PodStatus { component: guardian::NAME.to_owned(), ..pod("g", state) };
        let told = |pods: &[PodStatus]| held_up(pods).join("\n");
        assert!(told(std::slice::from_ref(&waits)).contains("no guardian runs here"));
        assert!(told(&[waits.clone(), guardian("CrashLoopBackOff")]).contains("is CrashLoopBackOff"));
        assert_eq!(told(&[waits, guardian("ready")]), "");
        assert_eq!(told(&[pod("old", "ready")]), "");
    }
}
