use fakes::cluster::Objects;
use serde_json::json;

use super::*;
use crate::fixture::Node;

fn containers(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test]
async fn a_gate_opens_for_what_is_ready_and_for_nothing_else() {
    let node = Node::new(Objects::new());
    // Whoever is not let in at once is turned away.
    let patience = Patience { timeout: Duration::ZERO, stable: Duration::ZERO };
    let gate = Gate { sight: &node.sight, patience: &patience, report: &|_| {} };
    let pass = async |found: &Found| gate.wait("it", async || Ok(found.clone())).await;
    pass(&Found::Ready(containers(&["a"]))).await.unwrap();
    let why = || "so it is".to_owned();
    for found in [Found::Waiting(why()), Found::Broken(why()), Found::Ending(containers(&["a"]), why())] {
        let error = pass(&found).await.unwrap_err();
        let told =
            matches!(&error, UpgradeError::NotReady { what, why, .. } if what == "it" && why == "so it is");
        assert!(told, "{found:?}: {error}");
    }
}

#[test]
fn all_workloads_of_a_part_have_to_be_ready() {
    let daemonset = |name: &str| {
        ObjectRef::of(&json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}}))
    };
    let (one, other) = (daemonset("one"), daemonset("other"));
    let settled = |name: &str| Some(Verdict::Settled(containers(&[name])));
    let both = |verdict| together(vec![(&one, settled("a")), (&other, verdict)]);
    let why = || "so it is".to_owned();
    assert_eq!(both(settled("b")), Found::Ready(containers(&["a", "b"])));
    assert_eq!(both(None), Found::Broken(format!("{other} is not there: somebody has deleted it")));
    assert_eq!(both(Some(Verdict::Waiting(why()))), Found::Waiting(why()));
    assert_eq!(both(Some(Verdict::Broken(why()))), Found::Broken(why()));
    let ending = Some(Verdict::Ending(containers(&["b"]), why()));
    assert_eq!(both(ending.clone()), Found::Ending(containers(&["a", "b"]), why()));
    assert_eq!(
        together(vec![(&one, ending), (&other, settled("c"))]),
        Found::Ending(containers(&["b", "c"]), why())
    );
}

#[test]
fn other_containers_have_to_stay_ready_for_as_long_again() {
    let mut ready = Ready::default();
    let mut since = |names: &[&str]| ready.since(containers(names));
    assert_eq!(since(&["a"]), Duration::ZERO);
    while since(&["a"]).is_zero() {}
    assert_eq!(since(&["b"]), Duration::ZERO);
    assert_eq!(since(&["a", "b"]), Duration::ZERO);
    assert_eq!(since(&["a"]), Duration::ZERO);
}

#[tokio::test]
async fn a_new_apiserver_says_its_version_and_a_new_replica_leads() {
    let began: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
    let wanted = Some("v1.37.2".parse().unwrap());
    let missing = async |part: Part, path: &str, object: Value| {
        let node = Node::new(Objects::from([(path.to_owned(), object)]));
        let patience = Patience::default();
        let gate = Gate { sight: &node.sight, patience: &patience, report: &|_| {} };
        gate.of_part(part, wanted, began, &mut BTreeSet::new()).await.unwrap()
    };
    let says =
        async |version: &str| missing(Part::KubeApiserver, "/version", json!({"gitVersion": version})).await;
    assert_eq!(says("v1.37.2").await, None);
    assert_eq!(says("v1.36.3").await.unwrap(), "the API says that it is v1.36.3");
    let leads = async |holder: &str, renewed: &str| {
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";
        let spec = json!({"holderIdentity": holder, "acquireTime": "2026-01-01T00:00:00.000000Z",
            "renewTime": renewed});
        missing(Part::KubeScheduler, path, json!({"spec": spec})).await.is_none()
    };
    assert!(leads("n_new", "2026-01-01T00:00:11.000000Z").await);
    assert!(!leads("n_old", "2026-01-01T00:00:09.000000Z").await);
    assert!(!leads("", "2026-01-01T00:00:11.000000Z").await);
}
