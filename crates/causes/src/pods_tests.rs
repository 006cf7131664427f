use serde_json::json;

use super::*;

const QUOTA: &str = "Error creating: pods \"kube-proxy-\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=9, limited: pods=9";

fn event(owner: &str, time: &str, message: &str) -> Value {
    json!({"reason": "FailedCreate", "involvedObject": {"uid": owner}, "lastTimestamp": time, "message": message})
}

fn pod(name: &str, owner: &Value, image: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": [owner], "creationTimestamp": "2026-11-01T12:00:00Z",
            "labels": {CONTROLLER_REVISION_HASH: "h"}},
        "spec": {"containers": [{"name": "c", "image": image}]},
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": ready}]}})
}

fn of(kind: &str, uid: &str) -> Value {
    json!({"kind": kind, "name": "x", "uid": uid, "controller": true})
}

fn daemonset(current: u64, updated: u64) -> Value {
    json!({"kind": "DaemonSet", "metadata": {"name": "kube-proxy", "uid": "ds"}, "status":
        {"desiredNumberScheduled": 1, "currentNumberScheduled": current, "updatedNumberScheduled": updated}})
}

fn replicaset(replicas: u64) -> Value {
    json!({"kind": "ReplicaSet", "metadata": {"name": "kube-scheduler-5d", "uid": "rs",
            "ownerReferences": [{"kind": "Deployment", "name": "kube-scheduler", "uid": "d", "controller": true}]},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
        "status": {"replicas": replicas}})
}

fn told(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(ToString::to_string).collect()
}

#[test]
fn a_workload_whose_pods_are_refused_quotes_the_api_and_names_the_object() {
    let seen = Seen {
        daemonsets: vec![daemonset(1, 0)],
        replicasets: vec![replicaset(1)],
        events: vec![
            event("ds", "2026-11-01T12:00:00Z", "Error creating: an older word"),
            event("ds", "2026-11-01T12:01:00Z", QUOTA),
            event("rs", "2026-11-01T12:01:00Z", "Error creating: etcdserver: request timed out"),
        ],
        ..Seen::default()
    };
    let found = not_made(&seen);
    assert_eq!(
        told(&found),
        [
            "no pod of DaemonSet kube-system/kube-proxy can be made: pods \"kube-proxy-\" is forbidden: exceeded quota: few, \
             requested: pods=1, used: pods=9, limited: pods=9; ResourceQuota kube-system/few: raise or remove it: kubectl -n \
             kube-system delete resourcequota few",
            "no pod of Deployment kube-system/kube-scheduler can be made: etcdserver: request timed out; see to what the API \
             says: kubectl -n kube-system describe deployment kube-scheduler",
        ]
    );
    assert_eq!(found.iter().map(|cause| cause.stops_pods).collect::<Vec<_>>(), [true, false]);
    assert_eq!(found[0].check.name, "PodsMade-kube-proxy");
}

#[test]
fn what_would_refuse_the_next_pod_is_told_once_with_all_that_it_stops() {
    let quota = |set: &str| QUOTA.replace("Error creating: ", "").replace("kube-proxy-", set);
    let seen = Seen {
        would_refuse: vec![
            ("DaemonSet kube-system/a".to_owned(), quota("a-")),
            ("Deployment kube-system/b".to_owned(), quota("b-")),
            // Of the asker's own rights, and of what nobody knows, nothing is said.
            ("DaemonSet kube-system/c".to_owned(), "User \"x\" cannot create resource \"pods\"".to_owned()),
            ("DaemonSet kube-system/d".to_owned(), "no".to_owned()),
        ],
        ..Seen::default()
    };
    let found = would_be_refused(&seen, &[]);
    assert_eq!(
        told(&found),
        [
            "no further pod of DaemonSet kube-system/a, Deployment kube-system/b could be made: pods \"a-\" is forbidden: \
          exceeded quota: few, requested: pods=1, used: pods=9, limited: pods=9; ResourceQuota kube-system/few: raise or \
          remove it: kubectl -n kube-system delete resourcequota few"
        ]
    );
    assert!(found[0].stops_pods);
    assert_eq!(would_be_refused(&seen, &found), [], "it is told already");
}

#[test]
fn a_refusal_counts_while_pods_are_missing_and_none_was_made_since() {
    let events = vec![event("ds", "2026-11-01T12:01:00Z", QUOTA)];
    let found = |daemonset: Value, pods: Vec<Value>| {
        not_made(&Seen {
            daemonsets: vec![daemonset],
            events: events.clone(),
            pods: Some(pods),
            ..Seen::default()
        })
        .len()
    };
    let mut made = pod("kube-proxy-1", &of("DaemonSet", "ds"), "i:1", "True");
    assert_eq!(found(daemonset(1, 1), vec![]), 0, "it has all of its pods");
    assert_eq!(found(daemonset(0, 0), vec![]), 1);
    assert_eq!(found(daemonset(1, 0), vec![made.clone()]), 1, "that one was made before");
    made["metadata"]["creationTimestamp"] = json!("2026-11-01T12:02:00Z");
    assert_eq!(found(daemonset(1, 0), vec![made]), 0, "it could make one since");
}

#[test]
fn events_of_the_new_kind_have_their_time_elsewhere() {
    let old = event("ds", "2026-11-01T12:00:00Z", "Error creating: old");
    let mut new = event("ds", "", "Error creating: new");
    new["lastTimestamp"] = json!(null);
    new["eventTime"] = json!("2026-11-01T12:00:01.000000Z");
    new["series"] = json!({"lastObservedTime": "2026-11-01T12:00:09.000000Z"});
    assert_eq!(newest_refusal("ds", &[new, old], &[]).unwrap(), "new");
    assert_eq!(newest_refusal("other", &[], &[]), None);
}

#[test]
fn a_pod_that_is_not_as_it_was_made_names_what_may_have_changed_it() {
    let revision = json!({"metadata": {"labels": {CONTROLLER_REVISION_HASH: "h"},
            "ownerReferences": [{"uid": "ds", "controller": true}]},
        "data": {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}});
    let of_set = pod("kube-proxy-1", &of("DaemonSet", "ds"), "registry.lan/i:1", "False");
    let mut of_replicaset = pod("kube-scheduler-5d-1", &of("ReplicaSet", "rs"), "i:1", "False");
    of_replicaset["spec"]["imagePullSecrets"] = json!([{"name": "lan"}]);
    let works = pod("kube-proxy-2", &of("DaemonSet", "ds"), "registry.lan/i:1", "True");
    let mut ended = of_set.clone();
    ended["status"]["phase"] = json!("Failed");
    let as_made = pod("kube-proxy-3", &of("DaemonSet", "ds"), "i:1", "False");
    let mut seen = Seen {
        pods: Some(vec![of_set, of_replicaset, works, ended, as_made]),
        revisions: vec![revision],
        replicasets: vec![replicaset(2)],
        mutating_bindings: vec![
            json!({"kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "lan"}}),
        ],
        ..Seen::default()
    };
    assert_eq!(
        told(&changed(&seen)),
        [
            "pod kube-system/kube-proxy-1 is not as its DaemonSet has it: the image of its container c is registry.lan/i:1, \
             not i:1; something changes new pods: MutatingAdmissionPolicyBinding lan; exempt kube-system from the one that \
             does it, or remove that: kubectl delete mutatingadmissionpolicybinding lan; then kubectl -n kube-system delete \
             pod kube-proxy-1",
            "pod kube-system/kube-scheduler-5d-1 is not as its ReplicaSet has it: it has imagePullSecrets lan; something \
             changes new pods: MutatingAdmissionPolicyBinding lan; exempt kube-system from the one that does it, or remove \
             that: kubectl delete mutatingadmissionpolicybinding lan; then kubectl -n kube-system delete pod \
             kube-scheduler-5d-1",
        ]
    );
    // An account may bring secrets of its own.
    let account = json!({"metadata": {"name": "s"}, "imagePullSecrets": [{"name": "lan"}]});
    seen.service_accounts = vec![account];
    seen.pods.as_mut().unwrap()[1]["spec"]["serviceAccountName"] = json!("s");
    assert_eq!(changed(&seen).len(), 1);
    // The policy is gone, and what it has made is still there.
    seen.mutating_bindings.clear();
    let left = told(&changed(&seen));
    assert!(left[0].ends_with("something has changed it that is gone; have it made anew: kubectl -n kube-system delete pod kube-proxy-1"), "{}", left[0]);
    assert!(!changed(&seen)[0].stops_pods);
}

#[test]
fn a_static_pod_without_an_image_is_told_where_its_node_is_known() {
    let at = |text: &str| -> Timestamp { text.parse().unwrap() };
    let static_pods = vec!["etcd".to_owned(), "kubestrap-guardian".to_owned()];
    let mut place = Place { static_pods, ..Place::node("a", at("2026-11-01T12:10:00Z")) };
    let node = json!({"metadata": {"name": "a", "creationTimestamp": "2026-11-01T12:00:00Z"}});
    let mirror = json!({"metadata": {"name": "etcd-a"}});
    let find = |nodes: Vec<Value>, pods: Vec<Value>, place: &Place| {
        let apiserver = json!({"metadata": {"name": "kube-apiserver-1"},
            "spec": {"containers": [{"args": ["--etcd-servers=https://127.0.0.1:2379"]}]},
            "status": {"containerStatuses": [{"state": {"running": {"startedAt": "2026-11-01T12:00:00Z"}}}]}});
        let pods = pods.into_iter().chain([apiserver]).collect();
        without_image(&Seen { nodes: Some(nodes), pods: Some(pods), ..Seen::default() }, "a", place)
    };
    let cause = find(vec![node.clone()], vec![mirror.clone()], &place).unwrap();
    assert!(cause.check.what.contains("no image of the static pods kubestrap-guardian of node a"), "{cause}");
    assert!(cause.to_string().contains("journalctl -u kubelet | grep 'mirror pod'"), "{cause}");
    assert!(find(vec![], vec![mirror.clone()], &place).is_none(), "the Node is what is missing");
    let both = vec![mirror.clone(), json!({"metadata": {"name": "kubestrap-guardian-a"}})];
    assert!(find(vec![node.clone()], both, &place).is_none());
    assert!(without_image(&Seen::default(), "a", &place).is_none());
    place.now = at("2026-11-01T12:01:00Z");
    assert!(find(vec![node], vec![mirror], &place).is_none(), "the API has just come back");
}
