//! A whole control-plane node in a temporary directory, to be broken in one place at a time.

use etcd::Health;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use ::checks::{Check, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use checkpoint::{Component, Entry, Inputs, Kind, Parent, Store, Tree, Volumes};
use cluster::KeyAlgorithm;
use cri::{Pod, PodState};
use jiff::{SignedDuration, Timestamp};
use node::Root;
use node::facts::Addresses;
use pki::{Authority, Identity, Leaf, Terms};
use serde_json::{Value, json};

use crate::checks::store::Kept;
use crate::diagnose::{Disk, Live, Options, judge};
use crate::runtime::{Runtime, containerd_root};

pub(crate) const CHECKPOINTS: &str = "/var/lib/kubestrap/checkpoints";
const PAUSE: &str = "registry.k8s.io/pause:3.10";
const YEAR: u64 = 365 * 24 * 3600;
/// How old certificates are, in seconds.
const AGE: i64 = 100 * 24 * 3600;

/// The node, what answers on it, and its clock.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) now: Timestamp,
    pub(crate) live: Option<Live>,
    pub(crate) options: Options,
    ca: Authority,
}

pub(crate) fn component(name: &str) -> Component {
    Component { namespace: "kube-system".to_owned(), name: name.to_owned() }
}

impl World {
    /// A node that would come back.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let ca = Authority::generate("kubernetes", terms(now, 10 * YEAR)).unwrap();
        let host = Addresses::example("10.0.0.1".parse().unwrap());
        let options = Options::new(Root::below(dir.path()), Some(host));
        let mut world = Self { dir, now, live: None, options, ca };
        world.units();
        world.kubelet();
        world.etcd();
        world.guardian();
        for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            let store = world.store();
            let generation =
                store.write(&world.checkpoint(name, "1"), now - SignedDuration::from_hours(1)).unwrap();
            store.promote(&generation.component, &generation.id).unwrap();
        }
        world.live = Some(world.answers());
        world
    }

    pub(crate) fn store(&self) -> Store {
        Store::view(&self.path(CHECKPOINTS), CHECKPOINTS.as_ref())
    }

    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.dir.path().join(absolute.trim_start_matches('/'))
    }

    pub(crate) fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.path(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content.as_bytes(), mode).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() {
            host::fs::remove_dir_all(&path).unwrap();
        } else {
            let _ = host::fs::remove_file(&path).unwrap();
        }
    }

    pub(crate) fn link(&self, target: &str, path: &str) {
        let path = self.path(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        let _ = std::fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    /// A client certificate that is valid for so many seconds from `now`.
    pub(crate) fn certificate(&self, name: &str, seconds: u64) -> Identity {
        self.ca.issue(&Leaf::client(name, None), terms(self.now, seconds)).unwrap()
    }

    /// Everything that the checks find.
    pub(crate) fn checks(&self) -> Vec<Check> {
        let disk = Disk::read(&self.options);
        let answered = self.live.as_ref().unwrap();
        let kept = Kept::read(&disk.files, &containerd_root(&disk.files), self.options.thorough);
        judge(&self.options, &disk, &Live { kept, ..answered.clone() }, self.now)
    }

    /// The checks that did not pass: name and outcome, and all of what they say. How full the disk is says nothing
    /// of this node: it is that of the machine that runs the tests.
    pub(crate) fn problems(&self) -> (Vec<(String, Outcome)>, String) {
        let of_the_machine =
            |check: &Check| check.name.starts_with("Disk") && check.result == Outcome::Warning;
        let passed = |check: &Check| check.result == Outcome::Ok || of_the_machine(check);
        let problems: Vec<_> = self.checks().into_iter().filter(|check| !passed(check)).collect();
        let lines: Vec<_> = problems.iter().map(|check| format!("{}: {}", check.name, check.what)).collect();
        let text = lines.join("\n");
        (problems.into_iter().map(|check| (check.name, check.result)).collect(), text)
    }

    fn units(&self) {
        for (name, flags) in [
            ("kubelet", "--config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf"),
            ("containerd", ""),
        ] {
            self.write(&format!("/usr/local/bin/{name}"), "", 0o755);
            let unit = format!("[Service]\nExecStart=/usr/local/bin/{name} {flags}\n");
            self.write(&format!("/etc/systemd/system/{name}.service"), &unit, 0o644);
            let link = format!("/etc/systemd/system/multi-user.target.wants/{name}.service");
            self.link(&format!("/etc/systemd/system/{name}.service"), &link);
        }
        self.write(
            "/etc/containerd/config.toml",
            &format!("[x.pinned_images]\nsandbox = \"{PAUSE}\"\n"),
            0o644,
        );
        host::fs::create_dir_all(&self.path("/var/lib/containerd"), 0o755).unwrap();
    }

    fn kubelet(&self) {
        let config = "kind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\nimageGCHighThresholdPercent: 100\n";
        self.write("/var/lib/kubelet/config.yaml", config, 0o644);
        let current = "/var/lib/kubelet/pki/kubelet-client-current.pem";
        self.kubelet_certificate(YEAR);
        self.link("/var/lib/kubelet/pki/kubelet-client-1.pem", current);
        let ca = BASE64.encode(self.ca.cert_pem());
        let kubeconfig = format!(
            "clusters:\n- cluster: {{certificate-authority-data: {ca}}}\nusers:\n- user: {{client-certificate: {current}, client-key: {current}}}\n"
        );
        self.write("/etc/kubernetes/kubelet.conf", &kubeconfig, 0o600);
    }

    pub(crate) fn kubelet_certificate(&self, seconds: u64) {
        // Just issued: how much of its life is over is what counts.
        let terms = Terms { validity: Duration::from_secs(seconds), now: self.now, ..terms(self.now, 0) };
        let identity = self.ca.issue(&Leaf::client("system:node:a", None), terms).unwrap();
        let pem = format!("{}{}", identity.cert_pem, identity.key_pem);
        self.write("/var/lib/kubelet/pki/kubelet-client-1.pem", &pem, 0o600);
    }

    fn etcd(&self) {
        let pki = "/etc/kubernetes/pki/etcd";
        self.write(&format!("{pki}/ca.crt"), self.ca.cert_pem(), 0o644);
        for name in ["server", "peer"] {
            let identity = self.certificate(name, YEAR);
            self.write(&format!("{pki}/{name}.crt"), &identity.cert_pem, 0o644);
            self.write(&format!("{pki}/{name}.key"), &identity.key_pem, 0o600);
        }
        self.write("/var/lib/etcd/member/snap/db", "data", 0o600);
        host::fs::create_dir_all(&self.path("/var/lib/etcd/member/wal"), 0o700).unwrap();
        let args: Vec<_> = [
            ("cert", "server.crt"),
            ("key", "server.key"),
            ("trusted-ca", "ca.crt"),
            ("peer-cert", "peer.crt"),
            ("peer-key", "peer.key"),
            ("peer-trusted-ca", "ca.crt"),
        ]
        .iter()
        .map(|(flag, file)| format!("--{flag}-file={pki}/{file}"))
        .chain([
            "--data-dir=/var/lib/etcd".to_owned(),
            "--listen-client-urls=https://127.0.0.1:2379".to_owned(),
        ])
        .collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "etcd", "namespace": "kube-system"}, "spec": {
            "hostNetwork": true,
            "containers": [{"name": "etcd", "image": "etcd:3", "args": args, "volumeMounts": [
                {"name": "data", "mountPath": "/var/lib/etcd"}, {"name": "certs", "mountPath": pki}]}],
            "volumes": [
                {"name": "data", "hostPath": {"path": "/var/lib/etcd", "type": "DirectoryOrCreate"}},
                {"name": "certs", "hostPath": {"path": pki, "type": "Directory"}}]}});
        self.write("/etc/kubernetes/manifests/etcd.yaml", &pod.to_string(), 0o600);
    }

    fn guardian(&self) {
        let dir = "/etc/kubernetes/kubestrap/guardian";
        let kubeconfig = self.kubeconfig("system:kubestrap:guardian", YEAR);
        self.write(&format!("{dir}/kubeconfig"), &kubeconfig, 0o600);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kubestrap-guardian", "namespace": "kube-system"}, "spec": {
            "hostNetwork": true,
            "containers": [{"name": "guardian", "image": "kubestrap:1", "args": ["guardian", "run", format!("--kubeconfig={dir}/kubeconfig")],
                "volumeMounts": [{"name": "credentials", "mountPath": dir}]}],
            "volumes": [
                {"name": "credentials", "hostPath": {"path": dir, "type": "Directory"}},
                {"name": "static-pods", "hostPath": {"path": "/etc/kubernetes/manifests", "type": "Directory"}}]}});
        self.write("/etc/kubernetes/manifests/kubestrap-guardian.yaml", &pod.to_string(), 0o600);
    }

    /// A kubeconfig with the certificates inside.
    pub(crate) fn kubeconfig(&self, user: &str, seconds: u64) -> String {
        let identity = self.certificate(user, seconds);
        let (cert, key) = (BASE64.encode(identity.cert_pem), BASE64.encode(identity.key_pem));
        format!("users:\n- user: {{client-certificate-data: {cert}, client-key-data: {key}}}\n")
    }

    /// The API's pod of a component.
    pub(crate) fn pod(name: &str, revision: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("{name}-abcde"), "namespace": "kube-system", "uid": format!("uid-{name}-{revision}"),
                "labels": {"controller-revision-hash": revision},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "owner", "controller": true}]},
            "spec": {
                "hostNetwork": true, "nodeName": "a",
                "containers": [{"name": name, "image": format!("{name}:{revision}"), "args": [
                    "--etcd-servers=https://10.0.0.1:2379", "--etcd-cafile=/secrets/ca.crt",
                    "--etcd-certfile=/secrets/client.crt", "--etcd-keyfile=/secrets/client.key"],
                    "volumeMounts": [{"name": "secrets", "mountPath": "/secrets"}, {"name": "zone", "mountPath": "/zone"}]}],
                "volumes": [
                    {"name": "secrets", "secret": {"secretName": name}},
                    {"name": "zone", "hostPath": {"path": "/etc/kubernetes", "type": "Directory"}}]}})
    }

    pub(crate) fn checkpoint(&self, name: &str, revision: &str) -> checkpoint::Checkpoint {
        self.checkpoint_with(&Self::pod(name, revision), name, &self.certificate(name, YEAR))
    }

    pub(crate) fn checkpoint_with(
        &self,
        pod: &Value,
        name: &str,
        identity: &Identity,
    ) -> checkpoint::Checkpoint {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let entry = |path: &str, mode, kind| Entry { path: path.to_owned(), mode, uid, gid, kind };
        let file = |path: &str, text: &str| entry(path, 0o440, Kind::File(text.as_bytes().to_vec()));
        let tree = Tree::new(vec![
            entry("", 0o750, Kind::Dir),
            file("ca.crt", self.ca.cert_pem()),
            file("client.crt", &identity.cert_pem),
            file("client.key", &identity.key_pem),
            file("kubeconfig", &self.kubeconfig(name, YEAR)),
        ]);
        let volumes = Volumes { trees: BTreeMap::from([("secrets".to_owned(), tree)]), content_since: None };
        let none = BTreeMap::new();
        let images = BTreeMap::new();
        let inputs = Inputs { pod, volumes: &volumes, instance_env: &none, images: &images };
        let mut checkpoint = checkpoint::build(&inputs).unwrap();
        checkpoint.source.parent = Some(Parent { kind: "DaemonSet".to_owned(), uid: "owner".to_owned() });
        checkpoint
    }

    /// What a healthy node answers: everything that its disk names is there.
    fn answers(&self) -> Live {
        let names = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
        let images = ["etcd:3", "kubestrap:1", PAUSE].map(str::to_owned).into_iter();
        let images = images.chain(names.map(|name| format!("{name}:1")));
        let runtime = Runtime {
            version: "containerd v2.4.2".to_owned(),
            not_ready: None,
            images: images.map(|image| (image, true)).collect(),
            pins: true,
            pods: names.map(|name| sandbox(name, "1")).into(),
        };
        Live {
            kubelet: Some(Ok(())),
            runtime: Ok(runtime),
            etcd: vec![("https://10.0.0.1:2379".to_owned(), Health::Healthy)],
            local_etcd: Some(Health::Healthy),
            members: Some(vec![member("a")]),
            kept: Kept::Whole(Vec::new()),
            tables: None,
        }
    }

    pub(crate) fn live(&mut self) -> &mut Live {
        self.live.as_mut().unwrap()
    }

    pub(crate) fn runtime(&mut self) -> &mut Runtime {
        self.live().runtime.as_mut().unwrap()
    }
}

/// A member of etcd; one without a name never started.
pub(crate) fn member(name: &str) -> etcd::Member {
    let (id, peer_urls) = (format!("id-{name}"), vec!["https://10.0.0.1:2380".to_owned()]);
    etcd::Member { id, name: name.to_owned(), peer_urls, client_urls: Vec::new(), learner: false }
}

/// The sandbox of the API's pod, as the runtime has it.
pub(crate) fn sandbox(name: &str, revision: &str) -> Pod {
    Pod {
        id: format!("sandbox-{name}"),
        namespace: "kube-system".to_owned(),
        name: format!("{name}-abcde"),
        uid: format!("uid-{name}-{revision}"),
        attempt: 0,
        state: PodState::Ready,
        labels: BTreeMap::from([("controller-revision-hash".to_owned(), revision.to_owned())]),
        annotations: BTreeMap::from([("kubernetes.io/config.source".to_owned(), "api".to_owned())]),
        created: None,
    }
}

/// Issued long ago, valid for so many seconds from now.
fn terms(now: Timestamp, seconds: u64) -> Terms {
    let (now, validity) =
        (now - SignedDuration::from_secs(AGE), Duration::from_secs(AGE.unsigned_abs() + seconds));
    Terms { algorithm: KeyAlgorithm::EcdsaP256, validity, now }
}
