//! Looks at a cluster that a config has made, on fakes: its objects as they were rendered, its rollouts at rest.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use assets::{AssetTree, Given, RenderInput};
use cluster::ClusterConfig;
use fakes::cluster::Objects;
use fakes::killed::ended;
use fakes::machine::Machine;
use fakes::runtime::{Sandbox, container_id};
use jiff::Timestamp;
use names::annotation::{DEPLOYMENT_REVISION, INPUTS};
use names::label::{CONTROLLER_REVISION_HASH, POD_TEMPLATE_HASH};
use node::{NodeConfig, NodeCredentials};
use objects::ObjectRef;
use serde_json::json;

use super::*;
use crate::fixture::Node;
use crate::part;
use crate::plan::{Plan, Step, plan};
use crate::programs;

const CONFIG_MAP: &str = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver";
const APISERVER: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-apiserver";
const SCHEDULER: &str = "/apis/apps/v1/namespaces/kube-system/deployments/kube-scheduler";
const SCHEDULER_POD: &str = "/api/v1/namespaces/kube-system/pods/kube-scheduler-0";

/// A program that takes every flag, and one that takes none.
const TAKES: &[u8] = b"#!/bin/sh\nexit 0\n";
const REFUSES: &[u8] = b"#!/bin/sh\necho Error: no >&2\nexit 1\n";

/// A cluster, the node that it is looked at from, and what lies on that node's disk.
struct World {
    node: Node,
    machine: Machine,
    dir: tempfile::TempDir,
    state: StateDir,
    tree: AssetTree,
}

fn render(set: &[(&str, &str)], existing: Option<AssetTree>) -> (ClusterConfig, AssetTree) {
    let set: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let config = ClusterConfig::parse_with_overrides("test", "", &set).unwrap();
    let node = pki::NodeIdentity { name: "n".to_owned(), addresses: vec!["10.0.0.1".parse().unwrap()] };
    let now = Timestamp::now();
    let input = RenderInput { node, given: Given::default(), existing, upstream_dns: true, now };
    let tree = assets::render(&config, input).unwrap();
    (config, tree)
}

impl World {
    /// The cluster that the default config makes.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(&dir.path().join("root"));
        let node = Node::with_runtime(Objects::new(), machine.runtime.clone());
        let (config, tree) = render(&[], None);
        let world = Self { node, machine, state: StateDir::new(dir.path().join("upgrade")), dir, tree };
        for part in Part::ALL.into_iter().filter(|part| part.is_kubernetes()) {
            world.machine.show(&programs::program_path(part.name()), TAKES);
        }
        world.machine.show(etcd::ETCDCTL, TAKES);
        for program in bundle::HOST_PROGRAMS {
            world.put_program(program, TAKES);
        }
        world.install().await;
        world.tree.write(&world.assets()).unwrap();
        for file in world.tree.node_files() {
            let path = world.machine.root().path(&file.path);
            host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            host::fs::write(&path, &file.content, 0o600).unwrap();
        }
        for object in part::objects(&world.tree).unwrap().into_values().flatten() {
            let path = world.node.sight.api.path(&ObjectRef::of(&object.value)).await.unwrap();
            world.node.cluster.put(&path, object.value.clone());
            if part::is_workload(&object.value) {
                world.roll_out(&path);
            }
        }
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let kubelet = json!({"kubeletVersion": config.kubernetes_version.to_string()});
        world.node.cluster.put(
            "/api/v1/nodes/n",
            json!({"metadata": {"name": "n", "labels": {label::CONTROL_PLANE_NODE: ""}},
                "status": {"nodeInfo": kubelet, "conditions": ready}}),
        );
        world.node.runtime.sandboxes().push(Sandbox::running("kubestrap-guardian-n", "guardian"));
        world.node.cluster.say("/metrics", 200, "");
        world
    }

    fn assets(&self) -> PathBuf {
        self.dir.path().join("assets")
    }

    fn put_program(&self, name: &str, content: &[u8]) {
        let path = self.machine.root().path(names::path::PROGRAMS).join(name);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content, 0o755).unwrap();
    }

    /// Makes the host the node of the default config, with the programs that lie there.
    async fn install(&self) {
        let target = self.target(&[]);
        let plan = target.host_plan().unwrap();
        let none = |_: &str, _: &Path| panic!("the programs are there");
        node::execute::execute(&target.root, &plan, none, |_| {}).await.unwrap();
    }

    /// Leaves a workload as its controllers do: a revision, its pods, and a container of each that runs.
    fn roll_out(&self, path: &str) {
        let workload = self.node.objects()[path].clone();
        let (name, namespace) = (objects::name(&workload), objects::namespace(&workload));
        let of_daemonset = workload["kind"] == "DaemonSet";
        let (plural, label) = if of_daemonset {
            ("controllerrevisions", CONTROLLER_REVISION_HASH)
        } else {
            ("replicasets", POD_TEMPLATE_HASH)
        };
        let labels = json!({label: "1"});
        let owner = |uid: &Value| json!([{"kind": "its", "uid": uid, "controller": true}]);
        self.node.cluster.put(
            &format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}-1"),
            json!({"revision": 1, "metadata": {"name": name, "uid": name, "labels": labels.clone(),
                "annotations": {DEPLOYMENT_REVISION: "1"}, "ownerReferences": owner(&workload["metadata"]["uid"])}}),
        );
        let uid = if of_daemonset { workload["metadata"]["uid"].clone() } else { json!(name) };
        for number in 0..workload["spec"]["replicas"].as_u64().unwrap_or(1) {
            let name = format!("{name}-{number}");
            let sandbox = Sandbox::running(&name, "c");
            let running = json!([{"name": "c", "state": {"running": {}},
                "containerID": format!("containerd://{}", container_id(&sandbox))}]);
            self.node.runtime.sandboxes().push(sandbox);
            self.node.cluster.put(
                &format!("/api/v1/namespaces/{namespace}/pods/{name}"),
                json!({"metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels.clone(),
                        "ownerReferences": owner(&uid)},
                    "spec": {"nodeName": "n"},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": running}}),
            );
        }
    }

    /// The same cluster with other settings.
    fn target(&self, set: &[(&str, &str)]) -> Target {
        let (config, tree) = render(set, Some(self.tree.clone()));
        let root = self.machine.root();
        let (addresses, credentials) = (vec!["10.0.0.1".parse().unwrap()], NodeCredentials::Own);
        Target {
            node: NodeConfig::new(&config, "n", addresses, "", credentials, "pause"),
            config,
            tree,
            asset_dir: self.assets(),
            bundle: None,
            facts: node::facts::detect(&root),
            root,
            drain: false,
        }
    }

    /// Knows nothing of the API from now on.
    fn forget(&mut self) {
        let (client, runtime) = (self.node.sight.api.client().clone(), self.node.sight.runtime.clone());
        self.node.sight = Sight::new(client, runtime, "n".to_owned());
    }

    /// Looks, and holds a look to its promise: it changes nothing, neither in the cluster nor on the disk.
    async fn look(&self, target: &Target) -> Result<Looked, UpgradeError> {
        let before = (self.node.objects(), files(self.dir.path()));
        let looked = self.node.sight.look(target, &self.state).await;
        let after = (self.node.objects(), files(self.dir.path()));
        assert_eq!(before.0, after.0, "a look has changed the cluster");
        assert_eq!(before.1, after.1, "a look has changed the disk");
        looked
    }

    async fn plan(&self, target: &Target) -> Plan {
        plan(&self.look(target).await.unwrap().observed, target.version(), Timestamp::now())
    }
}

/// Every file and directory below one, with what it holds.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in host::fs::list(dir).unwrap() {
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path.clone(), host::fs::read(&path).unwrap_or_default());
    }
    found
}

/// The parts that change, each with the fields of its objects that do.
fn changes(looked: &Looked) -> Vec<(Part, Vec<String>)> {
    let changed = looked.observed.parts.iter().filter(|part| !part.changes.is_empty());
    let fields = |state: &crate::PartState| {
        let fields = state.changes.iter().flat_map(|change| &change.fields);
        fields.map(|field| field.path.clone()).collect()
    };
    changed.map(|state| (state.part, fields(state))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_as_its_target_needs_nothing() {
    let world = World::new().await;
    let plan = world.plan(&world.target(&[])).await;
    assert!(plan.is_empty(), "{plan}");
    assert_eq!(plan.checks, [], "{plan}");
    let parts = world.look(&world.target(&[])).await.unwrap().observed.parts;
    assert!(parts.iter().map(|state| state.part).eq(Part::ALL), "{parts:?}");
    assert!(parts.iter().all(|state| state.image == state.wanted_image), "{parts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flag_changes_its_part_and_nothing_else() {
    let world = World::new().await;
    let target = world.target(&[("components.kubeScheduler.extraArgs.v", "\"4\"")]);
    let looked = world.look(&target).await.unwrap();
    let args = "spec.template.spec.containers[0].args".to_owned();
    assert_eq!(changes(&looked), [(Part::KubeScheduler, vec![args])]);
    let [(Part::KubeScheduler, path, Some(live))] = looked.live.as_slice() else {
        panic!("{:?}", looked.live)
    };
    assert_eq!((path.as_str(), live), (SCHEDULER, &world.node.objects()[SCHEDULER]));
    let mut plan = plan(&looked.observed, target.version(), Timestamp::now());
    let assets = plan.steps.pop();
    assert!(
        matches!(assets, Some(Step::Assets { files }) if files.contains(&assets::CONFIG_FILE.to_owned()))
    );
    // The config is on the node's disk, too.
    let keys = plan.steps.remove(1);
    assert!(
        matches!(keys, Step::Keys { files } if files.len() == 1 && files[0].ends_with(assets::CONFIG_FILE))
    );
    let step =
        |step: &Step| matches!(step, Step::Snapshot { .. } | Step::Part { part: Part::KubeScheduler, .. });
    assert!(plan.steps.len() == 2 && plan.steps.iter().all(step), "{plan}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_there_is_new() {
    let world = World::new().await;
    let gone = world.node.objects().into_keys().find(|path| path.contains("/clusterrolebindings/")).unwrap();
    world.node.cluster.remove(&gone);
    // As when its namespace is not there yet: not even a dry run finds a place for it.
    world.node.cluster.say(&gone, 404, r#"{"reason": "NotFound"}"#);
    let looked = world.look(&world.target(&[])).await.unwrap();
    let states = looked.observed.parts.iter().flat_map(|part| &part.changes);
    assert!(states.map(|change| change.new).eq([true]));
    assert!(matches!(looked.live.as_slice(), [(_, path, None)] if *path == gone), "{:?}", looked.live);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_nowhere_is_missing() {
    let world = World::new().await;
    let image = world.target(&[]).config.images().get(cluster::Component::Coredns).to_owned();
    world.node.runtime.lack_image(&image);
    let looked = world.look(&world.target(&[])).await.unwrap();
    assert_eq!(looked.observed.images.missing, [image]);
    assert_eq!(looked.observed.images.import, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_is_under_way_is_unsettled() {
    let world = World::new().await;
    world.node.cluster.change(SCHEDULER_POD, |pod| pod["status"]["conditions"][0]["status"] = json!("False"));
    let plan = world.plan(&world.target(&[])).await;
    let waits = |step: &Step| {
        matches!(step, Step::Part { part: Part::KubeScheduler, changes, unsettled: Some(why), .. }
            if changes.is_empty() && why.contains("new pods are ready: pod kube-scheduler-0"))
    };
    assert!(matches!(plan.steps.as_slice(), [Step::Snapshot { .. }, step] if waits(step)), "{plan}");
}

/// A run was killed when it had changed the ConfigMap, and not yet the DaemonSet that reads it.
#[tokio::test(start_paused = true)]
async fn files_are_compared_with_what_was_before_the_unfinished_run() {
    let world = World::new().await;
    let target = world.target(&[]);
    let mut was = world.node.objects()[CONFIG_MAP].clone();
    was["data"]["authentication.yaml"] = json!("old");
    let mut before = Before::new(target.version(), target.version(), Timestamp::now());
    before.add_object(Part::KubeApiserver, CONFIG_MAP.to_owned(), Some(was));
    world.state.write(&before).unwrap();
    let looked = world.look(&target).await.unwrap();
    assert!(changes(&looked).iter().map(|(part, _)| *part).eq([Part::KubeApiserver]));
    assert!(matches!(looked.live.as_slice(), [(_, path, Some(_))] if path == APISERVER), "{:?}", looked.live);
    let wanted = looked.wanted[&Part::KubeApiserver].iter().find(|object| part::is_workload(&object.value));
    let stamp = &wanted.unwrap().value["spec"]["template"]["metadata"]["annotations"][INPUTS];
    assert!(stamp.is_string(), "pods that have the old ConfigMap run on");
    assert_eq!(looked.observed.unfinished, Some(before.state()));
    assert_eq!(looked.before, Some(before));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_answer_is_named() {
    let mut world = World::new().await;
    let target = world.target(&[]);
    world.node.cluster.set_away(true);
    let error = world.look(&target).await.err().unwrap();
    assert!(matches!(&error, UpgradeError::Api(api::ApiError::Unreachable { .. })), "{error:?}");
    world.node.cluster.set_away(false);
    for path in ["/apis/apps/v1", SCHEDULER, "/api/v1/nodes", "/metrics"] {
        world.node.cluster.say(path, 403, r#"{"reason": "Forbidden", "message": "no"}"#);
        // Which kinds there are is asked once.
        world.forget();
        let error = world.look(&target).await.err().unwrap();
        let UpgradeError::Api(error) = error else { panic!("{path}: {error:?}") };
        assert_eq!(error.to_string(), format!("GET {path}: 403 Forbidden: no"));
        world.node.cluster.say_nothing(path);
    }
}

#[tokio::test(start_paused = true)]
async fn programs_are_asked_for_flags_of_what_changes() {
    let world = World::new().await;
    world.machine.show(&programs::program_path("kube-scheduler"), REFUSES);
    world.machine.show(etcd::ETCDCTL, REFUSES);
    world.put_program("kubelet", REFUSES);
    world.install().await;
    let observed = world.look(&world.target(&[])).await.unwrap().observed;
    assert_eq!(observed.flags, []);
    assert!(observed.etcd.problem.is_some());
    let refused = |observed: &Observed| {
        let refused = observed.flags.iter().filter(|answer| answer.refused);
        refused.map(|answer| (answer.program.clone(), answer.said.clone())).collect::<Vec<_>>()
    };
    let said = |program: &str| [(program.to_owned(), "Error: no".to_owned())];
    let target = world.target(&[("components.kubeScheduler.extraArgs.v", "\"4\"")]);
    let observed = world.look(&target).await.unwrap().observed;
    assert_eq!((refused(&observed), observed.flags.len()), (said("kube-scheduler").into(), 1));
    host::fs::remove_file(&target.root.path(names::path::KUBELET_CONFIG)).unwrap();
    let observed = world.look(&world.target(&[])).await.unwrap().observed;
    assert_eq!((refused(&observed), observed.flags.len()), (said("kubelet").into(), 1));
}

#[tokio::test(start_paused = true)]
async fn what_would_be_done_to_the_node_is_what_it_lacks() {
    let world = World::new().await;
    let target = world.target(&[]);
    host::fs::remove_file(&target.root.path(names::path::KUBELET_CONFIG)).unwrap();
    let host = world.look(&target).await.unwrap().observed.host;
    let expected = [
        &format!("write {}", names::path::KUBELET_CONFIG),
        "reload unit files",
        "restart kubelet.service: its configuration or program changed",
        "wait for the kubelet",
    ];
    assert_eq!(host, expected);
    world.install().await;
    assert_eq!(world.look(&target).await.unwrap().observed.host, Vec::<String>::new());
}

/// One image is in containerd, another one is in the bundle alone.
#[tokio::test(start_paused = true)]
async fn images_that_containerd_lacks_are_imported() {
    let world = World::new().await;
    let (images, dir) = (["a:1".to_owned(), "b:1".to_owned()], world.dir.path());
    let [half, whole] = ["half", "whole"].map(|name| dir.join(name));
    let version = world.target(&[]).version().to_string();
    fakes::bundle::write(&half, &version, &images[..1], &bundle::HOST_PROGRAMS);
    fakes::bundle::write(&whole, &version, &images, &bundle::HOST_PROGRAMS);
    let open = |dir: &Path| bundle::Bundle::open(dir).unwrap();
    node::images::import_images(&world.machine.root(), &open(&half)).unwrap();
    let target = Target { bundle: Some(open(&whole)), ..world.target(&[]) };
    assert_eq!(world.look(&target).await.unwrap().observed.images.import, images[1..]);
}

#[tokio::test(start_paused = true)]
async fn what_the_target_does_not_serve_or_read_is_found() {
    let world = World::new().await;
    let metric = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"endpoints\",\
        subresource=\"\",version=\"v1\"} 1\n";
    world.node.cluster.say("/metrics", 200, metric);
    let workloads = "/apis/scheduling.k8s.io/v1beta1/workloads";
    world.node.cluster.say(workloads, 200, r#"{"items": [{}]}"#);
    let observed = world.look(&world.target(&[])).await.unwrap().observed;
    assert!(observed.deprecated.iter().map(|api| api.resource.as_str()).eq(["endpoints"]));
    assert_eq!(observed.unreadable, Vec::<String>::new(), "of the same version");
    let observed = world.look(&world.target(&[("kubernetesVersion", "v1.36.3")])).await.unwrap().observed;
    assert_eq!(observed.unreadable, [workloads]);
}

#[tokio::test(start_paused = true)]
async fn the_asset_directory_is_compared_with_the_target() {
    let world = World::new().await;
    let target = world.target(&[]);
    let (of_another, other) = ("tls/apiserver.crt", render(&[], None).1);
    let certificate = &other.get(of_another).unwrap().content;
    host::fs::write(&world.assets().join(of_another), certificate, 0o644).unwrap();
    let observed = world.look(&target).await.unwrap().observed;
    assert_eq!(observed.assets, [of_another]);
    let renewed = observed.certificates.iter().filter(|certificate| certificate.renewed);
    assert!(renewed.map(|certificate| certificate.path.as_str()).eq([of_another]));
    host::fs::remove_file(&world.assets().join(assets::CONFIG_FILE)).unwrap();
    let error = world.look(&target).await.err().unwrap();
    assert!(matches!(&error, UpgradeError::Unfinished { path, .. } if *path == world.assets()), "{error:?}");
}

/// Whether work ends before its process is killed: at its n-th pause, or when it runs a program.
async fn survives(work: impl Future, pauses: usize) -> bool {
    let (mut work, mut left) = (pin!(ended(work)), pauses);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        work.as_mut().poll(context).map(|ended| ended.is_some())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_look_leaves_goes_with_the_next_one() {
    let world = World::new().await;
    let target = world.target(&[("components.kubeScheduler.extraArgs.v", "\"4\"")]);
    for unfinished in [false, true] {
        if unfinished {
            let before = Before::new(target.version(), target.version(), Timestamp::now());
            world.state.write(&before).unwrap();
        }
        let there = files(world.dir.path());
        let look = || world.node.sight.look(&target, &world.state);
        let called = world.machine.called().len();
        look().await.unwrap();
        let calls = world.machine.called().split_off(called);
        let seen_and_gone =
            |two: &&[String]| two[0].contains(" images mount ") && two[1].contains(" unmount ");
        assert_eq!(calls.windows(2).filter(seen_and_gone).count(), 2, "{calls:?}");
        for (program, after) in (0..calls.len()).flat_map(|program| [(program, false), (program, true)]) {
            world.machine.kill_at(Some((program, after)));
            assert!(!survives(look(), usize::MAX).await);
            world.machine.kill_at(None);
            let done = &calls[..program + usize::from(after)];
            let is_shown = done.last().is_some_and(|call| call.contains(" images mount "));
            assert_eq!(world.machine.mounts().len(), usize::from(is_shown), "{done:?}");
            if is_shown {
                // As when it is killed while it writes the program.
                let part = world.state.programs().join("kube-scheduler.part");
                host::fs::write(&part, b"\x7fELF", 0o700).unwrap();
            }
            look().await.unwrap();
            assert_eq!(world.machine.mounts().len(), 0, "{done:?}");
            assert_eq!(files(world.dir.path()), there, "killed after {done:?}");
        }
        let mut pauses = 0;
        while !survives(look(), pauses).await {
            look().await.unwrap();
            assert_eq!(files(world.dir.path()), there, "killed at pause {pauses}");
            pauses += 47;
        }
        assert!(pauses > 47, "it ended before it could be killed");
    }
}
