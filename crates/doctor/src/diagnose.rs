//! All checks of one node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ::checks::{Check, Kind, kind};
use checkpoint::Component;
use etcd::{Etcd, Health, Member};
use jiff::Timestamp;
use names::object::{KUBE_SYSTEM, TEMPORARY_PREFIX};
use names::path;
use node::Root;
use node::facts::Addresses;
use objects::pod;

use crate::address;
use crate::certificates::Limits;
use crate::check::Diagnosis;
use crate::checks::checkpoints::Checkpoints;
use crate::checks::kubelet::Kubelet;
use crate::checks::rules::Tables;
use crate::checks::store::Kept;
use crate::checks::{self, around, clock, disk, guardian};
use crate::files::Files;
use crate::manifests::{Manifest, Manifests};
use crate::runtime::{self, Answer, Runtime};
use crate::units::Unit;

/// Which node is looked at, and what it is held to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its file system.
    pub root: Root,
    /// Where its checkpoints lie.
    pub checkpoints: PathBuf,
    /// Where the guardian places static pods, so where the kubelet has to read them.
    pub static_pod_dir: PathBuf,
    /// The container runtime's socket, as a path of ours.
    pub socket: PathBuf,
    /// The host's addresses: an etcd at one of them is its own; none where they are not known.
    pub addresses: Option<Addresses>,
    /// What the host calls itself; none where that is not known.
    pub host_name: Option<String>,
    /// Components without which it does not come back.
    pub required: Vec<Component>,
    /// How long certificates have to be valid yet.
    pub limits: Limits,
    /// Whether images are compared where only their size on the disk is another one: not for who asks every few minutes.
    pub thorough: bool,
}

impl Options {
    /// The usual places of a control-plane node below that root.
    pub fn new(root: Root, addresses: Option<Addresses>) -> Self {
        let component = |name: &str| Component { namespace: KUBE_SYSTEM.to_owned(), name: name.to_owned() };
        Self {
            socket: root.path(path::CRI_SOCKET),
            root,
            checkpoints: path::CHECKPOINTS.into(),
            static_pod_dir: path::STATIC_PODS.into(),
            addresses,
            host_name: None,
            required: names::component::CONTROL_PLANE.map(component).into(),
            limits: Limits::default(),
            thorough: false,
        }
    }

    /// The names of the static pods of `kube-system` in this node's directory, by files that have lain there since before
    /// that time.
    pub fn static_pods(&self, since: SystemTime) -> Vec<String> {
        let files = Files::new(self.root.clone());
        let manifests = Manifests::read(&files, &self.static_pod_dir);
        let written = |file: &str| files.path(self.static_pod_dir.join(file)).metadata()?.modified();
        let lies = |manifest: &&Manifest| {
            objects::namespace(&manifest.pod) == KUBE_SYSTEM
                && written(&manifest.file).is_ok_and(|at| at < since)
        };
        let lying = manifests.pods.iter().filter(lies);
        lying.map(|manifest| objects::name(&manifest.pod).to_owned()).collect()
    }

    /// True when something of a control plane lies on the node's disk: checkpoints, or a static pod
    /// of the guardian, of etcd or of a bring-up.
    pub fn is_control_plane(&self) -> bool {
        let files = Files::new(self.root.clone());
        let manifests = Manifests::read(&files, &self.static_pod_dir);
        let is_part = |manifest: &Manifest| {
            let name = objects::name(&manifest.pod);
            name == guardian::NAME
                || name.starts_with(TEMPORARY_PREFIX)
                || etcd::server::container(&manifest.pod).is_some()
        };
        files.exists(&self.checkpoints).unwrap_or(true) || manifests.pods.iter().any(is_part)
    }
}

/// What lies on the node's disk.
pub(crate) struct Disk {
    pub(crate) files: Files,
    pub(crate) kubelet: Kubelet,
    pub(crate) manifests: Manifests,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) etcd: Option<Etcd>,
}

impl Disk {
    pub(crate) fn read(options: &Options) -> Self {
        let files = Files::new(options.root.clone());
        let kubelet = Kubelet::read(&files);
        let manifests = Manifests::read(&files, &options.static_pod_dir);
        let checkpoints = Checkpoints::read(&files, &options.checkpoints, &options.static_pod_dir);
        let apiserver = checkpoints.best(KUBE_SYSTEM, names::component::KUBE_APISERVER);
        let read = |path: &Path| files.text(path).map_err(|error| format!("{}: {error}", path.display()));
        let known = apiserver.and_then(|pod| Etcd::of_apiserver(pod, &read));
        let own = || Etcd::of_server(&checks::etcd::manifest(&manifests)?.pod, &read);
        let etcd = known.or_else(own);
        Self { files, kubelet, manifests, checkpoints, etcd }
    }

    /// How `etcdctl` is run for this node's own etcd.
    pub(crate) fn etcdctl(&self) -> Option<String> {
        let node = node::identity::installed(self.files.root()).unwrap_or_else(|| "$(hostname)".to_owned());
        causes::store::etcdctl(&checks::etcd::manifest(&self.manifests)?.pod, &node)
    }

    /// Every image that something needs in order to come back.
    fn images(&self) -> BTreeSet<String> {
        let static_pods = self.manifests.pods.iter().flat_map(|manifest| pod::images(&manifest.pod));
        let pause = runtime::configured_pause_image(&self.files);
        self.checkpoints.images().chain(static_pods).chain(pause).collect()
    }
}

/// What answered.
#[derive(Clone)]
pub(crate) struct Live {
    /// None where the kubelet has no health endpoint.
    pub(crate) kubelet: Option<Result<(), String>>,
    pub(crate) runtime: Answer,
    pub(crate) etcd: Vec<(String, Health)>,
    /// None where no etcd is this node's own.
    pub(crate) local_etcd: Option<Health>,
    /// None where nobody told.
    pub(crate) members: Option<Vec<Member>>,
    /// What containerd keeps on the disk. It may be writing there just now, which is waited for.
    pub(crate) kept: Kept,
    pub(crate) tables: Tables,
}

impl Live {
    pub(crate) async fn look(options: &Options, disk: &Disk) -> Self {
        let kubelet = async {
            match disk.kubelet.healthz() {
                Some(address) => Some(node::preflight::kubelet_healthz(address).await),
                None => None,
            }
        };
        let etcd = async {
            match &disk.etcd {
                Some(etcd) => etcd.health().await,
                None => Vec::new(),
            }
        };
        let local_etcd = async {
            match checks::etcd::manifest(&disk.manifests) {
                Some(manifest) => Some(etcd::local_health(&manifest.pod).await),
                None => None,
            }
        };
        let members = async { disk.etcd.as_ref()?.members().await.ok() };
        let runtime = Runtime::look(&options.socket, disk.images());
        let (files, thorough) = (disk.files.clone(), options.thorough);
        let kept = tokio::task::spawn_blocking(move || {
            Kept::read(&files, &runtime::containerd_root(&files), thorough)
        });
        let files = disk.files.clone();
        let tables = tokio::task::spawn_blocking(move || checks::rules::look(&files));
        let (kubelet, runtime, etcd, local_etcd, members, kept, tables) =
            tokio::join!(kubelet, runtime, etcd, local_etcd, members, kept, tables);
        let kept = kept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let tables = tables.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        Self { kubelet, runtime, etcd, local_etcd, members, kept, tables }
    }
}

/// Makes all checks of a node at this time. Takes some 100 ms, and no longer than some seconds when
/// nobody answers.
pub async fn diagnose(options: &Options, now: Timestamp) -> Diagnosis {
    let disk = Disk::read(options);
    let live = Live::look(options, &disk).await;
    let mut diagnosis = Diagnosis::new(judge(options, &disk, &live, now), now);
    diagnosis.first_end = disk.checkpoints.first_end(&disk.files);
    diagnosis
}

/// The checks, in the order in which a node comes up.
pub(crate) fn judge(options: &Options, disk: &Disk, live: &Live, now: Timestamp) -> Vec<Check> {
    let Options { limits, required, static_pod_dir, .. } = options;
    let addresses = options.addresses.as_ref();
    let Disk { files, kubelet, manifests, checkpoints, etcd } = disk;
    let mut all = vec![clock::clock(now, &checkpoints.times())];
    all.extend(room(options, disk));
    all.extend(container_runtime(files, &live.runtime));
    all.extend(live.kept.checks(&disk.images()));
    all.extend(kubelet.checks(files, static_pod_dir, *limits, now));
    all.extend(around::checks(files, kubelet.forbids_swap()));
    all.push(checks::kubelet::running(live.kubelet.as_ref()));
    all.extend(checks::kubelet::name(&options.root, options.host_name.as_deref()));
    all.extend(addresses.map(|host| address::check(&address::look(&options.root, manifests, host))));
    all.push(static_pods(manifests));
    all.extend(checks::etcd::on_disk(
        files,
        manifests,
        etcd.as_ref(),
        addresses.map_or(&[], |host| &host.all),
        &live.runtime,
        *limits,
        now,
    ));
    let etcdctl = disk.etcdctl();
    all.extend(checks::etcd::health(etcd.as_ref(), &live.etcd, live.local_etcd.as_ref(), etcdctl.as_deref()));
    all.extend(checks::etcd::members(live.members.as_deref(), etcdctl.as_deref()));
    all.extend(guardian::checks(files, manifests, &live.runtime, *limits, now));
    all.extend(checks::requests::checks(files, *limits, now));
    let data = checks::etcd::manifest(manifests).and_then(|own| etcd::server::places(&own.pod).data);
    all.push(checks::rights::private(files, data.as_deref()));
    all.extend(checkpoints.checks(files, required, &live.runtime, *limits, now));
    all.extend(checks::rules::check(files, &live.runtime, &live.tables));
    all.push(Check::ok(&kind::POD_NETWORK, "not needed: all of these pods use the host's network"));
    all
}

fn room(options: &Options, disk: &Disk) -> Vec<Check> {
    let gc = disk.kubelet.image_gc_percent();
    let checkpoints = options.checkpoints.to_string_lossy();
    vec![
        disk::room(&kind::DISK_CHECKPOINTS, &disk.files, &checkpoints, 100),
        disk::room(&kind::DISK_CONTAINERS, &disk.files, &runtime::containerd_root(&disk.files), gc),
        disk::writable(&kind::WRITABLE_CHECKPOINTS, &disk.files, &options.checkpoints),
        disk::writable(&kind::WRITABLE_STATIC_PODS, &disk.files, &options.static_pod_dir),
    ]
}

fn container_runtime(files: &Files, answer: &Answer) -> Vec<Check> {
    let mut checks = Vec::new();
    // Another runtime, or one that another unit starts, is the administrator's business.
    if let Some(unit) = Unit::read(files, node::containerd::UNIT) {
        checks.push(unit.installed(&kind::CONTAINERD_INSTALLED, files));
        checks.push(unit.enabled_check(&kind::CONTAINERD_ENABLED));
    }
    checks.push(runtime::answers(answer));
    checks.push(runtime::pause_image(files, answer));
    checks
}

/// Files that the kubelet cannot read, and what a bring-up has left.
fn static_pods(manifests: &Manifests) -> Check {
    const NAME: &Kind = &kind::STATIC_PODS;
    let temporary: Vec<_> = manifests
        .pods
        .iter()
        .map(|m| objects::name(&m.pod))
        .filter(|name| name.starts_with(TEMPORARY_PREFIX))
        .collect();
    let twice: Vec<_> = manifests.twice().collect();
    let mut minor = manifests.unreadable.clone();
    if !temporary.is_empty() {
        minor.push(format!("a bring-up is not finished: {} would come back", temporary.join(", ")));
    }
    let remedy = if twice.is_empty() {
        "run `kubestrap start` to its end, and remove files that are no manifests"
    } else {
        "move all but one of them out of the directory, the one that is meant last: its removal ends the pod for seconds"
    };
    Check::of_problems(NAME, &twice, &minor, format!("{} static pods", manifests.pods.len()), remedy)
}
