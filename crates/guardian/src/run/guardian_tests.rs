//! The loop on a fake runtime, with news of the API as they would come: what one guardian wrote, another one that
//! begins anew starts, and takes away again. The clock stands still but for the rounds.

use std::path::Path;

use api::Change;
use fakes::runtime::{Runtime, Sandbox, container_id};
use names::annotation::{CHECKPOINT, CONFIG_SOURCE, GENERATION};
use names::component::KUBE_SCHEDULER;
use names::label::{CHECKPOINT_OF, CONTROL_PLANE_NODE, POD_TEMPLATE_HASH};
use names::object::KUBE_SYSTEM;
use serde_json::{Value, json};

use super::*;
use crate::run::parents::Parent;

/// Between two rounds, as it is while something is under way.
const ROUND: Duration = Duration::from_millis(500);

struct World {
    _dir: tempfile::TempDir,
    options: Options,
    runtime: Runtime,
    cri: Cri,
    /// The pod that the API has; none while the API does not answer.
    pod: Option<Value>,
    /// The UID of what the pod says has made it.
    maker: &'static str,
    /// Whether the process is another one in each round.
    killed: bool,
}

/// Of the Deployment's ReplicaSet, and of something that it knows nothing of.
const MAKER: &str = "set";
const STRANGER: &str = "stranger";

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::default();
        let cri = Cri::over(runtime.connector(), Path::new("fake"));
        let options = Options {
            node_name: "n".to_owned(),
            kubeconfig: dir.path().join("none"),
            api_port: 0,
            limits: crate::machine::Limits::default(),
            static_pod_dir: dir.path().join("manifests"),
            checkpoint_dir: dir.path().join("checkpoints"),
            host_root: dir.path().join("root"),
            runtime_socket: dir.path().join("none"),
            addresses: node::facts::Addresses::default,
            keys: crate::keys::Keys::new(dir.path().join("root"), dir.path().join("root")),
        };
        for dir in [&options.static_pod_dir, &options.checkpoint_dir] {
            host::fs::create_dir_all(dir, 0o700).unwrap();
        }
        Self { _dir: dir, options, runtime, cri, pod: None, maker: MAKER, killed: false }
    }

    /// The API has a pod of this UID, and the kubelet runs it.
    fn start_pod(&mut self, uid: &str, ready: bool) {
        let sandbox = sandbox(
            uid,
            "kube-scheduler-7d9f-abcde",
            &[(POD_TEMPLATE_HASH, "7d9f")],
            &[(CONFIG_SOURCE, "api")],
        );
        let status = json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"containerID": format!("containerd://{}", container_id(&sandbox))}]});
        self.runtime.sandboxes().push(sandbox);
        self.pod = Some(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kube-scheduler-7d9f-abcde", "namespace": KUBE_SYSTEM, "uid": uid,
                "resourceVersion": uid, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {POD_TEMPLATE_HASH: "7d9f"}, "annotations": {CHECKPOINT: "true"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "kube-scheduler-7d9f", "uid": self.maker,
                    "controller": true}]},
            "spec": {"hostNetwork": true, "nodeName": "n",
                "containers": [{"name": KUBE_SCHEDULER, "image": "i", "args": [self.maker]}]},
            "status": status}));
    }

    /// Nothing runs any more, and no API answers.
    fn cut_power(&mut self) {
        self.runtime.sandboxes().clear();
        self.pod = None;
    }

    /// Goes round for so long with a guardian that begins now.
    async fn guard(&self, time: Duration) {
        let mut guardian = Guardian::open(self.options.clone()).unwrap();
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.killed {
                guardian = Guardian::open(self.options.clone()).unwrap();
            }
            self.tell(&mut guardian);
            guardian.round(&self.cri).await;
            self.kubelet();
            tokio::time::advance(ROUND).await;
        }
    }

    /// News of the API, and what it says of the pod's Deployment.
    fn tell(&self, guardian: &mut Guardian) {
        let Some(pod) = &self.pod else { return };
        let node = json!({"metadata": {"name": "n", "labels": {CONTROL_PLANE_NODE: ""}}});
        let _ = guardian.news.0.send(ApiNews::Node(Change::All(vec![node])));
        let _ = guardian.news.0.send(ApiNews::Pods(Change::All(vec![pod.clone()])));
        let parent = Parent {
            exists: true,
            wanted: true,
            kind: "Deployment",
            name: KUBE_SCHEDULER.into(),
            uid: "d".into(),
            makers: [MAKER.to_owned()].into(),
            strangers: [STRANGER.to_owned()].into(),
        };
        let now = guardian.now_ms();
        guardian.parents.answered(&scheduler(), Some(parent), now);
    }

    /// Runs the copy whose file is there, and ends it when the file is gone.
    fn kubelet(&self) {
        let placed = self.placed();
        let mut sandboxes = self.runtime.sandboxes();
        sandboxes.retain(|sandbox| sandbox.uid != "copy" || placed.is_some());
        if let Some(generation) = placed
            && !sandboxes.iter().any(|sandbox| sandbox.uid == "copy")
        {
            let annotations = [(CONFIG_SOURCE, "file"), (GENERATION, generation.as_str())];
            sandboxes.push(sandbox(
                "copy",
                "kube-scheduler-checkpoint-n",
                &[(CHECKPOINT_OF, KUBE_SCHEDULER)],
                &annotations,
            ));
        }
    }

    fn files(&self) -> Files {
        Files::open(&self.options.checkpoint_dir, &self.options.static_pod_dir).unwrap()
    }

    /// The generation of the copy that is placed.
    fn placed(&self) -> Option<String> {
        Some(self.files().disk(&scheduler()).unwrap().placed?.0)
    }

    fn good(&self) -> Option<String> {
        Some(self.files().disk(&scheduler()).unwrap().good?.0)
    }
}

fn scheduler() -> Component {
    Component { namespace: KUBE_SYSTEM.to_owned(), name: KUBE_SCHEDULER.to_owned() }
}

fn sandbox(uid: &str, name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Sandbox {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Sandbox {
        id: uid.to_owned(),
        uid: uid.to_owned(),
        labels: pairs(labels),
        annotations: pairs(annotations),
        created: i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap(),
        ..Sandbox::running(name, KUBE_SCHEDULER)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_proven_comes_back_after_a_power_cut_and_gives_way_to_the_api_s_own() {
    let mut world = World::new();
    world.start_pod("1", true);
    world.guard(Duration::from_secs(50)).await;
    assert_eq!(world.good(), None, "Ready for less than a minute proves nothing");
    world.guard(Duration::from_secs(70)).await;
    let good = world.good().expect("a minute of Ready");
    assert_eq!(world.placed(), None, "the API's own runs");
    world.cut_power();
    world.guard(Duration::from_secs(5)).await;
    assert_eq!(world.placed(), Some(good), "nobody else starts it");
    world.guard(Duration::from_mins(5)).await;
    assert!(world.placed().is_some(), "it stays as long as there is nothing else");
    world.start_pod("2", true);
    world.guard(Duration::from_mins(2)).await;
    assert_eq!(world.placed(), None, "the API's own is Ready");
}

#[tokio::test(start_paused = true)]
async fn a_guardian_that_is_another_one_in_each_round_starts_what_is_on_the_disk() {
    let mut world = World::new();
    world.start_pod("1", true);
    world.guard(Duration::from_mins(2)).await;
    let good = world.good();
    world.cut_power();
    // One round is too short to know that nothing runs: each new one looks for as long as the first did.
    world.killed = true;
    world.guard(Duration::from_secs(30)).await;
    world.killed = false;
    world.guard(Duration::from_secs(5)).await;
    assert!(good.is_some());
    assert_eq!(world.placed(), good);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_ready_is_never_the_good_one() {
    let mut world = World::new();
    world.start_pod("1", false);
    world.guard(Duration::from_mins(10)).await;
    assert_eq!(world.good(), None);
}

#[tokio::test(start_paused = true)]
async fn what_its_parent_has_not_made_is_no_instance_of_a_component() {
    for maker in [STRANGER, "not asked for yet"] {
        let mut world = World::new();
        world.start_pod("1", true);
        world.guard(Duration::from_mins(2)).await;
        let good = world.good();
        assert!(good.is_some());
        world.cut_power();
        world.guard(Duration::from_secs(5)).await;
        world.maker = maker;
        world.start_pod("2", true);
        world.guard(Duration::from_mins(10)).await;
        assert_eq!(world.good(), good, "{maker}");
        assert_eq!(world.placed().is_some(), maker == STRANGER, "{maker}");
    }
}
