use cri::{Container, ContainerState};
use host::proc::ProcessId;
use traffic::{Listener, ListenerId, OwnCalls, Owner};

use super::*;

fn apiserver(id: &str, name: &str, state: ContainerState) -> PodSeen {
    let container = Container {
        id: id.to_owned(),
        pod_id: "s".to_owned(),
        name: names::component::KUBE_APISERVER.to_owned(),
        attempt: 0,
        state,
        image: "i".to_owned(),
        labels: BTreeMap::new(),
        created: None,
    };
    PodSeen {
        uid: id.to_owned(),
        sandbox: "s".to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        containers: vec![container],
    }
}

fn seen(inode: u64, owner: Option<&str>, state: State) -> Seen {
    let id = ListenerId { process: ProcessId { pid: 1, started: inode }, inode };
    let listener = Listener { id, address: "[::]:6443".parse().unwrap(), uid: 65532, container: None, fd: 3 };
    let owner = owner.map(|container| Owner {
        namespace: "kube-system".to_owned(),
        name: "kube-apiserver".to_owned(),
        uid: "u".to_owned(),
        container: container.to_owned(),
        annotations: BTreeMap::new(),
    });
    Seen { listener, owner, state, why: String::new(), own_calls: OwnCalls::None }
}

fn view(seen: Vec<Seen>) -> View {
    View { seen, rounds: 1, ..View::default() }
}

#[test]
fn one_that_was_started_and_does_not_listen_yet_is_looked_out_for() {
    let (one, two) = ("kube-apiserver-a", "kube-apiserver-b");
    let old = apiserver("a", one, ContainerState::Running);
    let alone = view(vec![seen(1, Some("a"), State::Ready)]);
    assert_eq!(decide(std::slice::from_ref(&old), &alone), (Mode::Steer, false));
    let exited = apiserver("b", two, ContainerState::Exited);
    assert_eq!(decide(&[old.clone(), exited], &alone), (Mode::Steer, false));
    let both = [old.clone(), apiserver("b", two, ContainerState::Running)];
    assert_eq!(decide(&both, &alone), (Mode::Steer, true));
    let listening = view(vec![seen(1, Some("a"), State::Ready), seen(2, Some("b"), State::Ready)]);
    assert_eq!(decide(std::slice::from_ref(&old), &listening), (Mode::Steer, true));
    let failing = view(vec![seen(1, Some("a"), State::Failing)]);
    assert_eq!(decide(&[old], &failing), (Mode::Steer, true));
}

#[test]
fn the_temporary_one_is_not_ours_to_steer() {
    let mut temporary = apiserver("b", "bootstrap-kube-apiserver-n", ContainerState::Running);
    temporary.annotations.insert(names::annotation::CONFIG_SOURCE.to_owned(), "file".to_owned());
    let both = [apiserver("a", "kube-apiserver-a", ContainerState::Running), temporary];
    assert_eq!(decide(&both, &view(Vec::new())).0, Mode::HandsOff);
}

#[test]
fn one_that_was_told_to_end_comes_after_all_that_were_not() {
    let rank = |revision, draining| Rank { revision, draining };
    let ranks = BTreeMap::from([("a".to_owned(), rank(9, true)), ("b".to_owned(), rank(2, false))]);
    let all =
        [seen(1, Some("a"), State::Ready), seen(2, Some("b"), State::Ready), seen(3, None, State::Ready)];
    let instances: Vec<_> = all.iter().map(|seen| instance(seen, &ranks)).collect();
    assert_eq!(instances.iter().map(|i| i.revision).collect::<Vec<_>>(), [9, 2, 0]);
    let order: Vec<_> = steer::policy(&instances, None).order.iter().map(|l| l.id.inode).collect();
    assert_eq!(order, [2, 3, 1]);
}
