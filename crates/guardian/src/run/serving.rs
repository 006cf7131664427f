//! The readiness gate `kubestrap.io/serving`: an apiserver's pod is Ready when the guardian found that very
//! instance Ready. The kubelet's own probe on a shared port may have been answered by the other one.

use std::time::Duration;

use api::{ApiError, Client};
use names::condition::SERVING;
use traffic::{Seen, State, View};

use super::cluster::{ApiPod, Cluster};
use super::instances::asks_each;

const LIMIT: Duration = Duration::from_secs(2);

/// A condition that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) serving: bool,
}

/// The gates to be changed. None while the temporary control plane runs: `start` sets them then.
pub(crate) fn to_change(cluster: &Cluster, view: &View) -> Vec<Gate> {
    let gated = cluster.pods.values().filter(|pod| pod.gated && !pod.over && cluster.pods_known);
    let wrong = gated.filter_map(|pod| {
        let serving = serves(pod, view)?;
        (pod.serving != Some(serving)).then(|| Gate {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            serving,
        })
    });
    wrong.collect()
}

/// Whether the instance of this pod was found Ready; `None` when that is not known.
fn serves(pod: &ApiPod, view: &View) -> Option<bool> {
    let owner = |seen: &&Seen| seen.owner.as_ref().is_some_and(|owner| owner.uid == pod.uid);
    let seen = view.seen.iter().find(owner);
    // One whose pod is not known yet may be this one.
    if view.rounds == 0 || (seen.is_none() && view.seen.iter().any(|seen| seen.owner.is_none())) {
        return None;
    }
    match seen {
        None => Some(false),
        Some(seen) if asks_each(view) => Some(seen.state == State::Ready),
        // Where the kernel does not let us ask one of several, the kubelet's word has to do: without it no
        // rollout would come to an end.
        Some(_) if view.unsteered.is_some() => Some(pod.containers_ready),
        Some(_) => None,
    }
}

/// Sets the condition of that very pod.
pub(crate) async fn change(client: &Client, gate: &Gate) -> Result<(), ApiError> {
    let Gate { namespace, name, uid, serving } = gate;
    let why = match serving {
        true => ("Probed", "this very instance answered /readyz"),
        false => {
            ("ProbeFailed", "this very instance does not answer /readyz as it should, or does not listen")
        }
    };
    api::set_condition(client, (namespace, name, uid), SERVING, *serving, why, LIMIT).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::Change;
    use host::proc::ProcessId;
    use serde_json::json;
    use traffic::{Listener, ListenerId, OwnCalls, Owner};

    use super::*;

    /// One gated pod of that UID, of which the kubelet says that its containers are ready.
    fn cluster(uid: &str) -> Cluster {
        let pod = json!({"metadata": {"name": "a", "namespace": "kube-system", "uid": uid},
            "spec": {"readinessGates": [{"conditionType": SERVING}]},
            "status": {"conditions": [{"type": "ContainersReady", "status": "True"}]}});
        let mut cluster = Cluster::default();
        cluster.pods_changed(Change::All(vec![pod]));
        cluster
    }

    fn seen(uid: &str, state: State) -> Seen {
        let inode = uid.parse().unwrap();
        let id = ListenerId { process: ProcessId { pid: 1, started: inode }, inode };
        let address = "[::]:6443".parse().unwrap();
        let owner = Owner {
            namespace: "kube-system".into(),
            name: "a".into(),
            uid: uid.into(),
            container: uid.into(),
            annotations: BTreeMap::new(),
        };
        let listener = Listener { id, address, uid: 65532, container: None, fd: 3 };
        Seen { listener, owner: Some(owner), state, why: String::new(), own_calls: OwnCalls::None }
    }

    fn told(view: &View) -> Vec<bool> {
        to_change(&cluster("1"), view).iter().map(|gate| gate.serving).collect()
    }

    #[test]
    fn each_is_told_by_its_own_probe() {
        for (state, serving) in [(State::Ready, true), (State::Starting, false)] {
            assert_eq!(told(&View { seen: vec![seen("1", state)], rounds: 1, ..View::default() }), [serving]);
        }
        assert_eq!(told(&View { rounds: 1, ..View::default() }), [false]);
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert!(told(&View::default()).is_empty());
        // Two, and nobody steers yet.
        let two = vec![seen("1", State::Ready), seen("2", State::Ready)];
        let mut view = View { seen: two, rounds: 1, ..View::default() };
        assert!(told(&view).is_empty());
        view.steady = Some(view.seen[1].listener.id);
        assert_eq!(told(&view), [true]);
        // The runtime has not said yet whose it is.
        let unknown = Seen { owner: None, ..seen("1", State::Ready) };
        assert!(told(&View { seen: vec![unknown], rounds: 1, ..View::default() }).is_empty());
    }

    #[test]
    fn where_the_kernel_refuses_the_kubelet_s_word_has_to_do() {
        let two = vec![seen("1", State::Starting), seen("2", State::Ready)];
        let view = View { seen: two, rounds: 1, unsteered: Some("no BPF".into()), ..View::default() };
        assert_eq!(told(&view), [true]);
    }
}
