//! The loop: everything is looked at, machines decide, and what they say is done.

mod duties;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use checkpoint::Component;
use cri::Cri;
use doctor::report::{DoctorReport, News};
use etcd::End;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::access::Access;
use super::alarm::{self, Bell, Task};
use super::api::{Api, ApiNews};
use super::cluster::{ApiPod, Cluster};
use super::digests::Digests;
use super::events::Events;
use super::files::{DiskError, Files};
use super::instances::Ages;
use super::jobs::Jobs;
use super::keeper::{Keeper, Tools};
use super::leadership::Leadership;
use super::options::Options;
use super::parents::{Parent, Parents};
use super::peers::Peers;
use super::publish::Publisher;
use super::snapshot::{self, PodSeen};
use super::steering::Rank;
use super::{member, memory, serving};
use crate::keys;
use crate::machine::{Event, Report, State};

/// How long the runtime may take to say what runs; a hung one counts as unknown.
const RUNTIME_LIMIT: Duration = Duration::from_secs(2);
/// Pause before a runtime that does not run yet is tried again.
const RUNTIME_PAUSE: Duration = Duration::from_millis(100);
/// How often all is looked at though nothing happened: at rest, while something is under way, and while
/// the runtime does not answer.
const IDLE_PERIOD: Duration = Duration::from_secs(5);
const BUSY_PERIOD: Duration = Duration::from_millis(500);
/// News come in flocks: so long after the first one all of them are taken together.
const FLOCK: Duration = Duration::from_millis(5);
/// How often the disk and the kubeconfig are looked at, in milliseconds.
const DISK_PERIOD_MS: u64 = 10_000;
/// So long after the beginning the memory that it took is given back, in milliseconds.
const FORGET_MS: u64 = 15_000;
/// How often that is done again at rest, in milliseconds: a promotion and a diagnosis use much of the program
/// once.
const FORGET_PERIOD_MS: u64 = 5_000;
/// The guardian leaves a node so long after the last component did, in milliseconds.
const LEAVE_MS: u64 = 30_000;

/// The guardian could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directories of checkpoints or static pods cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The signal handler could not be set.
    #[error("cannot wait for SIGTERM")]
    Signals(#[source] io::Error),
}

/// Guards the node until SIGTERM. What was steered stays so: program and map live in the kernel.
///
/// # Errors
/// [`RunError`] when it cannot begin. Later troubles are logged and tried again.
pub async fn run(options: Options) -> Result<(), RunError> {
    Guardian::open(options)?.guard().await
}

struct Guardian {
    options: Options,
    began: Instant,
    files: Arc<Files>,
    keepers: BTreeMap<Component, Keeper>,
    cluster: Cluster,
    parents: Parents,
    leadership: Leadership,
    peers: Peers,
    digests: Digests,
    ages: Ages,
    pods: Vec<PodSeen>,
    api: Option<Api>,
    events: Events,
    event_at_ms: Option<u64>,
    gates: BTreeMap<String, u64>,
    publisher: Publisher,
    /// The container runtime did not answer the last time.
    silent: bool,
    /// Why no copy of the apiserver may run.
    withheld: Option<String>,
    /// What was read of the end of etcd's log.
    end: End,
    /// That there is such a reason, for whoever looks after etcd.
    is_withheld: Arc<AtomicBool>,
    doctor: Option<DoctorReport>,
    diagnosis_due_ms: Option<u64>,
    diagnosed_content: String,
    disk_ms: u64,
    forget_ms: u64,
    access_ms: Option<u64>,
    leaving_since_ms: Option<u64>,
    jobs: Jobs,
    bell: Bell,
    news: (mpsc::UnboundedSender<ApiNews>, mpsc::UnboundedReceiver<ApiNews>),
}

impl Guardian {
    /// Reads the disk. Nothing else is asked yet.
    fn open(options: Options) -> Result<Self, RunError> {
        let began = Instant::now();
        let files = Arc::new(Files::open(&options.checkpoint_dir, &options.static_pod_dir)?);
        let mut keepers = BTreeMap::new();
        for component in files.components()? {
            keepers.insert(component.clone(), Keeper::new(component, &files, options.limits, 0)?);
        }
        let host_name = host::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
        let hosts = [options.node_name.clone(), host_name.trim().to_owned()];
        let hosts: BTreeSet<_> = hosts.into_iter().filter(|name| !name.is_empty()).collect();
        Ok(Self {
            began,
            keepers,
            files,
            cluster: Cluster::default(),
            parents: Parents::default(),
            leadership: Leadership::new(hosts.clone()),
            peers: Peers::new(hosts),
            digests: Digests::new(&options.host_root),
            ages: Ages::default(),
            pods: Vec::new(),
            api: None,
            events: Events::new(&options.node_name),
            event_at_ms: None,
            gates: BTreeMap::new(),
            publisher: Publisher::default(),
            silent: false,
            withheld: None,
            end: End::default(),
            is_withheld: Arc::default(),
            doctor: None,
            diagnosis_due_ms: None,
            diagnosed_content: String::new(),
            disk_ms: DISK_PERIOD_MS,
            forget_ms: FORGET_MS,
            access_ms: None,
            leaving_since_ms: None,
            jobs: Jobs::default(),
            bell: Bell::default(),
            news: mpsc::unbounded_channel(),
            options,
        })
    }

    /// Guards until SIGTERM.
    async fn guard(mut self) -> Result<(), RunError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        let components: Vec<_> = self.keepers.keys().map(ToString::to_string).collect();
        tracing::info!(node = self.options.node_name, ?components, after = ?self.began.elapsed(), "the disk is read");
        let runtime = tokio::select! {
            runtime = connect(&self.options.runtime_socket) => runtime,
            _ = terminated.recv() => return Ok(()),
        };
        tracing::info!(after = ?self.began.elapsed(), "the container runtime answers");
        // Before a copy is started, and before anything of the API is tried: a node that was off for long has no
        // certificate that is valid.
        let told = keys::renew_once(&self.options.keys, &self.options.identity(), String::new());
        let mut until = self.round(&runtime).await;
        tracing::info!(after = ?self.began.elapsed(), "the first round is done");
        let _containers = Task::spawn(alarm::containers(runtime.clone(), self.bell.clone()));
        let _member =
            Task::spawn(member::keep(self.options.clone(), runtime.clone(), Arc::clone(&self.is_withheld)));
        let options = self.options.clone();
        let _renewals = Task::spawn(keys::renew(self.options.keys.clone(), move || options.identity(), told));
        loop {
            self.connect_api(&runtime).await;
            tokio::select! {
                _ = terminated.recv() => return Ok(()),
                () = tokio::time::sleep_until(until) => {}
                () = self.bell.rung() => tokio::time::sleep(FLOCK).await,
                done = self.jobs.next() => {
                    if !self.finished(done) {
                        continue;
                    }
                }
            }
            until = self.round(&runtime).await;
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Once an outage: without the runtime's word nothing is started, and people should know why.
    fn tell_silence(&mut self, silent: bool) {
        match (self.silent, silent) {
            (false, true) => {
                tracing::warn!("the container runtime does not answer: nothing is started or ended");
            }
            (true, false) => tracing::info!("the container runtime answers again"),
            _ => {}
        }
        self.silent = silent;
    }

    /// Looks at everything once and does what is to be done. Returns when to look again if nothing happens.
    async fn round(&mut self, runtime: &Cri) -> Instant {
        let answer = snapshot::look(runtime).await;
        let known = answer.is_some();
        self.tell_silence(!known);
        self.take_news();
        let now_ms = self.now_ms();
        if let Some(pods) = answer {
            self.pods = pods;
            self.ages.update(&self.pods, now_ms);
            let parentage = |pod: &ApiPod| self.parents.parentage(&pod.component, pod.maker.as_ref());
            let problems = self.digests.update(&self.pods, &self.cluster, &parentage, runtime).await;
            self.meet_components(now_ms);
            self.tell_problems(problems, now_ms);
        }
        self.look_at_data();
        let disks = self.changed_disks(now_ms);
        let mut instances = self.instances(now_ms);
        let components: Vec<_> = self.keepers.keys().cloned().collect();
        for component in components {
            let own = instances.remove(&component).unwrap_or_default();
            if let Some(disk) = disks.get(&component) {
                let event = Event::Disk { now_ms: self.now_ms(), disk: disk.clone() };
                self.step(&component, event, runtime).await;
            }
            self.observe(&component, known.then_some(own), runtime).await;
        }
        let busy = self.steer(known);
        self.ask_api(known);
        self.leave_if_unwanted();
        self.forget(busy);
        Instant::now() + self.pause(busy || !known)
    }

    fn take_news(&mut self) {
        while let Ok(news) = self.news.1.try_recv() {
            match news {
                ApiNews::Node(change) => self.cluster.node_changed(change),
                ApiNews::Pods(change) => {
                    for component in self.cluster.pods_changed(change) {
                        self.parents.stir(&component);
                    }
                }
            }
        }
    }

    /// A component is one from the first pod on that asks for a checkpoint.
    fn meet_components(&mut self, now_ms: u64) {
        let wanted = self.cluster.pods.values().filter(|pod| pod.is_wanted()).map(|pod| &pod.component);
        let new: BTreeSet<_> = wanted.filter(|component| !self.keepers.contains_key(component)).collect();
        for component in new {
            match Keeper::new(component.clone(), &self.files, self.options.limits, now_ms) {
                Ok(keeper) => drop(self.keepers.insert(component.clone(), keeper)),
                Err(error) => tracing::warn!(%component, %error, "its checkpoints cannot be read"),
            }
        }
    }

    /// A pod that cannot have a checkpoint is nothing that a machine could know of.
    fn tell_problems(&mut self, problems: Vec<(Component, String)>, now_ms: u64) {
        for (component, message) in problems {
            tracing::warn!(%component, message, "no checkpoint can be made");
            let reason = "NoCheckpoint".to_owned();
            self.events.tell(&component, self.parents.last(&component), (&reason, &message, true), now_ms);
            if let Some(keeper) = self.keepers.get_mut(&component) {
                keeper.last = Some(News { time: jiff::Timestamp::now(), reason, message });
            }
        }
    }

    fn changed_disks(&mut self, now_ms: u64) -> BTreeMap<Component, crate::machine::Disk> {
        if now_ms < self.disk_ms {
            return BTreeMap::new();
        }
        self.disk_ms = now_ms + DISK_PERIOD_MS;
        let mut changed = BTreeMap::new();
        for (component, keeper) in &mut self.keepers {
            match keeper.disk_changed(&self.files, now_ms) {
                Ok(Some(disk)) => drop(changed.insert(component.clone(), disk)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%component, %error, "its checkpoints cannot be read"),
            }
        }
        changed
    }

    async fn step(&mut self, component: &Component, event: Event, runtime: &Cri) {
        let Some(mut keeper) = self.keepers.remove(component) else { return };
        let began = self.began;
        let clock = move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tools = Tools {
            files: &self.files,
            runtime,
            pods: &self.pods,
            cluster: &self.cluster,
            parent: self.parents.last(component).and_then(Parent::origin),
            host_root: &self.options.host_root,
            clock: &clock,
        };
        let reports = keeper.step(event, &tools).await;
        let now_ms = self.now_ms();
        for report in &reports {
            tracing::info!(%component, %report, after = ?self.began.elapsed(), "{}", report.reason());
            let what = (report.reason(), &*report.to_string(), report.is_warning());
            self.events.tell(component, self.parents.last(component), what, now_ms);
        }
        let uninstalled = reports.contains(&Report::Uninstalled);
        // One that is wanted again is met again.
        if !uninstalled {
            self.keepers.insert(component.clone(), keeper);
        }
    }

    /// Returns whether something is under way.
    fn steer(&mut self, known: bool) -> bool {
        let ranks = self.ranks();
        let Some(api) = self.api.as_mut().filter(|_| known) else { return false };
        let view = api.steering.view();
        let busy = api.steering.update(&self.pods, ranks);
        let gates =
            if api.steering.hands_off() { Vec::new() } else { serving::to_change(&self.cluster, &view) };
        for gate in gates {
            let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let last = self.gates.get(&gate.uid);
            if last.is_none_or(|at| now_ms.saturating_sub(*at) >= 1_000) {
                self.gates.insert(gate.uid.clone(), now_ms);
                self.jobs.gate(api.client.clone(), gate);
            }
        }
        self.gates.retain(|uid, _| self.cluster.pods.contains_key(uid));
        busy
    }

    fn ranks(&self) -> BTreeMap<String, Rank> {
        let mut ranks = BTreeMap::new();
        for keeper in self.keepers.values() {
            for instance in &keeper.instances {
                let rank = Rank { revision: keeper.machine.rank(instance), draining: instance.terminating };
                ranks.extend(instance.container.split(',').map(|id| (id.to_owned(), rank)));
            }
        }
        ranks
    }

    /// The API, as soon as there are credentials for it; anew when they change.
    async fn connect_api(&mut self, runtime: &Cri) {
        let now_ms = self.now_ms();
        if self.access_ms.is_some_and(|at| now_ms < at) {
            return;
        }
        self.access_ms = Some(now_ms + DISK_PERIOD_MS);
        let text = host::fs::read_to_string(&self.options.kubeconfig).unwrap_or_default();
        if text.is_empty() || self.api.as_ref().is_some_and(|api| api.text == text) {
            return;
        }
        match Access::read(&self.options.kubeconfig, self.options.api_port).await {
            Ok(access) => {
                self.api = Some(Api::start(access, &self.options, runtime, &self.news.0, &self.bell));
            }
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::warn!(error, "the API cannot be reached with these credentials");
            }
        }
    }

    fn forget(&mut self, busy: bool) {
        let now_ms = self.now_ms();
        if !busy && now_ms >= self.forget_ms {
            self.forget_ms = now_ms + FORGET_PERIOD_MS;
            memory::forget_file_pages();
        }
    }

    /// A node that is none of the control plane's, with nothing left on its disk, needs no guardian. Pods may still be
    /// there that asked for checkpoints: those that end, and those of a Deployment, which no label drives away.
    fn leave_if_unwanted(&mut self) {
        let unwanted = match self.cluster.is_control_plane() {
            Some(wanted) => !wanted,
            // With the last apiserver of the node its API is gone: what was so then still is.
            None => self.leaving_since_ms.is_some(),
        };
        if !(unwanted && self.files.components().is_ok_and(|components| components.is_empty())) {
            self.leaving_since_ms = None;
            return;
        }
        let now_ms = self.now_ms();
        let since = *self.leaving_since_ms.get_or_insert(now_ms);
        if now_ms - since < LEAVE_MS {
            return;
        }
        match self.files.remove_static_pod(names::path::GUARDIAN_FILE) {
            Ok(true) => tracing::info!("this is no control-plane node any more: the guardian leaves"),
            Ok(false) => {}
            Err(error) => return tracing::warn!(%error, "the guardian cannot leave"),
        }
        // Afterwards: without them it could not tell any more whether it is wanted.
        if let Err(error) = self.options.keys.remove() {
            tracing::warn!(%error, "the control plane's keys are left");
        }
    }

    fn pause(&self, busy: bool) -> Duration {
        let moving = |keeper: &Keeper| {
            !matches!(
                keeper.machine.state(),
                State::Serving | State::Absent | State::Elsewhere | State::Restored
            )
        };
        let busy = busy || self.leadership.unsettled() || self.keepers.values().any(moving);
        let due = self.keepers.values().filter_map(|keeper| keeper.machine.wake_after()).min();
        let due = due.map_or(IDLE_PERIOD, Duration::from_millis);
        due.min(if busy { BUSY_PERIOD } else { IDLE_PERIOD })
    }
}

/// The runtime, as soon as there is one.
async fn connect(socket: &Path) -> Cri {
    loop {
        match Cri::connect(socket).await {
            Ok(runtime) => {
                let runtime = runtime.with_limit(RUNTIME_LIMIT);
                match snapshot::look(&runtime).await {
                    Some(_) => return runtime,
                    None => tokio::time::sleep(RUNTIME_PAUSE).await,
                }
            }
            Err(error) => {
                tracing::debug!(%error, "waiting for the container runtime");
                tokio::time::sleep(RUNTIME_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
#[path = "guardian_tests.rs"]
mod tests;
