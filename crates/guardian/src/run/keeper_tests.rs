use std::path::Path;

use cri::Cri;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::super::digests::Digests;
use super::*;
use crate::machine::Observation;
use crate::run::parents::Parentage;
use api::Change as News;

const UID: &str = "u";

fn component() -> Component {
    Component { namespace: "kube-system".to_owned(), name: "kube-scheduler".to_owned() }
}

fn parent() -> checkpoint::Parent {
    checkpoint::Parent { kind: "DaemonSet".to_owned(), uid: "p".to_owned() }
}

/// As the API has it.
fn object() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "kube-scheduler-x", "namespace": "kube-system", "uid": UID,
            "annotations": {names::annotation::CHECKPOINT: "true"},
            "ownerReferences": [{"kind": "DaemonSet", "name": "kube-scheduler", "controller": true}]},
        "spec": {"hostNetwork": true, "nodeName": "n",
            "containers": [{"name": "kube-scheduler", "image": "i"}]}})
}

/// A node with that pod, and all that actions are done with.
struct World {
    dir: tempfile::TempDir,
    files: Arc<Files>,
    /// Nobody answers there: of a pod without containers nothing has to be asked.
    runtime: Cri,
    _socket: UnixListener,
    cluster: Cluster,
    pods: Vec<PodSeen>,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixListener::bind(dir.path().join("cri.sock")).unwrap();
        let runtime = Cri::connect(&dir.path().join("cri.sock")).await.unwrap();
        host::fs::create_dir_all(&dir.path().join("manifests"), 0o755).unwrap();
        let files = Files::open(&dir.path().join("checkpoints"), &dir.path().join("manifests")).unwrap();
        let mut cluster = Cluster::default();
        cluster.pods_changed(News::All(vec![object()]));
        let pod = PodSeen {
            uid: UID.to_owned(),
            sandbox: "s".to_owned(),
            name: "kube-scheduler-x".to_owned(),
            labels: [].into(),
            annotations: [].into(),
            containers: Vec::new(),
        };
        Self { dir, files: Arc::new(files), runtime, _socket: socket, cluster, pods: vec![pod] }
    }

    fn keeper(&self) -> Keeper {
        Keeper::new(component(), &self.files, Limits::default(), 0).unwrap()
    }

    /// The machine is told what runs; what it asks for is done.
    async fn observe(&self, keeper: &mut Keeper, now_ms: u64, runs: &[Instance]) {
        let clock = || now_ms;
        let tools = Tools {
            files: &self.files,
            runtime: &self.runtime,
            pods: &self.pods,
            cluster: &self.cluster,
            parent: Some(parent()),
            host_root: self.dir.path(),
            clock: &clock,
        };
        let seen = Observation { now_ms, runtime: Some(runs.to_vec()), ..Observation::default() };
        keeper.step(Event::Observed(seen), &tools).await;
    }

    /// What the kubelet is told to run.
    fn placed(&self) -> Vec<Vec<u8>> {
        let files = host::fs::list(&self.dir.path().join("manifests")).unwrap();
        files.iter().map(|path| host::fs::read(path).unwrap()).collect()
    }
}

async fn digest(world: &World) -> crate::machine::Digest {
    let mut digests = Digests::new(Path::new("/nonexistent"));
    assert_eq!(digests.update(&world.pods, &world.cluster, &|_| Parentage::Own, &world.runtime).await, []);
    digests.of(UID).expect("the pod has a digest").digest.clone()
}

/// That pod, as it serves.
async fn serving(world: &World) -> Instance {
    Instance {
        pod: UID.to_owned(),
        container: "c".to_owned(),
        origin: objects::Origin::Api,
        digest: Some(digest(world).await),
        revision: 1,
        revision_name: "1".to_owned(),
        started_ms: 1,
        content_since_ms: 0,
        running: true,
        ready: true,
        terminating: false,
        restarts: 0,
    }
}

#[tokio::test]
async fn what_the_machine_asks_for_is_on_the_disk() {
    let world = World::new().await;
    let limits = Limits::default();
    let serving = serving(&world).await;
    let runs = std::slice::from_ref(&serving);
    let mut keeper = world.keeper();
    world.observe(&mut keeper, 0, runs).await;
    let written = world.files.generations(&component()).unwrap();
    assert_eq!(
        written.iter().map(|g| (g.digest.to_string(), g.good)).collect::<Vec<_>>(),
        [(serving.digest.as_ref().unwrap().0.clone(), false)]
    );
    assert_eq!(written[0].source.parent, Some(parent()));
    world.observe(&mut keeper, limits.proven_ms, runs).await;
    assert!(world.files.generations(&component()).unwrap()[0].good);
    // A guardian that begins now knows the same.
    assert_eq!(world.keeper().machine.disk(), keeper.machine.disk());

    let gone = limits.proven_ms + 1;
    world.observe(&mut keeper, gone, &[]).await;
    assert!(world.placed().is_empty());
    world.observe(&mut keeper, gone + limits.nothing_ms, &[]).await;
    assert_eq!(world.placed(), [host::fs::read(&written[0].dir.join("pod.yaml")).unwrap()]);

    let back = gone + limits.nothing_ms + 1;
    world.observe(&mut keeper, back, runs).await;
    assert_eq!(world.placed().len(), 1);
    world.observe(&mut keeper, back + limits.release_ms, runs).await;
    assert!(world.placed().is_empty());
}

/// `kubectl rollout restart` changes the revision and nothing that is copied.
#[tokio::test]
async fn a_revision_of_the_same_content_is_what_its_generation_is_of() {
    let world = World::new().await;
    let mut instance = serving(&world).await;
    let mut keeper = world.keeper();
    world.observe(&mut keeper, 0, std::slice::from_ref(&instance)).await;
    let noted = || {
        let generations = world.files.generations(&component()).unwrap();
        assert_eq!(generations.len(), 1);
        let source = generations[0].source.clone();
        (source.uid.unwrap(), source.revision.unwrap_or_default())
    };
    assert_eq!(noted(), (UID.to_owned(), String::new()));
    instance.pod = "later".to_owned();
    instance.revision_name = "2".to_owned();
    instance.ready = false;
    keeper.instances = vec![instance.clone()];
    keeper.note_source(None, &world.files).await;
    assert_eq!(noted().0, UID, "it is not Ready yet");
    instance.ready = true;
    keeper.instances = vec![instance];
    keeper.note_source(None, &world.files).await;
    assert_eq!(noted(), ("later".to_owned(), "2".to_owned()));
    // Whose parent is not known keeps the one that it had, and its files are whole.
    let generation = &world.files.generations(&component()).unwrap()[0];
    assert_eq!(generation.source.parent, Some(parent()));
    assert_eq!(world.keeper().machine.disk().generations.len(), 1);
}
