//! An upgrade of a part from end to end on fakes: the API keeps objects, and a controller rolls a DaemonSet out as
//! upstream's does, revision and pod by pod. The clock stands still but for the waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::cluster::{Cluster, Objects};
use fakes::runtime::{Runtime, Sandbox, container_id};
use names::label::CONTROLLER_REVISION_HASH;
use serde_json::json;

use super::*;
use crate::back_tests::{nothing_seen, target};
use crate::diff::Change;
use crate::fixture::Node;

const DAEMONSET: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy";
const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/cluster-info";

fn daemonset(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "kube-proxy", "image": image}]}}}})
}

fn config(text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
        "metadata": {"name": "cluster-info", "namespace": "kube-system"}})
}

/// Rolls the DaemonSet out, one look at a time. `works` says of an image whether its pods get ready.
fn controller(cluster: &Cluster, runtime: &Runtime, works: fn(&str) -> bool) {
    let Some(workload) = cluster.objects().get(DAEMONSET).cloned() else { return };
    let image = workload["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let revision = format!("/apis/apps/v1/namespaces/kube-system/controllerrevisions/{image}");
    let pod = format!("/api/v1/namespaces/kube-system/pods/kube-proxy-{image}");
    let owner = json!([{"kind": "DaemonSet", "uid": workload["metadata"]["uid"], "controller": true}]);
    let labels = json!({CONTROLLER_REVISION_HASH: image});
    let objects = cluster.objects();
    let number = objects.keys().filter(|path| path.contains("/controllerrevisions/")).count() + 1;
    // The newest revision is that of the template, also when it is an old one again.
    cluster.change(&revision, |object| {
        object["metadata"]["name"] = json!(image);
        object["metadata"]["labels"] = labels.clone();
        object["metadata"]["ownerReferences"] = owner.clone();
        let is_newest =
            objects.values().all(|other| other["revision"].as_u64() <= object["revision"].as_u64());
        if !is_newest || object["revision"].is_null() {
            let top = objects.values().filter_map(|other| other["revision"].as_u64()).max().unwrap_or(0);
            object["revision"] = json!(top.max(number as u64) + 1);
        }
    });
    let mut sandboxes = runtime.sandboxes();
    sandboxes.retain(|sandbox| sandbox.name == image);
    if sandboxes.is_empty() {
        sandboxes.push(Sandbox::running(&image, "kube-proxy"));
    }
    let container = container_id(&sandboxes[0]);
    drop(sandboxes);
    for path in objects.keys().filter(|path| path.contains("/pods/") && **path != pod) {
        cluster.remove(path);
    }
    let ready = if works(&image) { "True" } else { "False" };
    cluster.put(
        &pod,
        json!({"metadata": {"name": image, "namespace": "kube-system", "uid": image, "labels": labels,
                "ownerReferences": owner},
            "spec": {"nodeName": "n"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "kube-proxy", "containerID": format!("containerd://{container}"),
                    "state": {"running": {}}}]}}),
    );
    cluster.change(DAEMONSET, |object| {
        object["status"] =
            json!({"observedGeneration": object["metadata"]["generation"], "desiredNumberScheduled": 1});
    });
}

struct World {
    node: Node,
    state: StateDir,
    _dir: tempfile::TempDir,
    works: fn(&str) -> bool,
}

impl World {
    fn new(works: fn(&str) -> bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("upgrade"));
        let node = Node::new(Objects::new());
        node.cluster.put(DAEMONSET, daemonset("old"));
        node.cluster.put(CONFIG, config("old"));
        Self { node, state, _dir: dir, works }
    }

    /// Applies the new objects; `kill` is asked at each event whether the process ends there.
    async fn apply(&self, kill: impl Fn(&Event) -> bool + Send + Sync) -> Option<Result<Done, Failed>> {
        let (killed, mut dead) = tokio::sync::watch::channel(false);
        let report = move |event: Event| {
            if kill(&event) {
                let _ = killed.send(true);
            }
        };
        let (client, runtime) = (self.node.sight.api.client().clone(), self.node.sight.runtime.clone());
        let patience = Patience { timeout: Duration::from_secs(20), stable: Duration::from_secs(2) };
        let upgrade = Upgrade::new(target(&self.state), client, runtime, self.state.clone(), &report)
            .with_patience(patience);
        let looked = self.looked(&upgrade);
        let plan = Plan { steps: steps(), ..upgrade.plan(&looked) };
        let (cluster, containers) = (self.node.cluster.clone(), self.node.runtime.clone());
        let works = self.works;
        let controller = tokio::spawn(async move {
            loop {
                controller(&cluster, &containers, works);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let outcome = tokio::select! {
            outcome = upgrade.apply(&looked, &plan) => Some(outcome),
            _ = dead.wait_for(|dead| *dead) => None,
        };
        controller.abort();
        let _ = controller.await;
        outcome
    }

    fn looked(&self, upgrade: &Upgrade<'_>) -> Looked {
        let object = |value: Value| apply::Object::new(value, "a.yaml:1");
        let objects = self.node.objects();
        let live = [(Part::KubeProxy, DAEMONSET), (Part::Config, CONFIG)];
        let live = live.map(|(part, path)| (part, path.to_owned(), objects.get(path).cloned()));
        Looked {
            observed: nothing_seen(upgrade.target.version()),
            wanted: [
                (Part::KubeProxy, vec![object(daemonset("new"))]),
                (Part::Config, vec![object(config("new"))]),
            ]
            .into(),
            live: live.to_vec(),
            host: node::plan::Plan::default(),
            before: self.state.read().unwrap(),
        }
    }

    fn texts(&self) -> (String, String) {
        let objects = self.node.objects();
        let image = &objects[DAEMONSET]["spec"]["template"]["spec"]["containers"][0]["image"];
        (image.as_str().unwrap().to_owned(), objects[CONFIG]["data"]["text"].as_str().unwrap().to_owned())
    }
}

fn steps() -> Vec<Step> {
    let step = |part: Part, object: Value| {
        let object = objects::ObjectRef::of(&object);
        let changes = vec![Change { object, new: false, fields: Vec::new() }];
        Step::Part { part, from: None, to: None, changes, unsettled: None }
    };
    vec![step(Part::KubeProxy, daemonset("new")), step(Part::Config, config("new"))]
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_waits_for_each_part_and_forgets_what_was_before() {
    let world = World::new(|_| true);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let done = world
        .apply(move |event| {
            seen.lock().unwrap().push(event.clone());
            false
        })
        .await;
    assert_eq!(done.unwrap().unwrap().steps, 2);
    assert_eq!(world.texts(), ("new".to_owned(), "new".to_owned()));
    assert!(!world.state.is_unfinished());
    let events = events.lock().unwrap();
    let stays = |event: &Event| matches!(event, Event::Waiting { what } if what.contains("to stay as it is"));
    assert!(events.iter().any(stays), "ready once is not ready: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_event_and_run_again_it_ends_the_same() {
    let mut at = 0;
    loop {
        let world = World::new(|_| true);
        let count = Mutex::new(0);
        let killed = world
            .apply(move |_| {
                let mut n = count.lock().unwrap();
                *n += 1;
                *n == at + 1
            })
            .await;
        if killed.is_some() {
            break;
        }
        let saved = world.state.read().unwrap().unwrap();
        let was = saved.object(DAEMONSET).unwrap().live.as_ref().unwrap();
        assert_eq!(was["spec"]["template"]["spec"]["containers"][0]["image"], "old", "{at}");
        world.apply(|_| false).await.unwrap().unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(world.texts(), ("new".to_owned(), "new".to_owned()), "{at}");
        at += 1;
    }
    assert!(at > 4, "it ended before it could be killed");
}

#[tokio::test(start_paused = true)]
async fn what_never_gets_ready_is_put_back_also_when_the_step_back_is_killed() {
    let world = World::new(|image| image == "old");
    let failed = world.apply(|_| false).await.unwrap().unwrap_err();
    let Failed::Reverted { source, .. } = &failed else { panic!("{failed}") };
    assert!(source.to_string().contains("kube-proxy is not ready after"), "{source}");
    assert_eq!(world.texts(), ("old".to_owned(), "old".to_owned()));
    assert!(!world.state.is_unfinished());
    let world = World::new(|image| image == "old");
    assert!(world.apply(|event| matches!(event, Event::Back { .. })).await.is_none());
    assert!(world.state.is_unfinished());
    let failed = world.apply(|_| false).await.unwrap().unwrap_err();
    assert!(matches!(failed, Failed::Reverted { .. }), "{failed}");
    assert_eq!(world.texts(), ("old".to_owned(), "old".to_owned()));
}
