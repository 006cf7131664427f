//! A bring-up from end to end on fakes: an API that keeps objects, a runtime without processes, and a kubelet that
//! moves pods between them. The clock stands still but for the waits.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{ClientError, Connection};
use cri::{Cri, CriError};
use fakes::cluster::Cluster;
use fakes::kubelet::{Kubelet, Registration};
use fakes::runtime::Runtime;
use host::command::CommandError;
use names::component::{KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER};
use serde_json::json;
use steer::probe::Probe;
use tokio::sync::watch;

use super::*;
use crate::event::{Event, Progress};
use crate::surroundings::{Answer, Surroundings};

const NODE: &str = "n";

/// What stands for the host.
#[derive(Debug)]
struct Fakes {
    cluster: Cluster,
    runtime: Runtime,
    registration: Registration,
}

impl Surroundings for Fakes {
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        Box::pin(async move { Ok(Cri::over(self.runtime.connector(), &socket)) })
    }

    fn client(&self, _: &Connection) -> Result<Client, ClientError> {
        Ok(self.cluster.client())
    }

    /// The kernel shows who listens: an apiserver that runs.
    fn watch(&self, _: u16, _: Probe, _: Cri, _: Option<String>) -> Watch {
        let (view, seen) = watch::channel(traffic::View::default());
        let (pivot, pivoting) = watch::channel(false);
        let runtime = self.runtime.clone();
        tokio::spawn(async move {
            while view.send(fakes::port::view(&runtime, *pivoting.borrow())).is_ok() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        Watch::of_view(seen, pivot)
    }

    fn restart_kubelet(&self) -> Result<(), CommandError> {
        self.registration.restart();
        Ok(())
    }

    fn members<'a>(&'a self, _: &'a etcd::Etcd) -> Answer<'a, Vec<etcd::Member>, String> {
        Box::pin(async { Err("a start asks no member".to_owned()) })
    }

    fn set_peer_urls<'a>(
        &'a self,
        _: &'a etcd::Etcd,
        _: &'a etcd::Member,
        _: &'a [String],
    ) -> Answer<'a, (), String> {
        Box::pin(async { Err("a start moves no member".to_owned()) })
    }

    fn owner(&self, wanted: (u32, u32)) -> host::fs::Owner {
        Some(wanted)
    }
}

/// A node, its disk, and what runs on it.
struct World {
    dir: tempfile::TempDir,
    options: Options,
    kubelet: Arc<Mutex<Kubelet>>,
    cluster: Cluster,
    runtime: Runtime,
}

impl World {
    /// A host with an asset directory, on which nothing was started yet.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (assets, manifests) = (dir.path().join("assets"), dir.path().join("manifests"));
        std::fs::create_dir_all(&manifests).unwrap();
        write_assets(&assets);
        let (cluster, runtime) = (Cluster::default(), Runtime::default());
        let kubelet = Kubelet {
            node: NODE.to_owned(),
            manifest_dir: manifests.clone(),
            runtime: runtime.clone(),
            cluster: cluster.clone(),
            ready: true,
            network: true,
            machine: None,
            volumes: None,
            registration: Registration::default(),
        };
        kubelet.step();
        let mut options = Options::new(assets, NODE.to_owned());
        options.surroundings = Arc::new(Fakes {
            cluster: cluster.clone(),
            runtime: runtime.clone(),
            registration: kubelet.registration.clone(),
        });
        options.manifest_dir = manifests;
        options.secrets_dir = dir.path().join("secrets");
        options.checkpoint_dir = dir.path().join("checkpoints");
        // Each tenth of a second of it is a look at everything.
        options.timeout = Duration::from_secs(5);
        Self { dir, options, kubelet: Arc::new(Mutex::new(kubelet)), cluster, runtime }
    }

    /// Brings it up; `kill` is asked at each event whether the process ends there.
    async fn start(&self, kill: impl Fn(&Event) -> bool + Send + Sync) -> Result<Summary, StartError> {
        let (killed, mut dead) = watch::channel(false);
        let sink = move |event: Event| {
            if kill(&event) {
                let _ = killed.send(true);
            }
        };
        let report = Reporter::new(&sink);
        let node = self.run_node();
        let outcome = tokio::select! {
            outcome = super::start(&self.options, &report) => outcome,
            _ = dead.wait_for(|dead| *dead) => Err(StartError::LeftOver { left: "killed".into(), after: Duration::ZERO }),
        };
        node.abort();
        let _ = node.await;
        outcome
    }

    /// The kubelet looks again and again.
    fn run_node(&self) -> tokio::task::JoinHandle<()> {
        let kubelet = Arc::clone(&self.kubelet);
        tokio::spawn(async move {
            loop {
                kubelet.lock().unwrap().step();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })
    }

    fn set_ready(&self, ready: bool) {
        self.kubelet.lock().unwrap().ready = ready;
    }

    /// What is left of the temporary control plane.
    fn temporary(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.options.manifest_dir).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let sandboxes = self.runtime.sandboxes();
        let pods = sandboxes.iter().map(|sandbox| sandbox.name.clone());
        let objects = self.cluster.objects();
        let objects = objects.keys().map(|path| path.rsplit('/').next().unwrap().to_owned());
        files.chain(pods).chain(objects).filter(|name| name.starts_with("bootstrap-")).collect()
    }

    fn is_self_hosted(&self) {
        assert_eq!(self.temporary(), Vec::<String>::new());
        assert!(!self.options.secrets_dir.exists(), "the temporary control plane's secrets are still there");
        let sandboxes = self.runtime.sandboxes();
        let mut running: Vec<_> =
            sandboxes.iter().filter(|s| s.running).map(|s| s.container.as_str()).collect();
        running.sort_unstable();
        assert_eq!(running, [KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER]);
    }
}

fn write_assets(dir: &Path) {
    let me = std::fs::metadata("/proc/self").unwrap();
    let (uid, gid) = (me.uid(), me.gid());
    let put = |path: &str, content: &str| {
        let path: PathBuf = dir.join(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o700).unwrap();
        host::fs::write(&path, content.as_bytes(), 0o600).unwrap();
    };
    let cluster = json!([{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": true}}]);
    let context = json!([{"name": "c", "context": {"cluster": "c", "user": "u"}}]);
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "clusters": cluster,
        "users": [{"name": "u", "user": {}}], "contexts": context});
    put("auth/kubeconfig", &kubeconfig.to_string());
    put("tls/ca.key", "secret");
    let container = |name: &str| {
        let flags = match name {
            KUBE_APISERVER => json!(["--etcd-servers=https://127.0.0.1:2379", "--permit-port-sharing"]),
            _ => json!([]),
        };
        json!([{"name": name, "image": "i", "command": [format!("/{name}")], "args": flags}])
    };
    for name in [KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("bootstrap-{name}"), "namespace": "kube-system"},
            "spec": {"containers": container(name), "securityContext": {"runAsUser": uid, "runAsGroup": gid}}});
        put(&format!("bootstrap-manifests/bootstrap-{name}.yaml"), &pod.to_string());
        let kind = if name == KUBE_APISERVER { "DaemonSet" } else { "Deployment" };
        let spec = json!({"containers": container(name), "hostNetwork": true, "automountServiceAccountToken": false,
            "nodeSelector": {names::label::CONTROL_PLANE_NODE: ""}});
        let object = json!({"apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "kube-system"}, "spec": {"template": {"spec": spec}}});
        put(&format!("manifests/{name}.yaml"), &object.to_string());
    }
    let addon = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "kube-system"}});
    put("manifests/config.yaml", &addon.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_bare_host_becomes_self_hosted_and_a_second_start_changes_nothing() {
    let world = World::new();
    let summary = world.start(|_| false).await.unwrap();
    assert!(summary.changed);
    assert_eq!(summary.pods.len(), 3);
    world.is_self_hosted();
    let node = &world.cluster.objects()["/api/v1/nodes/n"];
    assert_eq!(node["metadata"]["labels"][names::label::CONTROL_PLANE_NODE], "");
    let before = world.cluster.asked().len();
    assert!(!world.start(|_| false).await.unwrap().changed);
    let asked = world.cluster.asked();
    assert!(asked[before..].iter().all(|asked| asked.starts_with("GET ")), "{:?}", &asked[before..]);
}

#[tokio::test(start_paused = true)]
async fn rights_that_a_cluster_has_lost_are_put_back_and_nothing_else_is_touched() {
    const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/r";
    let world = World::new();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "r"}, "rules": [{"verbs": ["get"]}]});
    let file = world.options.asset_dir.join("manifests/role.yaml");
    host::fs::write(&file, role.to_string().as_bytes(), 0o600).unwrap();
    world.start(|_| false).await.unwrap();
    let objects = world.cluster.objects();
    assert_eq!(objects[ROLE]["rules"], role["rules"]);

    // What somebody has changed is meant; what is gone is not.
    world.cluster.change(ROLE, |role| role["rules"] = json!([]));
    assert!(!world.start(|_| false).await.unwrap().changed);
    assert_eq!(world.cluster.objects()[ROLE]["rules"], json!([]));
    world.cluster.remove(ROLE);
    let before = world.cluster.asked().len();
    let told = Arc::new(Mutex::new(String::new()));
    let note = Arc::clone(&told);
    let listen = move |event: &Event| {
        if let (Step::Rights, Progress::Note(text)) = (event.step, &event.progress) {
            note.lock().unwrap().clone_from(text);
        }
        false
    };
    assert!(world.start(listen).await.unwrap().changed);
    assert_eq!(world.cluster.objects()[ROLE]["rules"], role["rules"]);
    let asked = world.cluster.asked().split_off(before);
    let written: Vec<_> = asked.iter().filter(|asked| !asked.starts_with("GET ")).collect();
    assert!(!written.is_empty() && written.iter().all(|asked| asked.contains(ROLE)), "{written:?}");
    // The fake has none of Kubernetes' own.
    assert!(told.lock().unwrap().contains("kube-apiserver makes them when it starts"));
    assert!(!world.start(|_| false).await.unwrap().changed);
}

#[tokio::test(start_paused = true)]
async fn killed_in_any_step_and_run_again_it_ends_the_same() {
    for step in [Step::Stage, Step::Api, Step::Inject, Step::Ready, Step::Addons, Step::Pivot, Step::Verify] {
        for at_its_end in [false, true] {
            let world = World::new();
            let here = move |event: &Event| {
                let done = matches!(event.progress, Progress::Done(_));
                event.step == step && done == at_its_end
            };
            // At the end of the last step there is nothing left to be killed.
            let killed = world.start(here).await;
            assert!(killed.is_err() || step == Step::Verify, "{step:?} {at_its_end}");
            world.start(|_| false).await.unwrap_or_else(|error| panic!("{step:?} {at_its_end}: {error}"));
            world.is_self_hosted();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_never_get_ready_are_named_and_the_temporary_control_plane_stays() {
    let world = World::new();
    world.set_ready(false);
    let error = world.start(|_| false).await.unwrap_err();
    let StartError::NotReady { what, after, diagnosis } = &error else { panic!("{error}") };
    assert_eq!(what, "the self-hosted control plane");
    assert!(*after > world.options.timeout, "{after:?}");
    assert!(
        diagnosis.starts_with("kube-system/kube-apiserver: the pod is Running and not Ready"),
        "{diagnosis}"
    );
    assert!(world.temporary().iter().any(|name| name == "bootstrap-kube-apiserver-n"));
    // What was lacking has come: the next one goes on from there.
    world.set_ready(true);
    world.start(|_| false).await.unwrap();
    world.is_self_hosted();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_api_in_between_is_waited_out() {
    let world = World::new();
    let cluster = world.cluster.clone();
    let refused = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&refused);
    let once = move |event: &Event| {
        if event.step == Step::Ready && event.progress == Progress::Started {
            cluster.say("/api/v1/pods", 500, "etcd has no leader");
            *flag.lock().unwrap() = true;
        }
        if let Progress::Waiting(what) = &event.progress
            && what.contains("refused")
        {
            cluster.say_nothing("/api/v1/pods");
        }
        false
    };
    world.start(once).await.unwrap();
    assert!(*refused.lock().unwrap());
    world.is_self_hosted();
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_crashes_again_and_again_ends_the_wait_at_once() {
    let world = World::new();
    let runtime = world.runtime.clone();
    let crash = move |event: &Event| {
        if event.step == Step::Api {
            for sandbox in runtime.sandboxes().iter_mut().filter(|s| s.container == KUBE_APISERVER) {
                sandbox.crashes = 5;
            }
        }
        false
    };
    world.cluster.say("/readyz", 500, "[-]etcd failed");
    let error = world.start(crash).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Crashing { what, .. } if what.contains("bootstrap-kube-apiserver")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_has_deleted_is_in_the_api_again_with_its_label() {
    let world = World::new();
    world.start(|_| false).await.unwrap();
    let node = "/api/v1/nodes/n";
    let label = || world.cluster.object(node).map(|node| node["metadata"]["labels"].clone());
    let whole = label().unwrap();
    world.cluster.remove(node);
    // A kubelet that runs asks no more.
    world.kubelet.lock().unwrap().step();
    assert_eq!(label(), None);
    let done = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&done);
    let note = move |event: &Event| {
        if event.progress == Progress::Started {
            told.lock().unwrap().push(event.step);
        }
        false
    };
    assert!(world.start(note).await.unwrap().changed);
    assert_eq!(*done.lock().unwrap(), [Step::Register]);
    assert_eq!(label(), Some(whole.clone()));
    // Another value of the label is none that the control plane's pods ask for.
    world
        .cluster
        .change(node, |node| node["metadata"]["labels"][names::label::CONTROL_PLANE_NODE] = json!("true"));
    assert!(world.start(|_| false).await.unwrap().changed);
    assert_eq!(label(), Some(whole));
    assert!(!world.start(|_| false).await.unwrap().changed);
}

/// With the plugin images of the node are of no use: the first rollout, or the first power cut, would be the last.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_made_again_is_not_begun() {
    let world = World::new();
    let file = world.options.asset_dir.join("manifests/kube-apiserver.yaml");
    let text = host::fs::read_to_string(&file).unwrap();
    let plugins = "\"--enable-admission-plugins=NodeRestriction,AlwaysPullImages\",\"--permit-port-sharing\"";
    host::fs::write(&file, text.replace("\"--permit-port-sharing\"", plugins).as_bytes(), 0o600).unwrap();
    world.runtime.lack_image("i");
    let error = world.start(|_| false).await.unwrap_err();
    assert!(matches!(&error, StartError::Unpullable { images } if images[0].0 == "i"), "{error}");
    assert!(error.to_string().contains("no registry gives i: "), "{error}");
    assert_eq!(host::fs::list(&world.options.manifest_dir).unwrap(), [] as [PathBuf; 0]);
}

/// An etcd without its data would begin another cluster, and the kubelet end every workload.
#[tokio::test(start_paused = true)]
async fn nothing_is_started_where_etcds_data_is_gone() {
    let mut world = World::new();
    world.options.root = world.dir.path().to_owned();
    let memory = world.options.on_node(Path::new(ETCD_MEMBER_ID));
    let member = etcd::Identity { cluster: 1, member: 2 };
    etcd::data::remember(&memory, member, Path::new("/var/lib/etcd"), None).unwrap();
    let error = world.start(|_| false).await.unwrap_err();
    let StartError::Data { problem } = &error else { panic!("{error}") };
    assert!(problem.contains("/var/lib/etcd holds no data of etcd, and this node is member 2"), "{problem}");
    assert_eq!(host::fs::list(&world.options.manifest_dir).unwrap(), [] as [PathBuf; 0]);
}

/// What is on the disk is all that a node has of its cluster, and an API that is away says nothing of whose it is.
#[tokio::test(start_paused = true)]
async fn another_cluster_s_asset_directory_is_refused_before_anything_is_written() {
    const CA: &str = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n";
    for place in [names::path::CA_CERTIFICATE, "/etc/kubernetes/kubestrap/authorities/ca.crt"] {
        let mut world = World::new();
        world.options.root = world.dir.path().to_owned();
        let put = |path: &Path, text: &str| {
            host::fs::create_dir_all(path.parent().unwrap(), 0o700).unwrap();
            host::fs::write(path, text.as_bytes(), 0o644).unwrap();
        };
        put(&world.options.asset_dir.join("tls/ca.crt"), CA);
        put(&world.options.on_node(Path::new(place)), &CA.replace('A', "B"));
        world.cluster.say("/readyz", 500, "[-]etcd failed");
        let error = world.start(|_| false).await.unwrap_err();
        assert!(matches!(&error, StartError::OtherCluster { place: told, .. } if told == place), "{error}");
        assert_eq!(host::fs::list(&world.options.manifest_dir).unwrap(), [] as [PathBuf; 0]);
        assert!(dry_run(&world.options, &Reporter::new(&|_| {})).await.is_err());
        // One authority that takes over from another.
        put(&world.options.on_node(Path::new(place)), &format!("{}{CA}", CA.replace('A', "B")));
        world.cluster.say_nothing("/readyz");
        world.start(|_| false).await.unwrap();
        world.is_self_hosted();
    }
}

/// One that comes back by copies of its own: such as when the image of everybody was damaged, and of the temporary one, too.
#[tokio::test(start_paused = true)]
async fn a_temporary_control_plane_that_never_serves_stays_only_where_nothing_else_comes_back() {
    for restorable in [false, true] {
        let world = World::new();
        if restorable {
            let guardian = world.options.manifest_dir.join(names::path::GUARDIAN_FILE);
            host::fs::write(
                &guardian,
                b"{kind: Pod, metadata: {name: g}, spec: {containers: [{name: g}]}}",
                0o600,
            )
            .unwrap();
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "kube-scheduler-1", "namespace": "kube-system", "uid": "u",
                    "ownerReferences": [{"kind": "DaemonSet", "name": "kube-scheduler", "controller": true}]},
                "spec": {"hostNetwork": true, "nodeName": NODE, "containers": [{"name": "kube-scheduler", "image": "i"}]}});
            let made = checkpoint::expected(Path::new("/"), &pod, &[]).unwrap().checkpoint;
            let store = checkpoint::Store::open(&world.options.checkpoint_dir).unwrap();
            store.write(&made, Timestamp::now()).unwrap();
        }
        world.cluster.say("/readyz", 500, "[-]etcd failed");
        world.start(|_| false).await.unwrap_err();
        assert_eq!(
            world.temporary().iter().any(|name| Path::new(name).extension().is_some()),
            !restorable,
            "{restorable}"
        );
    }
}
