use std::collections::{BTreeMap, BTreeSet};

use host::proc::ProcessId;
use names::annotation::{CONFIG_SOURCE, GENERATION};
use names::label::CHECKPOINT_OF;
use serde_json::{Value, json};
use traffic::{Listener, ListenerId, OwnCalls, Owner, Seen};

use super::*;
use api::Change;

const SCHEDULER: &str = "kube-scheduler";

fn component(name: &str) -> Component {
    Component { namespace: KUBE_SYSTEM.to_owned(), name: name.to_owned() }
}

fn container(id: &str, name: &str, attempt: u32, state: ContainerState) -> Container {
    Container {
        id: id.to_owned(),
        pod_id: "s".to_owned(),
        name: name.to_owned(),
        attempt,
        state,
        image: "i".to_owned(),
        labels: BTreeMap::new(),
        created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    }
}

/// A pod with one container, which runs; its id is the pod's UID with a `c`.
fn pod(uid: &str, name: &str, source: &str) -> PodSeen {
    let program = if name.contains("apiserver") { "kube-apiserver" } else { SCHEDULER };
    PodSeen {
        uid: uid.to_owned(),
        sandbox: "s".to_owned(),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::from([(CONFIG_SOURCE.to_owned(), source.to_owned())]),
        containers: vec![container(&format!("c{uid}"), program, 0, ContainerState::Running)],
    }
}

/// The pod as the API has it, with the container that the kubelet told of last.
fn told(uid: &str, owner: &str, ready: &str, container: &str) -> Value {
    json!({"metadata": {"name": format!("{owner}-x"), "namespace": KUBE_SYSTEM, "uid": uid,
            "annotations": {names::annotation::CHECKPOINT: "true"},
            "ownerReferences": [{"kind": "DaemonSet", "name": owner, "controller": true}]},
        "spec": {"initContainers": [{"name": "prepare"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"containerID": format!("containerd://{container}")}]}})
}

#[derive(Default)]
struct World {
    pods: Vec<PodSeen>,
    cluster: Cluster,
    port: Option<View>,
    ages: Ages,
    now_ms: u64,
}

impl World {
    fn of(&self, name: &str) -> Vec<Instance> {
        let digests = Digests::new(std::path::Path::new("/nonexistent"));
        let components = BTreeSet::from(["kube-apiserver", SCHEDULER].map(component));
        let sight = Sight {
            now_ms: self.now_ms,
            pods: &self.pods,
            cluster: &self.cluster,
            parentage: &|_| Parentage::Own,
            port: self.port.as_ref(),
            digests: &digests,
            ages: &self.ages,
            components: &components,
            init: &|_, _| Vec::new(),
        };
        sight.instances().remove(&component(name)).unwrap_or_default()
    }
}

#[test]
fn a_ready_of_other_containers_is_a_memory_and_time_has_to_tell() {
    let mut world = World { pods: vec![pod("1", "kube-scheduler-x", "api")], ..World::default() };
    world.cluster.pods_changed(Change::All(vec![told("1", SCHEDULER, "True", "old")]));
    world.ages.update(&world.pods, 0);
    assert!(!world.of(SCHEDULER)[0].ready);
    world.now_ms = 10_000;
    assert!(world.of(SCHEDULER)[0].ready);
    // As soon as the kubelet has told of this container its word counts.
    world.cluster.pods_changed(Change::Set(told("1", SCHEDULER, "False", "c1")));
    assert!(!world.of(SCHEDULER)[0].ready);
    world.cluster.pods_changed(Change::Set(told("1", SCHEDULER, "True", "c1")));
    world.now_ms = 0;
    assert!(world.of(SCHEDULER)[0].ready);
    // … but not when the API is silent.
    world.cluster.pods_changed(Change::Lost);
    assert!(!world.of(SCHEDULER)[0].ready);
}

fn seen(container: &str, state: State) -> Seen {
    let inode = u64::from(container.as_bytes()[1]);
    let id = ListenerId { process: ProcessId { pid: 1, started: inode }, inode };
    let listener = Listener { id, address: "[::]:6443".parse().unwrap(), uid: 65532, container: None, fd: 3 };
    let owner = Owner {
        namespace: KUBE_SYSTEM.to_owned(),
        name: "kube-apiserver".to_owned(),
        uid: "u".to_owned(),
        container: container.to_owned(),
        annotations: BTreeMap::new(),
    };
    Seen { listener, owner: Some(owner), state, why: String::new(), own_calls: OwnCalls::None }
}

#[test]
fn an_apiserver_is_ready_when_it_says_so_itself() {
    let pods = vec![pod("1", "kube-apiserver-x", "api"), pod("2", "kube-apiserver-y", "api")];
    let mut world = World { pods, ..World::default() };
    let all = ["1", "2"].map(|uid| told(uid, "kube-apiserver", "True", &format!("c{uid}")));
    world.cluster.pods_changed(Change::All(all.into()));
    let listeners = vec![seen("c1", State::Ready), seen("c2", State::Starting)];
    let steady = Some(listeners[0].listener.id);
    world.port = Some(View { seen: listeners, steady, unsteered: None, rounds: 1 });
    let ready = |world: &World| world.of("kube-apiserver").iter().map(|i| i.ready).collect::<Vec<_>>();
    assert_eq!(ready(&world), [true, false]);
    // Where none of several can be asked by itself the kubelet's word has to do.
    world.port.as_mut().unwrap().steady = None;
    assert_eq!(ready(&world), [true, true]);
    // Alone it can be asked; nobody listens: nobody is Ready.
    world.port.as_mut().unwrap().seen.clear();
    assert_eq!(ready(&world), [false, false]);
}

#[test]
fn whose_a_pod_is_and_who_made_it() {
    let mut copy = pod("3", "kube-scheduler-checkpoint-n", "file");
    copy.labels.insert(CHECKPOINT_OF.to_owned(), SCHEDULER.to_owned());
    copy.annotations.insert(GENERATION.to_owned(), "000001-abc".to_owned());
    let mut of_deployment = pod("4", "kube-scheduler-7d9-abcde", "api");
    of_deployment.labels.insert("pod-template-hash".to_owned(), "7d9".to_owned());
    let pods = vec![
        pod("1", "bootstrap-kube-scheduler-n", "file"),
        pod("2", "etcd-n", "file"),
        copy,
        of_deployment,
        pod("5", "kube-scheduler-abcde", "api"),
        pod("6", "kube-scheduler-extender-abcde", "api"),
    ];
    let world = World { pods, ..World::default() };
    let found: Vec<_> = world.of(SCHEDULER).into_iter().map(|i| (i.pod, i.origin)).collect();
    let generation = "000001-abc".to_owned();
    let expected = [
        ("1", Origin::Temporary),
        ("3", Origin::Checkpoint { generation }),
        ("4", Origin::Api),
        ("5", Origin::Api),
    ];
    assert_eq!(found, expected.map(|(uid, source)| (uid.to_owned(), source)));
}

#[test]
fn a_pod_that_the_api_forgot_is_told_to_end_and_an_init_container_may_have_exited() {
    let mut one = pod("1", "kube-scheduler-abcde", "api");
    one.containers.push(container("i", "prepare", 0, ContainerState::Exited));
    let mut world = World { pods: vec![one], ..World::default() };
    assert!(!world.of(SCHEDULER)[0].terminating);
    world.cluster.pods_changed(Change::All(vec![told("1", SCHEDULER, "True", "c1")]));
    let instance = &world.of(SCHEDULER)[0];
    assert!(instance.running && !instance.terminating);
    assert_eq!(instance.container, "c1");
    world.cluster.pods_changed(Change::All(Vec::new()));
    assert!(world.of(SCHEDULER)[0].terminating);
    // A container that exited is a crash that the machine should see.
    world.pods[0].containers[0] = container("c9", SCHEDULER, 3, ContainerState::Exited);
    let instance = &world.of(SCHEDULER)[0];
    assert!(!instance.running);
    assert_eq!(instance.restarts, 3);
}
