//! Is anybody scheduling? Pods are made five times a second, and ReplicaSets, of which the controller-manager makes
//! pods; all of them are for a node that is only an object, so that nothing runs. What is measured is how long each pod
//! waits for the scheduler, and each ReplicaSet for its pod.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::background::{Background, lock};
use crate::exchange::{fresh, get, inside, ms, object, request};
use crate::identity::Identity;
use crate::node::Node;
use crate::watch::Follower;

/// How often a pod is made.
const EVERY: Duration = Duration::from_millis(200);
/// Every so many pods a ReplicaSet: the controller-manager's own limit is 20 requests a second.
const REPLICASET_EVERY: usize = 3;
/// How long after the end the last pod may be bound.
const CATCH_UP: Duration = Duration::from_mins(2);

/// The label of all objects, and the node's name.
const LABEL: &str = "drill-paper";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REPLICASETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

/// How long what took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Pods that were bound.
    pub bound: usize,
    /// The longest that a pod waited for the scheduler.
    pub scheduler: Duration,
    /// ReplicaSets whose pods were made.
    pub made: usize,
    /// The longest that a ReplicaSet waited for its pod.
    pub controller: Duration,
}

/// Makes pods until it is ended.
pub struct Pods(Background<Waits>);

impl Pods {
    /// Makes the node, and begins.
    ///
    /// # Errors
    /// When nothing is rendered on the node yet.
    pub fn start(node: &Node) -> Result<Self> {
        let (identity, netns) = node.client()?;
        Ok(Self(Background::spawn(move |stop| run(&identity, &netns, stop))))
    }

    /// Ends the making, waits until all are bound, and removes all of it.
    ///
    /// # Errors
    /// When something was not made or not bound, or could not be removed.
    pub fn end(self) -> Result<Waits> {
        self.0.end()
    }
}

/// When each was made and bound, by its name; a ReplicaSet's pod is bound when it is there.
#[derive(Debug, Default)]
struct Seen {
    /// When the API had acknowledged it.
    made: BTreeMap<String, Instant>,
    bound: BTreeMap<String, Instant>,
}

fn run(identity: &Identity, netns: &Path, stop: &AtomicBool) -> Result<Waits> {
    inside(netns, async {
        remove(identity).await?;
        create(identity, NODES, &node()).await?;
        let waits = measure(identity, stop).await;
        remove(identity).await?;
        waits
    })
}

async fn measure(identity: &Identity, stop: &AtomicBool) -> Result<Waits> {
    let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
    let mut follower = Follower::new(identity, "h2", &format!("{PODS}?labelSelector={LABEL}")).await?;
    let watching = tokio::spawn({
        let (over, seen) = (Arc::clone(&over), Arc::clone(&seen));
        async move {
            follower.follow(&over, |event| lock(&seen).take(&event["object"])).await;
            follower.failures
        }
    });
    let made = make(identity, stop, &seen).await;
    let deadline = Instant::now() + CATCH_UP;
    while lock(&seen).waits().is_err() && Instant::now() < deadline {
        tokio::time::sleep(EVERY).await;
    }
    over.store(true, Ordering::Relaxed);
    let failures = watching.await?;
    made?;
    ensure!(failures.is_empty(), "the watch of pods failed: {failures:?}");
    let seen = std::mem::take(&mut *lock(&seen));
    seen.waits()
}

async fn make(identity: &Identity, stop: &AtomicBool, seen: &Mutex<Seen>) -> Result<()> {
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        clock.tick().await;
        let name = format!("{LABEL}-{number}");
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {LABEL: "pod"}}, "spec": spec()});
        create(identity, PODS, &pod).await?;
        lock(seen).made.insert(name, Instant::now());
        if number.is_multiple_of(REPLICASET_EVERY) {
            let name = format!("set-{number}");
            let labels = json!({LABEL: name});
            let template = json!({"metadata": {"labels": labels}, "spec": spec()});
            let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": name, "labels": labels},
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
            create(identity, REPLICASETS, &set).await?;
            lock(seen).made.insert(name, Instant::now());
        }
    }
    Ok(())
}

impl Seen {
    fn take(&mut self, pod: &Value) {
        let metadata = &pod["metadata"];
        let set = metadata["labels"][LABEL].as_str().filter(|value| value.starts_with("set-"));
        let bound = pod["spec"]["nodeName"].is_string();
        let name = set.or_else(|| metadata["name"].as_str().filter(|_| bound));
        if let Some(name) = name {
            self.bound.entry(name.to_owned()).or_insert_with(Instant::now);
        }
    }

    fn waits(&self) -> Result<Waits> {
        let mut waits = Waits { bound: 0, scheduler: Duration::ZERO, made: 0, controller: Duration::ZERO };
        for (name, made) in &self.made {
            let bound = self.bound.get(name).with_context(|| format!("nothing came of {name}"))?;
            let wait = bound.saturating_duration_since(*made);
            let (count, longest) = if name.starts_with("set-") {
                (&mut waits.made, &mut waits.controller)
            } else {
                (&mut waits.bound, &mut waits.scheduler)
            };
            *count += 1;
            *longest = wait.max(*longest);
        }
        ensure!(waits.bound > 0 && waits.made > 0, "nothing was made");
        Ok(waits)
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheduler, controller) = (ms(self.scheduler), ms(self.controller));
        write!(f, "{} pods waited {scheduler} ms for the scheduler at most, ", self.bound)?;
        write!(f, "{} ReplicaSets {controller} ms for their pods", self.made)
    }
}

/// Without the labels that a DaemonSet looks for.
fn node() -> Value {
    let capacity = json!({"pods": "10000", "cpu": "1000", "memory": "1000Gi"});
    let ready = json!({"type": "Ready", "status": "True", "reason": "Paper", "message": ""});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": LABEL, "labels": {LABEL: "node"}},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}})
}

fn spec() -> Value {
    json!({
        "nodeSelector": {LABEL: "node"},
        "tolerations": [{"operator": "Exists"}],
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "paper", "image": "paper"}],
    })
}

async fn create(identity: &Identity, path: &str, object: &Value) -> Result<()> {
    let request = request(Method::POST, path, "application/json", object.to_string());
    fresh(identity, request)
        .await
        .with_context(|| format!("cannot make {}", object["metadata"]["name"]))
        .map(drop)
}

/// All that is there of this or an earlier run. The API deletes the pods at once, and the ReplicaSets first, or more
/// would come.
async fn remove(identity: &Identity) -> Result<()> {
    for path in [REPLICASETS, PODS, NODES] {
        let path = format!("{path}?labelSelector={LABEL}");
        let delete = || request(Method::DELETE, &path, "application/json", String::new());
        let deadline = Instant::now() + CATCH_UP;
        loop {
            fresh(identity, delete()).await.with_context(|| format!("cannot remove {path}"))?;
            let left = object(identity, get(&path)).await?;
            let left = left["items"].as_array().map_or(0, Vec::len);
            if left == 0 {
                break;
            }
            ensure!(Instant::now() < deadline, "{left} are left of {path}");
            tokio::time::sleep(EVERY).await;
        }
    }
    Ok(())
}
