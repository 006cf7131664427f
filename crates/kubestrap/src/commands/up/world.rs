//! A host below a temporary directory, and all that runs on it, on fakes: its programs, its containerd, its kubelet, the
//! API, a guardian that makes checkpoints. `up` is given its arguments as a person writes them. The clock stands still
//! but for the waits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Client, Connection};
use bringup::{Surroundings, Watch};
use checkpoint::Store;
use clap::Parser;
use cluster::ClusterConfig;
use cri::{Cri, CriError};
use etcd::{Etcd, Member};
use fakes::cluster::Cluster;
use fakes::kubelet::{Kubelet, Registration};
use fakes::machine::Machine;
use host::command::CommandError;
use names::{component, path};
use node::Facts;
use tokio::sync::watch;

use super::steps::{Outcome, Place, Step};
use super::{UpArgs, up};
use crate::commands::killed;
use crate::exit::Failure;
use crate::ui::{Format, Ui};

pub(super) const NODE: &str = "n";

/// How often everybody but `up` looks.
const PERIOD: Duration = Duration::from_millis(100);

pub(super) type Kill = killed::Kill<Step>;

/// What stands for the host.
#[derive(Debug)]
struct Fakes {
    machine: Machine,
    cluster: Cluster,
    registration: Registration,
    /// etcd's members, once it was started.
    members: Mutex<Vec<Member>>,
}

impl Fakes {
    /// As etcd itself knows them: its manifest counts for a member that is new.
    fn members(&self) -> Result<Vec<Member>, String> {
        let is_etcd =
            |sandbox: &fakes::runtime::Sandbox| sandbox.running && sandbox.container == component::ETCD;
        if !self.machine.runtime.sandboxes().iter().any(is_etcd) {
            return Err("connection refused".to_owned());
        }
        let mut members = self.members.lock().unwrap();
        if members.is_empty() {
            let path = self.machine.root().path(path::STATIC_PODS).join(path::ETCD_FILE);
            let text = host::fs::read_to_string(&path).unwrap();
            let pod = assets::parse_documents(&text).unwrap().remove(0).value;
            members.push(Member {
                id: "1".to_owned(),
                name: NODE.to_owned(),
                peer_urls: etcd::server::peer_urls(&pod),
                client_urls: Vec::new(),
                learner: false,
            });
        }
        Ok(members.clone())
    }
}

impl Surroundings for Fakes {
    fn runtime(&self, socket: PathBuf) -> bringup::Answer<'_, Cri, CriError> {
        node::Machine::runtime(&self.machine, socket)
    }

    fn client(&self, _: &Connection) -> Result<Client, api::ClientError> {
        Ok(self.cluster.client())
    }

    fn watch(&self, _: u16, _: bringup::Probe, _: Cri, _: Option<String>) -> Watch {
        let (view, seen) = watch::channel(fakes::port::view(&self.machine.runtime, false));
        let (pivot, pivoting) = watch::channel(false);
        let runtime = self.machine.runtime.clone();
        tokio::spawn(async move {
            while view.send(fakes::port::view(&runtime, *pivoting.borrow())).is_ok() {
                tokio::time::sleep(PERIOD).await;
            }
        });
        Watch::of_view(seen, pivot)
    }

    fn restart_kubelet(&self) -> Result<(), CommandError> {
        self.registration.restart();
        Ok(())
    }

    fn members<'a>(&'a self, _: &'a Etcd) -> bringup::Answer<'a, Vec<Member>, String> {
        Box::pin(async { self.members() })
    }

    fn set_peer_urls<'a>(
        &'a self,
        _: &'a Etcd,
        _: &'a Member,
        urls: &'a [String],
    ) -> bringup::Answer<'a, (), String> {
        self.members.lock().unwrap()[0].peer_urls = urls.to_vec();
        Box::pin(async { Ok(()) })
    }

    /// Who runs the tests may give nothing away.
    fn owner(&self, _: (u32, u32)) -> host::fs::Owner {
        None
    }
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: UpArgs,
}

/// See the module.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) facts: Facts,
    fakes: Arc<Fakes>,
    kubelet: Arc<Mutex<Kubelet>>,
}

impl World {
    /// A bare host, and a bundle with all that a cluster needs.
    pub(super) fn new() -> Self {
        let images = ClusterConfig::default().images();
        Self::with_images(&images.iter().map(|(_, image)| image.to_string()).collect::<Vec<_>>())
    }

    /// The same with these images in the bundle.
    pub(super) fn with_images(images: &[String]) -> Self {
        let dir = killed::dir();
        let version = ClusterConfig::default().kubernetes_version.to_string();
        fakes::bundle::write(&dir.path().join("bundle"), &version, images, &bundle::HOST_PROGRAMS);
        let root = dir.path().join("root");
        let (machine, cluster) = (Machine::new(&root), Cluster::default());
        let kubelet = Kubelet {
            node: NODE.to_owned(),
            manifest_dir: root.join(path::below_root(path::STATIC_PODS)),
            runtime: machine.runtime.clone(),
            cluster: cluster.clone(),
            ready: true,
            network: true,
            machine: Some(machine.clone()),
            volumes: Some(root.join(path::below_root(path::KUBELET)).join("pods")),
            registration: Registration::default(),
        };
        cluster.set_away(true);
        let registration = kubelet.registration.clone();
        let fakes = Fakes { machine, cluster, registration, members: Mutex::default() };
        Self {
            dir,
            facts: Facts::example(NODE),
            fakes: Arc::new(fakes),
            kubelet: Arc::new(Mutex::new(kubelet)),
        }
    }

    /// Runs `up` to its end.
    pub(super) async fn up(&self, more: &[&str]) -> Result<Outcome, Failure> {
        self.up_until(Kill::Never, more).await.expect("nobody kills it")
    }

    /// The bundle's directory.
    pub(super) fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// The same until it is killed; nothing comes of it then.
    pub(super) async fn up_until(&self, kill: Kill, more: &[&str]) -> Option<Result<Outcome, Failure>> {
        kill.arm(self.machine());
        let (bundle, assets) = (self.bundle(), self.assets());
        let ours = ["up", "--bundle", bundle.to_str().unwrap(), "--asset-dir", assets.to_str().unwrap()];
        let line = ours.iter().chain(&["--timeout", "5"]).chain(more);
        let args = Line::try_parse_from(line).unwrap().args;
        let place = Place {
            root: self.machine().root(),
            facts: self.facts.clone(),
            surroundings: Arc::clone(&self.fakes) as Arc<dyn Surroundings>,
        };
        let begins = |step: Step| kill.begins(step);
        let others = self.run_others();
        let ended = killed::ended(up(&args, &place, &begins, &Ui::new(Format::Text, true))).await;
        others.abort();
        let _ = others.await;
        ended
    }

    /// The kubelet and the guardian look again and again.
    fn run_others(&self) -> tokio::task::JoinHandle<()> {
        let (kubelet, cluster, root) =
            (Arc::clone(&self.kubelet), self.fakes.cluster.clone(), self.root("/"));
        tokio::spawn(async move {
            let mut kept = BTreeSet::new();
            loop {
                kubelet.lock().unwrap().step();
                guard(&cluster, &root, &mut kept);
                tokio::time::sleep(PERIOD).await;
            }
        })
    }

    pub(super) fn kubelet(&self, change: impl FnOnce(&mut Kubelet)) {
        change(&mut self.kubelet.lock().unwrap());
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.fakes.machine
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.fakes.cluster
    }

    /// The members of etcd.
    pub(super) fn members(&self) -> Vec<Member> {
        self.fakes.members().unwrap()
    }

    /// The names of the pods that run, without what makes them this node's.
    pub(super) fn pods(&self) -> Vec<String> {
        let sandboxes = self.machine().runtime.sandboxes();
        let running = sandboxes.iter().filter(|sandbox| sandbox.running);
        let mut names: Vec<String> = running
            .map(|s| s.name.trim_end_matches("-x7k2p").trim_end_matches(&format!("-{NODE}")).to_owned())
            .collect();
        names.sort();
        names
    }

    /// Where a path of the node lies.
    pub(super) fn root(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path::below_root(path))
    }

    pub(super) fn assets(&self) -> PathBuf {
        self.dir.path().join("assets")
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What two runs that end alike leave alike: files, pods, images, units.
    pub(super) fn end(&self) -> Vec<String> {
        let files = self.files().into_keys().filter(|name| !name.contains("/kubelet/pods/"));
        let mut lines: Vec<String> = files.map(|name| timeless(&name)).collect();
        lines.extend(self.pods().iter().map(|pod| format!("pod {pod}")));
        lines.extend(self.machine().images().iter().map(|(name, image)| format!("{name} {image:?}")));
        let units = ["containerd.service", "kubelet.service"];
        lines.extend(units.map(|unit| format!("{unit} runs: {}", self.machine().runs(unit))));
        lines
    }

    /// Every file of the host and of the asset directory, with its content.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let all = ["root", "assets"].map(|top| killed::files(&self.dir.path().join(top), self.dir.path()));
        all.into_iter().flatten().collect()
    }
}

/// What only one of two lists has, or has more often: with how much more often the first has it.
pub(super) fn differences<'a>(one: &'a [String], other: &'a [String]) -> BTreeMap<&'a str, i32> {
    let mut counts = BTreeMap::new();
    for (list, by) in [(one, 1), (other, -1)] {
        for line in list {
            *counts.entry(line.as_str()).or_default() += by;
        }
    }
    counts.retain(|_, count| *count != 0);
    counts
}

/// A file's name without digests, which are other ones with other keys.
fn timeless(name: &str) -> String {
    let parts = name.split('/').map(|part| match part.split_once('-') {
        Some((number, _)) if number.len() == 6 && number.parse::<u32>().is_ok() => number,
        _ if part.starts_with("kubelet-client-") && !part.contains("current") => "kubelet-client",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The guardian: a checkpoint of each pod that runs here and asks for one.
fn guard(cluster: &Cluster, root: &Path, kept: &mut BTreeSet<String>) {
    for pod in cluster.objects().values() {
        let runs = pod["kind"] == "Pod" && pod["status"]["phase"] == "Running";
        if runs && checkpoint::wants_checkpoint(pod) && kept.insert(pod["metadata"]["uid"].to_string()) {
            let made = checkpoint::expected(root, pod, &[]).unwrap().checkpoint;
            let store = Store::open(&root.join(path::below_root(path::CHECKPOINTS))).unwrap();
            if checkpoint::kept(&store, &made).is_err() {
                store.write(&made, jiff::Timestamp::now()).unwrap();
            }
        }
    }
}
