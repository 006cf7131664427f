//! The loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checkpoint::Component;
use cri::Cri;
use doctor::report::{DoctorReport, News, SteeringReport};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::access::Access;
use super::alarm::{self, Bell, Task};
use super::cluster::Cluster;
use super::digests::Digests;
use super::events::Events;
use super::files::Files;
use super::instances::{Ages, Sight};
use super::jobs::{Done, Jobs};
use super::keeper::{Keeper, Tools};
use super::leadership::Leadership;
use super::parents::{Parent, Parents};
use super::publish::{Publication, Publisher};
use super::snapshot::{self, NAMESPACE, PodSeen};
use super::steering::{Rank, Steering};
use super::watch::{self, Change};
use super::{Options, RunError, STATIC_POD, serving};
use crate::machine::{ApiView, Event, Instance, Observation, Report, State};
use crate::report;

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
/// How often the node is diagnosed, and how long after something changed, in milliseconds.
const DIAGNOSIS_PERIOD_MS: u64 = 5 * 60 * 1000;
const DIAGNOSIS_DELAY_MS: u64 = 20_000;
/// The guardian leaves a node so long after the last component did, in milliseconds.
const LEAVE_MS: u64 = 30_000;

/// News of the API.
enum ApiNews {
    Pods(Change),
    Node(Change),
}

/// All that goes with the credentials.
struct Api {
    client: Client,
    steering: Steering,
    text: String,
    _tasks: Vec<Task>,
}

pub(crate) struct Guardian {
    options: Options,
    began: Instant,
    files: Arc<Files>,
    keepers: BTreeMap<Component, Keeper>,
    cluster: Cluster,
    parents: Parents,
    leadership: Leadership,
    digests: Digests,
    ages: Ages,
    pods: Vec<PodSeen>,
    api: Option<Api>,
    events: Events,
    event_at_ms: Option<u64>,
    gates: BTreeMap<String, u64>,
    publisher: Publisher,
    doctor: Option<DoctorReport>,
    diagnosis_due_ms: Option<u64>,
    diagnosed_content: String,
    disk_ms: u64,
    access_ms: Option<u64>,
    leaving_since_ms: Option<u64>,
    jobs: Jobs,
    bell: Bell,
    news: (mpsc::UnboundedSender<ApiNews>, mpsc::UnboundedReceiver<ApiNews>),
}

impl Guardian {
    /// Reads the disk. Nothing else is asked yet.
    pub(crate) fn open(options: Options) -> Result<Self, RunError> {
        let began = Instant::now();
        let files = Arc::new(Files::open(&options.checkpoint_dir, &options.static_pod_dir)?);
        let mut keepers = BTreeMap::new();
        for component in files.components()? {
            keepers.insert(component.clone(), Keeper::new(component, &files, 0)?);
        }
        let host_name = host::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
        let hosts = [options.node_name.clone(), host_name.trim().to_owned()];
        Ok(Self {
            began,
            keepers,
            files,
            cluster: Cluster::default(),
            parents: Parents::default(),
            leadership: Leadership::new(hosts.into_iter().filter(|name| !name.is_empty()).collect()),
            digests: Digests::new(&options.host_root),
            ages: Ages::default(),
            pods: Vec::new(),
            api: None,
            events: Events::new(&options.node_name),
            event_at_ms: None,
            gates: BTreeMap::new(),
            publisher: Publisher::default(),
            doctor: None,
            diagnosis_due_ms: None,
            diagnosed_content: String::new(),
            disk_ms: DISK_PERIOD_MS,
            access_ms: None,
            leaving_since_ms: None,
            jobs: Jobs::default(),
            bell: Bell::default(),
            news: mpsc::unbounded_channel(),
            options,
        })
    }

    /// Guards until SIGTERM.
    pub(crate) async fn guard(mut self) -> Result<(), RunError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        let components: Vec<_> = self.keepers.keys().map(ToString::to_string).collect();
        tracing::info!(node = self.options.node_name, ?components, after = ?self.began.elapsed(), "the disk is read");
        let runtime = tokio::select! {
            runtime = connect(&self.options.runtime_socket) => runtime,
            _ = terminated.recv() => return Ok(()),
        };
        tracing::info!(after = ?self.began.elapsed(), "the container runtime answers");
        // Before anything of the API is tried.
        let mut until = self.round(&runtime).await;
        tracing::info!(after = ?self.began.elapsed(), "the first round is done");
        let _containers = Task::spawn(alarm::containers(runtime.clone(), self.bell.clone()));
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

    /// Looks at everything once and does what is to be done. Returns when to look again if nothing happens.
    async fn round(&mut self, runtime: &Cri) -> tokio::time::Instant {
        let answer = snapshot::look(runtime).await;
        let known = answer.is_some();
        self.take_news();
        let now_ms = self.now_ms();
        if let Some(pods) = answer {
            self.pods = pods;
            self.ages.update(&self.pods, now_ms);
            let problems = self.digests.update(&self.pods, &self.cluster, runtime).await;
            self.meet_components(now_ms);
            self.tell_problems(problems, now_ms);
        }
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
        tokio::time::Instant::now() + self.pause(busy || !known)
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
            match Keeper::new(component.clone(), &self.files, now_ms) {
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

    fn instances(&self, now_ms: u64) -> BTreeMap<Component, Vec<Instance>> {
        let view = self.api.as_ref().map(|api| api.steering.view());
        let components = self.keepers.keys().cloned().collect();
        let sight = Sight {
            now_ms,
            pods: &self.pods,
            cluster: &self.cluster,
            port: view.as_ref(),
            digests: &self.digests,
            ages: &self.ages,
            components: &components,
            init: &|component, generation| self.files.init_containers(component, generation),
        };
        sight.instances()
    }

    async fn observe(&mut self, component: &Component, own: Option<Vec<Instance>>, runtime: &Cri) {
        let now_ms = self.now_ms();
        let (api, wanted) = (self.api_view(component, now_ms), self.wanted(component, now_ms));
        if let (Some(keeper), Some(own)) = (self.keepers.get_mut(component), &own) {
            keeper.instances.clone_from(own);
        }
        let observation = Observation { now_ms, runtime: own, api, wanted };
        self.step(component, Event::Observed(observation), runtime).await;
    }

    fn api_view(&self, component: &Component, now_ms: u64) -> Option<ApiView> {
        let parent = self.parents.of(component, now_ms).filter(|_| self.cluster.pods_known)?;
        let expected = self.cluster.of(component).any(|pod| !pod.deleting && !pod.over);
        let others_serve =
            component.namespace == NAMESPACE && self.leadership.leads_elsewhere(&component.name, now_ms);
        Some(ApiView { expected, parent_exists: parent.exists, others_serve })
    }

    /// Where the parent is gone nobody can say what was wanted.
    fn wanted(&self, component: &Component, now_ms: u64) -> Option<bool> {
        let parent = self.parents.of(component, now_ms).filter(|parent| parent.exists);
        if self.cluster.is_control_plane()? { parent.map(|parent| parent.wanted) } else { Some(false) }
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
        for gate in serving::to_change(&self.cluster, &view) {
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

    /// Whatever is to be asked of the API, or told to it.
    fn ask_api(&mut self, known: bool) {
        let now_ms = self.now_ms();
        let Some(client) = self.api.as_ref().map(|api| api.client.clone()) else { return };
        if !self.cluster.pods_known {
            return;
        }
        for component in self.keepers.keys() {
            if self.parents.due(component, now_ms) {
                let single = self.cluster.of(component).any(|pod| pod.owner.is_none() && !pod.deleting);
                self.jobs.parent(client.clone(), component.clone(), single);
            }
        }
        if known {
            for question in self.leadership.questions(&self.pods, now_ms) {
                self.jobs.lease(client.clone(), question);
            }
        }
        if self.event_at_ms.is_none_or(|at| now_ms >= at)
            && let Some(telling) = self.events.next()
        {
            // The next one when this one is sent.
            self.event_at_ms = Some(u64::MAX);
            self.jobs.event(client.clone(), telling);
        }
        self.diagnose(now_ms);
        self.publish(client, now_ms);
    }

    /// What the report says, but for its time.
    fn content(&self) -> String {
        let brief = |keeper: &Keeper| {
            let running: Vec<_> = keeper.instances.iter().map(|i| (&i.pod, i.running, i.ready)).collect();
            format!("{:?} {:?} {running:?} {:?}", keeper.machine.state(), keeper.machine.disk(), keeper.last)
        };
        let keepers: Vec<_> = self.keepers.values().map(brief).collect();
        format!("{keepers:?} {:?}", self.api.as_ref().map(|api| api.steering.stands()))
    }

    fn diagnose(&mut self, now_ms: u64) {
        let content = self.content();
        if content != self.diagnosed_content {
            self.diagnosed_content = content;
            let soon = now_ms + DIAGNOSIS_DELAY_MS;
            self.diagnosis_due_ms = Some(self.diagnosis_due_ms.map_or(soon, |due| due.min(soon)));
        }
        if self.diagnosis_due_ms.is_some_and(|due| now_ms >= due) {
            self.diagnosis_due_ms = Some(now_ms + DIAGNOSIS_PERIOD_MS);
            let root = node::Root::below(&self.options.host_root);
            self.jobs.diagnose(doctor::Options::new(root, self.options.addresses.clone()));
        }
    }

    fn publish(&mut self, client: Client, now_ms: u64) {
        let content = format!(
            "{} {:?}",
            self.diagnosed_content,
            self.doctor.as_ref().map(|d| (d.verdict, &d.problems))
        );
        if !self.publisher.due(&content, now_ms) {
            return;
        }
        let generations = |component: &Component| self.files.generations(component).unwrap_or_default();
        let known = |keeper: &Keeper| report::Known {
            generations: generations(&keeper.component),
            disk: keeper.machine.disk().clone(),
            instances: keeper.instances.clone(),
            last: keeper.last.clone(),
        };
        let components = self.keepers.iter().map(|(component, keeper)| (component, known(keeper))).collect();
        let steering = self.api.as_ref().map_or_else(SteeringReport::default, |api| {
            let (on, why) = api.steering.stands();
            SteeringReport { on, why: Some(why) }
        });
        let reverts = self.keepers.values().filter_map(|keeper| keeper.last_revert.clone());
        let last_revert: Option<News> = reverts.max_by_key(|news| news.time);
        let now = jiff::Timestamp::now();
        let report = report::report(
            &self.options.node_name,
            &components,
            steering,
            last_revert,
            self.doctor.clone(),
            now,
        );
        if let Some(publication) = Publication::new(&self.cluster, &report, content) {
            self.publisher.begin(now_ms);
            self.jobs.publish(client, publication);
        }
    }

    /// Takes in what came of a job. Returns whether all should be looked at again.
    fn finished(&mut self, done: Done) -> bool {
        let now_ms = self.now_ms();
        match done {
            Done::Parent(component, answer) => {
                let answer = answer
                    .inspect_err(|error| tracing::debug!(%component, %error, "its parent is not known"));
                let before = self.parents.of(&component, now_ms).cloned();
                let after: Option<Parent> = answer.ok();
                let new = before != after;
                self.parents.answered(&component, after, now_ms);
                new
            }
            Done::Lease(answer) => {
                self.leadership.answered(answer, now_ms);
                false
            }
            Done::Gate(gate, result) => {
                if let Err(error) = result {
                    tracing::debug!(pod = gate.name, %error, "its readiness gate is not set");
                }
                false
            }
            Done::Event(telling, result) => {
                self.event_at_ms = None;
                if let Err(error) = result {
                    tracing::debug!(%error, "an Event is not sent");
                    self.event_at_ms = Some(now_ms + 1_000);
                    self.events.back(telling);
                }
                self.events.waits()
            }
            Done::Published(publication, result) => {
                self.publisher.ended(publication, result);
                false
            }
            Done::Diagnosed(diagnosis) => {
                self.doctor = Some(DoctorReport::from(&diagnosis));
                true
            }
        }
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
            Ok(access) => self.api = Some(self.start_api(access, runtime)),
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::warn!(error, "the API cannot be reached with these credentials");
            }
        }
    }

    fn start_api(&self, access: Access, runtime: &Cri) -> Api {
        let Access { client, probe, text } = access;
        let node = &self.options.node_name;
        let steering = Steering::start(self.options.api_port, probe, runtime.clone());
        let pods =
            (format!("/api/v1/namespaces/{NAMESPACE}/pods"), format!("fieldSelector=spec.nodeName={node}"));
        let nodes = ("/api/v1/nodes".to_owned(), format!("fieldSelector=metadata.name={node}"));
        let follow = |(path, query): (String, String), news: fn(Change) -> ApiNews| {
            let (sender, bell) = (self.news.0.clone(), self.bell.clone());
            let tell = move |change| {
                let _ = sender.send(news(change));
                bell.ring();
            };
            Task::spawn(watch::follow(client.clone(), path, query, tell))
        };
        let tasks = vec![
            follow(pods, ApiNews::Pods),
            follow(nodes, ApiNews::Node),
            Task::spawn(alarm::port(steering.subscribe(), self.bell.clone())),
        ];
        Api { client, steering, text, _tasks: tasks }
    }

    /// A node that is none of the control plane's, with nothing left on it, needs no guardian.
    fn leave_if_unwanted(&mut self) {
        let done = self.cluster.is_control_plane() == Some(false)
            && self.keepers.is_empty()
            && self.files.components().is_ok_and(|components| components.is_empty());
        if !done {
            self.leaving_since_ms = None;
            return;
        }
        let now_ms = self.now_ms();
        let since = *self.leaving_since_ms.get_or_insert(now_ms);
        if now_ms - since < LEAVE_MS {
            return;
        }
        match self.files.remove_static_pod(STATIC_POD) {
            Ok(true) => tracing::info!("this is no control-plane node any more: the guardian leaves"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the guardian cannot leave"),
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
