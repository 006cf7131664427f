use super::*;
use serde_json::json;

fn daemonset(observed: i64) -> Value {
    json!({"kind": "DaemonSet", "metadata": {"uid": "ds", "generation": 2},
        "status": {"observedGeneration": observed, "desiredNumberScheduled": 1}})
}

fn revision(number: i64, hash: &str) -> Value {
    json!({"kind": "ControllerRevision", "revision": number, "metadata": {"uid": hash,
        "labels": {"controller-revision-hash": hash}, "ownerReferences": [{"uid": "ds", "controller": true}]}})
}

fn pod(name: &str, hash: &str, container: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "uid": name, "labels": {"controller-revision-hash": hash},
            "ownerReferences": [{"uid": "ds", "controller": true}]},
        "spec": {"nodeName": "here"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "c", "containerID": format!("containerd://{container}"),
                "ready": ready == "True", "restartCount": 0, "state": {"running": {}}}]}})
}

fn verdict(workload: &Value, pods: &[Value], running: &[&str]) -> Verdict {
    judged(workload, pods, &[], running)
}

fn judged(workload: &Value, pods: &[Value], events: &[Value], running: &[&str]) -> Verdict {
    let revisions = [revision(2, "new"), revision(1, "old")];
    let running = running.iter().map(|id| (*id).to_owned()).collect();
    judge(Seen { workload, revisions: &revisions, pods, events, running: &running, node: "here" })
}

fn waiting(verdict: Verdict) -> String {
    match verdict {
        Verdict::Waiting(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_that_nobody_has_seen_is_not_rolled_out() {
    let verdict = verdict(&daemonset(1), &[pod("a", "new", "c1", "True")], &["c1"]);
    assert_eq!(waiting(verdict), "its controller has not seen the change yet");
}

#[test]
fn the_old_revision_being_ready_does_not_count() {
    let old = pod("a", "old", "c1", "True");
    assert_eq!(waiting(verdict(&daemonset(2), &[old], &["c1"])), "0 of 1 new pods are ready");
}

#[test]
fn where_no_new_pod_could_be_made_the_api_s_reason_is_told() {
    let event = json!({"reason": "FailedCreate", "involvedObject": {"uid": "ds"}, "lastTimestamp": "2026-11-01T12:00:00Z",
        "message": "Error creating: pods \"x-\" is forbidden: exceeded quota: few"});
    let told = |pods: &[Value]| waiting(judged(&daemonset(2), pods, std::slice::from_ref(&event), &["c1"]));
    let old = pod("a", "old", "c1", "True");
    let refused =
        "0 of 1 new pods are ready: none could be made: pods \"x-\" is forbidden: exceeded quota: few";
    assert_eq!(told(std::slice::from_ref(&old)), refused);
    let new = pod("b", "new", "c2", "False");
    assert_eq!(told(&[old, new]), "0 of 1 new pods are ready: pod b: container c does not run");
}

#[test]
fn a_rollout_ends_when_the_old_pod_is_gone() {
    let (old, new) = (pod("a", "old", "c1", "True"), pod("b", "new", "c2", "True"));
    let pods = [old, new.clone()];
    let containers = BTreeSet::from(["b/c2".to_owned()]);
    let ending = Verdict::Ending(containers.clone(), "the old pod a is still there".to_owned());
    assert_eq!(verdict(&daemonset(2), &pods, &["c1", "c2"]), ending);
    let settled = Verdict::Settled(containers);
    assert_eq!(verdict(&daemonset(2), &[new], &["c2"]), settled);
}

#[test]
fn ready_without_a_running_container_is_a_memory() {
    let why = waiting(verdict(&daemonset(2), &[pod("b", "new", "c2", "True")], &["c1"]));
    assert_eq!(why, "0 of 1 new pods are ready: pod b: container c does not run");
}

#[test]
fn a_pod_of_another_owner_is_not_ours() {
    let mut foreign = pod("b", "new", "c2", "True");
    foreign["metadata"]["ownerReferences"][0]["uid"] = json!("other");
    assert_eq!(waiting(verdict(&daemonset(2), &[foreign], &["c2"])), "0 of 1 new pods are ready");
}

#[test]
fn a_crashing_revision_is_broken_and_says_how() {
    let mut crashing = pod("b", "new", "c2", "False");
    crashing["status"]["containerStatuses"][0] = json!({"name": "c", "restartCount": 2, "ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "Error: unknown flag: --x\n"}}});
    let pods = [pod("a", "old", "c1", "True"), crashing.clone()];
    assert_eq!(
        verdict(&daemonset(2), &pods, &["c1"]),
        Verdict::Broken(
            "pod b: container c waits with CrashLoopBackOff: back-off 20s; it ended with exit code 1: Error: unknown flag: --x"
                .to_owned()
        )
    );
    // The first crash may be the world's fault.
    crashing["status"]["containerStatuses"][0]["restartCount"] = json!(1);
    waiting(verdict(&daemonset(2), &[crashing], &[]));
}

#[test]
fn a_container_that_went_with_the_power_is_waited_for() {
    let mut cut = pod("b", "new", "c2", "False");
    let lost = json!({"terminated": {"exitCode": 255, "reason": "Unknown"}});
    let failed = json!({"terminated": {"exitCode": 255, "reason": "Error"}});
    let mut status = |state: &serde_json::Value, last: &serde_json::Value| {
        cut["status"]["containerStatuses"][0] =
            json!({"name": "c", "restartCount": 4, "ready": false, "state": state, "lastState": last});
        verdict(&daemonset(2), std::slice::from_ref(&cut), &[])
    };
    let waits = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    // What it did before the cut does not count, either.
    waiting(status(&lost, &failed));
    waiting(status(&waits, &lost));
    let broken = Verdict::Broken("pod b: container c ends; it ended with exit code 255".to_owned());
    assert_eq!(status(&failed, &lost), broken);
}

#[test]
fn an_image_that_cannot_be_had_is_broken_at_once() {
    let mut pulling = pod("b", "new", "c2", "False");
    pulling["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "ImagePullBackOff"}});
    assert!(matches!(verdict(&daemonset(2), &[pulling], &[]), Verdict::Broken(_)));
}

#[test]
fn a_deployment_s_newest_replica_set_counts() {
    let replica_set = |number: &str| {
        json!({"kind": "ReplicaSet", "metadata": {"uid": format!("rs{number}"),
            "labels": {"pod-template-hash": number},
            "annotations": {"deployment.kubernetes.io/revision": number},
            "ownerReferences": [{"uid": "d", "controller": true}]}})
    };
    let pod = |number: &str| {
        let mut pod = pod(number, "x", number, "True");
        pod["metadata"]["labels"] = json!({"pod-template-hash": number});
        pod["metadata"]["ownerReferences"][0]["uid"] = json!(format!("rs{number}"));
        pod
    };
    let workload = json!({"kind": "Deployment", "metadata": {"uid": "d", "generation": 1},
        "spec": {"replicas": 1}, "status": {"observedGeneration": 1}});
    let revisions = [replica_set("9"), replica_set("10")];
    let running = BTreeSet::from(["9".to_owned(), "10".to_owned()]);
    let judge = |pods: &[Value]| {
        let (workload, revisions, running) = (&workload, &revisions, &running);
        judge(Seen { workload, revisions, pods, events: &[], running, node: "here" })
    };
    assert!(matches!(judge(&[pod("9")]), Verdict::Waiting(_)));
    assert!(matches!(judge(&[pod("10")]), Verdict::Settled(_)));
}
