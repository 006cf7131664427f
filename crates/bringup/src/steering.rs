//! Watches who listens on the API's port while the control plane moves, asks each instance by
//! itself whether it is Ready, and tells the kernel who gets new connections.
//!
//! Until the pivot the temporary apiserver gets all of them, however ready its successor is;
//! with the pivot they go to the self-hosted one, if that very instance was probed Ready.
//!
//! Where the kernel does not let us steer, the shared port stays as it is: the bring-up goes on,
//! says so, and believes the kubelet's word on readiness.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cri::{Cri, Filter};
use steer::probe::Probe;
use steer::{Instance, Listener, ListenerId, State, SteerError, Steerer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the listeners are looked at, and those that are not Ready are probed. One look takes
/// about a millisecond.
const PERIOD: Duration = Duration::from_millis(100);

/// In which rounds those are probed that were Ready the last time: a probe costs a TLS handshake.
const ROUNDS_WHEN_READY: u64 = 10;

/// Annotation that tells static pods (`file`) from those of the API (`api`)
/// (`k8s.io/kubelet/pkg/types.ConfigSourceAnnotationKey`); the kubelet puts it on the sandbox.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// Which of the control planes an apiserver belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// A static pod: it goes with the pivot.
    Temporary,
    /// A pod of the API.
    SelfHosted,
    /// Not in a pod of this node: nobody of ours.
    Foreign,
}

/// One apiserver on the port.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) listener: Listener,
    pub(crate) side: Side,
    /// The UID of its pod.
    pub(crate) pod: Option<String>,
    pub(crate) state: State,
    /// Why it is not Ready, in its own words.
    pub(crate) why: String,
}

/// All that is known of the port.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) seen: Vec<Seen>,
    /// Who gets new connections; none where the kernel spreads them.
    pub(crate) steady: Option<ListenerId>,
    /// Why connections cannot be steered here.
    pub(crate) unsteered: Option<String>,
}

impl View {
    pub(crate) fn of(&self, side: Side) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |s| s.side == side)
    }

    /// True when the instance of one of these pods (by UID) can take the traffic: its own probe
    /// succeeded.
    pub(crate) fn successor_ready(&self, pods: &[&str]) -> bool {
        let is_one = |seen: &Seen| seen.pod.as_deref().is_some_and(|uid| pods.contains(&uid));
        self.of(Side::SelfHosted).any(|s| s.state == State::Ready && is_one(s))
    }

    /// True when a self-hosted instance has the traffic, or nobody else is there to have it.
    pub(crate) fn moved(&self) -> bool {
        let to_successor = |id| self.of(Side::SelfHosted).any(|s| Some(s.listener.id) == id);
        self.steady.map_or_else(|| self.of(Side::Temporary).next().is_none(), |id| to_successor(Some(id)))
    }
}

/// The running watch. Dropping it stops the watching and leaves the traffic as it is.
pub(crate) struct Steering {
    view: watch::Receiver<View>,
    pivot: watch::Sender<bool>,
    task: JoinHandle<Option<Steerer>>,
    stop: watch::Sender<bool>,
}

impl Steering {
    /// Begins to watch the port, and to steer unless there is a reason why that cannot be. Must be
    /// called within a tokio runtime.
    pub(crate) fn start(port: u16, probe: Probe, runtime: Cri, unsteered: Option<String>) -> Self {
        let first = View { unsteered: unsteered.clone(), ..View::default() };
        let (view_sender, view) = watch::channel(first);
        let (pivot, pivot_receiver) = watch::channel(false);
        let (stop, stop_receiver) = watch::channel(false);
        let watcher = Watcher {
            port,
            probe: Arc::new(probe),
            runtime,
            steerer: None,
            unsteered,
            known: HashMap::new(),
            in_force: None,
            rounds: 0,
        };
        let task = tokio::spawn(watcher.run(view_sender, pivot_receiver, stop_receiver));
        Self { view, pivot, task, stop }
    }

    /// What is known right now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Lets traffic go to the self-hosted instance as soon as it is Ready.
    pub(crate) fn pivot(&self) {
        let _ = self.pivot.send(true);
    }

    /// Stops watching and takes the program away: one listener needs no steering.
    pub(crate) async fn finish(self) -> Result<(), SteerError> {
        let _ = self.stop.send(true);
        match self.task.await {
            Ok(Some(steerer)) => steerer.detach(),
            // Nothing was attached, or the task was cancelled with the runtime.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

struct Watcher {
    port: u16,
    probe: Arc<Probe>,
    runtime: Cri,
    steerer: Option<Steerer>,
    unsteered: Option<String>,
    known: HashMap<ListenerId, Seen>,
    /// What the kernel was told last, so that it is told only what is new.
    in_force: Option<steer::Policy>,
    rounds: u64,
}

impl Watcher {
    async fn run(
        mut self,
        view: watch::Sender<View>,
        pivot: watch::Receiver<bool>,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Steerer> {
        while !*stop.borrow() {
            let pivoting = *pivot.borrow();
            self.round(pivoting).await;
            let mut seen: Vec<Seen> = self.known.values().cloned().collect();
            seen.sort_by_key(|s| s.listener.id);
            let steady = self.steerer.as_ref().and_then(Steerer::steady);
            let _ = view.send(View { seen, steady, unsteered: self.unsteered.clone() });
            let _ = tokio::time::timeout(PERIOD, stop.changed()).await;
        }
        self.steerer
    }

    async fn round(&mut self, pivoting: bool) {
        let listeners = match steer::listeners(self.port) {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::warn!(%error, "cannot see who listens");
                return;
            }
        };
        self.remember(listeners).await;
        // Seats first, so that each can be probed; then what the probes said.
        self.steer(pivoting);
        self.probe_all().await;
        self.steer(pivoting);
    }

    /// Forgets who is gone and learns who is new.
    async fn remember(&mut self, listeners: Vec<Listener>) {
        self.known.retain(|id, _| listeners.iter().any(|l| l.id == *id));
        for listener in listeners {
            let known = self.known.get(&listener.id);
            if known.is_some_and(|seen| seen.side != Side::Foreign) {
                continue;
            }
            let (side, pod) = self.whose(&listener).await;
            let why = "not probed yet".to_owned();
            let seen = Seen { side, pod, state: State::Starting, why, listener };
            self.known.insert(seen.listener.id, seen);
        }
    }

    /// Which pod the process belongs to, by its container.
    async fn whose(&self, listener: &Listener) -> (Side, Option<String>) {
        let foreign = (Side::Foreign, None);
        let Some(container) = &listener.container else { return foreign };
        let Ok(containers) = self.runtime.containers(Filter::all()).await else { return foreign };
        let Some(container) = containers.into_iter().find(|c| c.id == *container) else { return foreign };
        let Ok(pods) = self.runtime.sandboxes(Filter::all()).await else { return foreign };
        let Some(pod) = pods.into_iter().find(|p| p.id == container.pod_id) else { return foreign };
        match pod.annotations.get(CONFIG_SOURCE).map(String::as_str) {
            Some("api") => (Side::SelfHosted, Some(pod.uid)),
            _ => (Side::Temporary, Some(pod.uid)),
        }
    }

    async fn probe_all(&mut self) {
        let Some(steerer) = &self.steerer else { return };
        let mut probes = tokio::task::JoinSet::new();
        self.rounds += 1;
        let all = self.rounds.is_multiple_of(ROUNDS_WHEN_READY);
        for (&id, _) in self.known.iter().filter(|(_, seen)| all || seen.state != State::Ready) {
            let Some(port) = steerer.probe_port(id) else { continue };
            let probe = Arc::clone(&self.probe);
            probes.spawn(async move { (id, probe.ready(port).await) });
        }
        while let Some(Ok((id, answer))) = probes.join_next().await {
            let Some(seen) = self.known.get_mut(&id) else { continue };
            let (ready, why) = match answer {
                Ok(readiness) if readiness.is_ready() => (true, String::new()),
                Ok(readiness) => {
                    let failing: Vec<_> = readiness.failing().collect();
                    (false, format!("/readyz: {} {}", readiness.status, failing.join(", ")))
                }
                Err(error) => (false, error.to_string()),
            };
            seen.state = match (ready, seen.state) {
                (true, _) => State::Ready,
                (false, State::Starting) => State::Starting,
                (false, _) => State::Failing,
            };
            seen.why = why;
        }
    }

    /// Makes the kernel choose by what is known.
    fn steer(&mut self, pivoting: bool) {
        if self.known.is_empty() || self.unsteered.is_some() {
            return;
        }
        let instances: Vec<Instance> = self.known.values().map(|s| instance(s, pivoting)).collect();
        let current = self.steerer.as_ref().and_then(Steerer::steady).or_else(|| {
            let temporary = instances.iter().filter(|i| i.revision > 0);
            temporary.map(|i| i.listener.id).min()
        });
        let policy = steer::policy(&instances, current);
        if self.in_force.as_ref() == Some(&policy) {
            return;
        }
        match self.enforce(&policy) {
            Ok(()) => self.in_force = Some(policy),
            // The listener went away between two looks: the next round sees what is left.
            Err(SteerError::NoListener { .. }) => self.in_force = None,
            Err(error) => {
                tracing::warn!(%error, "connections are not steered");
                self.unsteered = Some(error.to_string());
                self.steerer = None;
            }
        }
    }

    fn enforce(&mut self, policy: &steer::Policy) -> Result<(), SteerError> {
        let mut steerer = match self.steerer.take() {
            Some(steerer) => steerer,
            None => Steerer::attach(self.port)?,
        };
        let result = steerer.apply(policy);
        self.steerer = Some(steerer);
        result
    }
}

/// Before the pivot the temporary one ranks higher, with the pivot the self-hosted one.
fn instance(seen: &Seen, pivoting: bool) -> Instance {
    let revision = match (seen.side, pivoting) {
        (Side::Foreign, _) => 0,
        (Side::Temporary, false) | (Side::SelfHosted, true) => 2,
        (Side::SelfHosted, false) | (Side::Temporary, true) => 1,
    };
    Instance { listener: seen.listener.clone(), state: seen.state, revision }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::proc::ProcessId;

    fn seen(age: u64, side: Side, state: State) -> Seen {
        let process = ProcessId { pid: 1, started: age };
        let id = ListenerId { process, inode: age };
        let address = "[::]:6443".parse().unwrap();
        let listener = Listener { id, address, uid: 65532, container: None, fd: 3 };
        Seen { listener, side, pod: None, state, why: String::new() }
    }

    fn first(all: &[Seen], pivoting: bool) -> Side {
        let instances: Vec<_> = all.iter().map(|s| instance(s, pivoting)).collect();
        let steady = all.iter().find(|s| s.side == Side::Temporary).map(|s| s.listener.id);
        let first = steer::policy(&instances, steady).order[0].id;
        all.iter().find(|s| s.listener.id == first).unwrap().side
    }

    #[test]
    fn a_ready_successor_waits_for_the_pivot_and_an_unready_one_for_its_probe() {
        let temporary = seen(1, Side::Temporary, State::Ready);
        let ready = [temporary.clone(), seen(2, Side::SelfHosted, State::Ready)];
        assert_eq!(first(&ready, false), Side::Temporary);
        assert_eq!(first(&ready, true), Side::SelfHosted);
        let starting = [temporary, seen(2, Side::SelfHosted, State::Starting)];
        assert_eq!(first(&starting, true), Side::Temporary);
    }
}
