use serde_json::json;

use super::*;
use cri::Container;

const LEASE: &str = "kube-scheduler";

fn running(id: &str, created: &str) -> PodSeen {
    let container = Container {
        id: id.to_owned(),
        pod_id: "s".to_owned(),
        name: LEASE.to_owned(),
        attempt: 0,
        state: ContainerState::Running,
        image: "i".to_owned(),
        labels: BTreeMap::new(),
        created: created.parse().ok(),
    };
    PodSeen {
        uid: id.to_owned(),
        sandbox: "s".to_owned(),
        name: LEASE.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        containers: vec![container],
    }
}

fn leadership() -> Leadership {
    Leadership::new(BTreeSet::from(["node-1".to_owned()]))
}

fn asked(leadership: &mut Leadership, pods: &[PodSeen], now_ms: u64) -> Vec<&'static str> {
    leadership.questions(pods, now_ms).into_iter().map(|question| question.lease).collect()
}

#[test]
fn a_lease_is_looked_at_until_it_is_settled_and_again_when_another_container_runs() {
    let mut leadership = leadership();
    let pods = [running("a", "2026-01-01T00:00:00Z")];
    assert!(asked(&mut leadership, &pods, 0).contains(&LEASE));
    // One question at a time.
    assert!(!asked(&mut leadership, &pods, 20_000).contains(&LEASE));
    leadership.answered(Answer { lease: LEASE, result: Ok(Outcome::Idle) }, 20_000);
    assert!(asked(&mut leadership, &pods, 20_500).contains(&LEASE));
    let settled = Ok(Outcome::Settled(BTreeSet::from(["a".to_owned()])));
    leadership.answered(Answer { lease: LEASE, result: settled }, 20_600);
    assert!(!asked(&mut leadership, &pods, 90_000).contains(&LEASE));
    assert!(asked(&mut leadership, &[running("b", "2026-01-01T00:00:00Z")], 90_001).contains(&LEASE));
}

#[test]
fn somebody_leads_elsewhere_when_the_lease_was_seen_to_be_renewed() {
    let mut leadership = leadership();
    let renewed = |leadership: &mut Leadership, time: &str, now_ms| {
        let outcome = Outcome::Elsewhere { holder: "node-2_x".to_owned(), renewed: time.parse().ok() };
        leadership.answered(Answer { lease: LEASE, result: Ok(outcome) }, now_ms);
    };
    renewed(&mut leadership, "2026-01-01T00:00:00Z", 0);
    assert!(!leadership.leads_elsewhere(LEASE, 0));
    renewed(&mut leadership, "2026-01-01T00:00:00Z", 10_000);
    assert!(!leadership.leads_elsewhere(LEASE, 10_000));
    renewed(&mut leadership, "2026-01-01T00:00:10Z", 20_000);
    assert!(leadership.leads_elsewhere(LEASE, 60_000));
    assert!(!leadership.leads_elsewhere(LEASE, 60_001));
    assert!(!leadership.leads_elsewhere("kube-apiserver", 20_000));
}

/// The API with one lease; what was written to it comes out of the channel.
fn api(holder: &str) -> (Client, tokio::sync::mpsc::UnboundedReceiver<serde_json::Value>) {
    let lease = json!({"metadata": {"name": LEASE, "resourceVersion": "7"},
        "spec": {"holderIdentity": holder, "acquireTime": "2026-01-01T00:00:00.000000Z"}});
    let (sender, written) = tokio::sync::mpsc::unbounded_channel();
    let client = fakes::api::client(move |asked| {
        if asked.method == "PUT" {
            sender.send(asked.body).unwrap();
        }
        (200, lease.clone()).into()
    });
    (client, written)
}

#[tokio::test]
async fn only_a_holder_of_this_node_from_before_all_that_run_is_dead() {
    let late = "2026-01-01T00:00:05Z";
    let early = "2025-12-31T23:59:59Z";
    let cases = [
        ("node-1_x", late, true),
        // It may be the holder itself.
        ("node-1_x", early, false),
        // Another node's clock and processes are not ours to judge.
        ("node-2_x", late, false),
        ("", late, false),
    ];
    for (holder, started, released) in cases {
        let (client, mut written) = api(holder);
        let candidates = candidates(&[running("a", started)], LEASE);
        let hosts = BTreeSet::from(["node-1".to_owned()]);
        let answer = ask(&client, Question { lease: LEASE, candidates, hosts }).await;
        assert!(matches!(answer.result, Ok(Outcome::Settled(_))), "{holder} {started}");
        let put = written.try_recv().ok();
        assert_eq!(put.is_some(), released, "{holder} {started}");
        if let Some(put) = put {
            assert_eq!(put["spec"]["holderIdentity"], "");
            assert_eq!(put["metadata"]["resourceVersion"], "7");
        }
    }
}
