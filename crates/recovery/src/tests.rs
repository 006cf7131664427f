//! On a host that is none: to the end, killed at each program, and what is refused before anything is changed.

use std::path::{Path, PathBuf};

use etcd::data::{self, Standing};
use fakes::killed::ended;
use fakes::machine::Machine;
use fakes::runtime::Sandbox;
use jiff::Timestamp;
use names::path;
use node::Root;
use node::units::Units;
use sha2::{Digest as _, Sha256};

use crate::{Done, Found, RecoveryError, execute, look, plan};

const NODE: &str = "n";
const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const MANIFEST: &str = "
kind: Pod
metadata: {name: etcd, namespace: kube-system}
spec:
  containers:
  - name: etcd
    image: registry.k8s.io/etcd:3
    args:
    - --name=$(NODE_NAME)
    - --listen-client-urls=https://127.0.0.1:2379
    - --initial-cluster=$(NODE_NAME)=https://192.0.2.1:2380
    - --initial-advertise-peer-urls=https://192.0.2.1:2380
    - --data-dir=/data
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, hostPath: {path: /var/lib/etcd}}]
";

struct World {
    dir: tempfile::TempDir,
    machine: Machine,
    root: Root,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(dir.path());
        let world = Self { root: machine.root(), machine, dir };
        for (file, text) in [
            ("/etc/kubernetes/manifests/etcd.yaml", MANIFEST),
            (path::CA_CERTIFICATE, CA),
            ("/usr/local/bin/ctr", ""),
            ("/usr/local/bin/kubelet", ""),
            ("/usr/local/bin/containerd", ""),
            ("/etc/systemd/system/kubelet.service", "ExecStart=/usr/local/bin/kubelet\n"),
            ("/etc/systemd/system/containerd.service", "ExecStart=/usr/local/bin/containerd\n"),
            ("/var/lib/etcd/member/snap/db", "before"),
        ] {
            world.write(file, text.as_bytes());
        }
        world.machine.show(etcd::ETCDUTL, b"");
        let units = Units::of(&world.root);
        units.daemon_reload().unwrap();
        for unit in [node::containerd::UNIT, path::KUBELET_UNIT] {
            units.restart(unit).unwrap();
        }
        world.runs();
        world
    }

    fn write(&self, file: &str, content: &[u8]) {
        let path = self.root.path(file);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content, 0o600).unwrap();
    }

    fn runs(&self) {
        *self.machine.runtime.sandboxes() = ["etcd", "kube-apiserver", "kube-scheduler", "coredns"]
            .map(|container| Sandbox::running(container, container))
            .to_vec();
    }

    /// A file of this content with the checksum that etcd puts at the end.
    fn snapshot(&self, content: &str) -> PathBuf {
        let path = self.dir.path().join("snapshot.db");
        let sum = Sha256::digest(content);
        host::fs::write(&path, &[content.as_bytes(), sum.as_slice()].concat(), 0o600).unwrap();
        path
    }

    fn good(&self) -> PathBuf {
        self.snapshot(&format!("what is kept of {CA}"))
    }

    fn look(&self, snapshot: &Path) -> Result<Found, RecoveryError> {
        look(&self.root, Path::new(path::STATIC_PODS), NODE, snapshot)
    }

    async fn restore(&self, second: i64) -> Result<Done, RecoveryError> {
        let found = self.look(&self.good())?;
        let now = Timestamp::from_second(second).unwrap();
        execute(&self.root, &found, &plan(&found, now), &|_| {}).await
    }

    fn database(&self) -> String {
        let content = host::fs::read(&self.root.path("/var/lib/etcd/member/snap/db")).unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    }

    fn standing(&self) -> Standing {
        data::standing(&self.root.path(path::ETCD_MEMBER_ID), &|path| self.root.path(path))
    }

    fn running(&self) -> Vec<String> {
        let sandboxes = self.machine.runtime.sandboxes();
        sandboxes.iter().filter(|sandbox| sandbox.running).map(|sandbox| sandbox.container.clone()).collect()
    }

    fn is_restored(&self) {
        assert!(self.database().starts_with("what is kept of"), "{}", self.database());
        assert_eq!(self.standing(), Standing::Own);
        assert!(self.machine.runs(path::KUBELET_UNIT));
        assert_eq!(self.running(), ["kube-scheduler", "coredns"]);
        let left = host::fs::list(&self.root.path("/var/lib/etcd")).unwrap();
        assert!(!left.iter().any(|path| path.ends_with("restored")), "{left:?}");
        let kept = left.iter().filter(|path| !path.ends_with("member"));
        let kept: Vec<_> =
            kept.map(|path| host::fs::read_to_string(&path.join("snap/db")).unwrap()).collect();
        assert_eq!(kept, ["before"], "what was there is kept");
        assert!(!self.root.path(path::RECOVERY).exists() && self.machine.mounts().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_becomes_the_data_and_what_was_there_is_kept() {
    let world = World::new();
    let found = world.look(&world.good()).unwrap();
    let planned = plan(&found, Timestamp::UNIX_EPOCH).to_string();
    assert_eq!(
        planned,
        "stop the kubelet, end etcd and the API servers of this node\n\
         unpack the snapshot to /var/lib/etcd/restored\n\
         put it in the place of /var/lib/etcd/member, \
         which is kept as /var/lib/etcd/member.before-19700101T000000Z\n\
         start the kubelet, and with it etcd"
    );
    assert_eq!(world.database(), "before", "a look changes nothing");
    let done = world.restore(0).await.unwrap();
    assert_eq!(done.kept.as_deref(), Some(Path::new("/var/lib/etcd/member.before-19700101T000000Z")));
    world.is_restored();
    let called = world.machine.called();
    let unpacked = called.iter().find(|line| line.contains("snapshot restore")).unwrap();
    for wanted in [
        "--name=n",
        "--initial-cluster=n=https://192.0.2.1:2380",
        "--bump-revision=1000000000 --mark-compacted",
    ] {
        assert!(unpacked.contains(wanted), "{unpacked}");
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_is_gone_is_restored_too() {
    let world = World::new();
    host::fs::remove_dir_all(&world.root.path("/var/lib/etcd")).unwrap();
    host::fs::create_dir_all(&world.root.path("/var/lib/etcd"), 0o700).unwrap();
    let done = world.restore(0).await.unwrap();
    assert_eq!(done.kept, None);
    assert_eq!(world.standing(), Standing::Own);
}

/// etcd's tool may fail for want of room: what was there is served again.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_unpacked_leaves_what_was_there_and_its_kubelet() {
    let world = World::new();
    let found = world.look(&world.good()).unwrap();
    host::fs::remove_file(&found.snapshot).unwrap();
    let error =
        execute(&world.root, &found, &plan(&found, Timestamp::UNIX_EPOCH), &|_| {}).await.unwrap_err();
    assert!(matches!(error, RecoveryError::Command(_)), "{error}");
    assert_eq!(world.database(), "before");
    assert!(world.machine.runs(path::KUBELET_UNIT) && !world.root.path("/var/lib/etcd/restored").exists());
    assert!(!world.root.path(path::RECOVERY).exists() && world.machine.mounts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_is_run_again() {
    for number in 0.. {
        let mut was_killed = false;
        for after in [false, true] {
            let world = World::new();
            world.machine.kill_at(Some((number, after)));
            was_killed = ended(world.restore(0)).await.is_none();
            world.machine.kill_at(None);
            if was_killed {
                world.restore(1).await.unwrap();
            }
            assert!(world.database().starts_with("what is kept of"), "{number} {after}");
            assert_eq!(world.standing(), Standing::Own, "{number} {after}");
            assert!(world.machine.runs(path::KUBELET_UNIT), "{number} {after}");
            let data = host::fs::list(&world.root.path("/var/lib/etcd")).unwrap();
            let before = |path: &PathBuf| host::fs::read(&path.join("snap/db")).unwrap() == b"before";
            assert_eq!(data.iter().filter(|path| before(path)).count(), 1, "{number} {after}: {data:?}");
        }
        if !was_killed {
            assert!(number > 4, "only {number} programs were run");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_restored_is_refused_before_anything_is_changed() {
    let world = World::new();
    let refused = |snapshot: &Path| world.look(snapshot).unwrap_err().to_string();
    let other = world.snapshot("of another one");
    assert!(refused(&other).contains("is of another cluster: the certificate of /etc/kubernetes/pki/ca.crt"));
    let good = world.good();
    let text = host::fs::read(&good).unwrap();
    host::fs::write(&good, &text[..text.len() - 1], 0o600).unwrap();
    assert!(refused(&good).contains("is not whole"));
    assert!(refused(Path::new("/nowhere")).contains("/nowhere"));
    let good = world.good();
    let manifest = "/etc/kubernetes/manifests/etcd.yaml";
    let two = "--initial-cluster=m=https://192.0.2.2:2380,";
    for (from, to, why) in [
        ("--initial-cluster=", two, "etcd has 2 members"),
        ("--data-dir=/data", "--data-dir=/elsewhere", "its data is in no directory of the host"),
        ("--data-dir", "--wal-dir=/w\n    - --data-dir", "its log is apart from its data (--wal-dir)"),
        ("--listen-client-urls", "--x", "no container is an etcd"),
    ] {
        world.write(manifest, MANIFEST.replace(from, to).as_bytes());
        assert!(refused(&good).contains(why), "{}", refused(&good));
    }
    host::fs::remove_file(&world.root.path(manifest)).unwrap();
    assert!(refused(&good).contains("etcd.yaml is not there: no etcd is this node's"));
    assert_eq!(world.database(), "before");
}
