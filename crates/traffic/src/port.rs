//! One port: what is known of it, and one round of looking, probing and telling the kernel.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cri::Cri;
use steer::probe::Probe;
use steer::{Instance, Listener, ListenerId, OwnCalls, State, SteerError, Steerer};
use tokio::time::Instant;

use crate::owner::Owner;
use crate::rehearsal;

/// How often those are probed that were Ready the last time: a probe costs a TLS handshake.
const PERIOD_WHEN_READY: Duration = Duration::from_millis(950);

/// How long an instance has the next call from ::1 after one of its own went astray. A list that was refused is
/// tried again after 0.8 s and more, doubled each time (client-go's reflector).
const ASTRAY: Duration = Duration::from_secs(3);

/// A source port of the kernel's choice: the connection goes where every client's goes.
const ANY_PORT: u16 = 0;

/// One apiserver on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its socket.
    pub listener: Listener,
    /// Its pod; none when it is in no pod of this node, or the runtime does not answer.
    pub owner: Option<Owner>,
    /// How far it is.
    pub state: State,
    /// Why it is not Ready, in its own words.
    pub why: String,
    /// Where its calls to itself end up; looked at while not everybody is Ready.
    pub own_calls: OwnCalls,
}

/// All that is known of the port.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Who listens, in a stable order.
    pub seen: Vec<Seen>,
    /// Who gets new connections; none where the kernel spreads them.
    pub steady: Option<ListenerId>,
    /// Why connections cannot be steered here.
    pub unsteered: Option<String>,
    /// How many rounds this comes of; 0: nobody has looked yet.
    pub rounds: u64,
}

impl View {
    /// Whether the other one, of another round, tells nothing new.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let first = self.rounds == 0;
        !first && self.seen == other.seen && self.steady == other.steady && self.unsteered == other.unsteered
    }
}

/// What is known of a port and who steers it. Dropping it leaves the traffic as it is.
pub struct Port {
    number: u16,
    probe: Arc<Probe>,
    runtime: Cri,
    steerer: Option<Steerer>,
    unsteered: Option<String>,
    /// When to try again what could not be done, where it is tried again at all.
    retry: Option<Duration>,
    refused: Option<Instant>,
    known: HashMap<ListenerId, Seen>,
    /// What the kernel was told last, so that it is told only what is new.
    in_force: Option<steer::Policy>,
    rounds: u64,
    /// When all were probed last.
    probed: Option<Instant>,
    /// Whose call to itself reached another one, and when last.
    astray: HashMap<ListenerId, Instant>,
}

impl Port {
    /// `unsteered` is a reason not to steer that is known before. A refusal of the kernel counts for
    /// good, unless [`Port::retrying`].
    pub fn new(port: u16, probe: Probe, runtime: Cri, unsteered: Option<String>) -> Self {
        Self {
            number: port,
            probe: Arc::new(probe),
            runtime,
            steerer: None,
            unsteered,
            retry: None,
            refused: None,
            known: HashMap::new(),
            in_force: None,
            rounds: 0,
            probed: None,
            astray: HashMap::new(),
        }
    }

    /// Tries to steer again so long after it could not be done.
    pub fn retrying(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    /// What is known right now.
    pub fn view(&self) -> View {
        let mut seen: Vec<Seen> = self.known.values().cloned().collect();
        seen.sort_by_key(|s| s.listener.id);
        let steady = self.steerer.as_ref().and_then(Steerer::steady);
        View { seen, steady, unsteered: self.unsteered.clone(), rounds: self.rounds }
    }

    /// Looks who listens, has each probed, and tells the kernel who gets connections by what
    /// `rank` makes of each.
    pub async fn steered_round(&mut self, rank: &(impl Fn(&Seen) -> Instance + Sync)) {
        if !self.look().await {
            return;
        }
        self.try_again();
        self.mind_own_calls();
        // Seats first, so that each can be probed; then what the probes said.
        self.steer(rank);
        self.probe_all().await;
        self.steer(rank);
    }

    /// Looks who listens; whoever steers goes on. One that listens alone is probed: where there is one,
    /// everybody reaches that one.
    pub async fn watching_round(&mut self) {
        self.leave();
        if self.look().await {
            self.probe_all().await;
        }
    }

    /// Takes our program away: one listener needs no steering.
    ///
    /// # Errors
    /// [`SteerError`]; the program stays attached then.
    pub fn release(&mut self) -> Result<(), SteerError> {
        self.in_force = None;
        let Some(steerer) = self.steerer.take() else { return Ok(()) };
        steerer.detach()
    }

    /// Lets go of the program, which stays.
    fn leave(&mut self) {
        self.in_force = None;
        self.steerer = None;
    }

    /// False when it cannot be seen who listens.
    async fn look(&mut self) -> bool {
        let listeners = match self.listeners() {
            Ok(listeners) => listeners,
            Err(error) => {
                tracing::warn!(%error, "cannot see who listens");
                return false;
            }
        };
        self.remember(listeners).await;
        self.rounds += 1;
        true
    }

    /// Whose the sockets are takes a search of all processes: that is done when there are other sockets.
    fn listeners(&self) -> Result<Vec<Listener>, steer::ListError> {
        let known: BTreeSet<u64> = self.known.keys().map(|id| id.inode).collect();
        if steer::listening(self.number)?.into_iter().eq(known) {
            return Ok(self.known.values().map(|seen| seen.listener.clone()).collect());
        }
        steer::listeners(self.number)
    }

    /// Forgets who is gone and learns who is new.
    async fn remember(&mut self, listeners: Vec<Listener>) {
        self.known.retain(|id, _| listeners.iter().any(|l| l.id == *id));
        for listener in listeners {
            let known = self.known.get(&listener.id);
            if known.is_some_and(|seen| seen.owner.is_some()) {
                continue;
            }
            // A runtime that does not answer now is asked again in the next round.
            let owner = Owner::of(&listener, &self.runtime).await.unwrap_or_default();
            let state = known.map_or(State::Starting, |seen| seen.state);
            let why = known.map_or_else(|| "not probed yet".to_owned(), |seen| seen.why.clone());
            let id = listener.id;
            let own_calls = known.map_or(OwnCalls::None, |seen| seen.own_calls);
            self.known.insert(id, Seen { listener, owner, state, why, own_calls });
        }
    }

    /// Looks where the instances' calls to themselves end up, and cuts off those that reached another one.
    fn mind_own_calls(&mut self) {
        let settled = self.known.len() < 2 || self.known.values().all(|seen| seen.state == State::Ready);
        if settled || self.unsteered.is_some() {
            return;
        }
        let listeners: Vec<_> = self.known.values().map(|seen| seen.listener.clone()).collect();
        let calls = steer::own_calls(self.number, &listeners).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot see the calls of apiservers to themselves");
            Vec::new()
        });
        for call in calls.iter().filter(|call| call.is_astray()) {
            let cut = call.cut();
            tracing::debug!(?call, ?cut, "a call of an apiserver to itself reached another one");
            self.astray.insert(call.caller, Instant::now());
        }
        self.astray.retain(|id, at| self.known.contains_key(id) && at.elapsed() < ASTRAY);
        for (id, seen) in &mut self.known {
            let arrived = || calls.iter().any(|call| call.caller == *id && !call.is_astray());
            seen.own_calls = match () {
                () if self.astray.contains_key(id) => OwnCalls::Astray,
                () if arrived() => OwnCalls::Arrived,
                () => OwnCalls::None,
            };
        }
    }

    async fn probe_all(&mut self) {
        let mut probes = tokio::task::JoinSet::new();
        let all = self.probed.is_none_or(|probed| probed.elapsed() >= PERIOD_WHEN_READY);
        if all {
            self.probed = Some(Instant::now());
        }
        let somebody_serves = self.known.values().any(|seen| seen.state == State::Ready);
        for (&id, seen) in self.known.iter().filter(|(_, seen)| all || seen.state != State::Ready) {
            let Some(port) = self.probe_port(id) else { continue };
            let probe = Arc::clone(&self.probe);
            // Nothing is won by keeping one back while nobody else is there to serve.
            let rehearse = seen.state != State::Ready && somebody_serves;
            probes.spawn(async move {
                let why = match probe.lacking(port).await {
                    None if rehearse => rehearsal::lacking(&probe, port).await,
                    why => why,
                };
                (id, why)
            });
        }
        let alone = self.steerer.is_none();
        while let Some(Ok((id, why))) = probes.join_next().await {
            // Another one may have begun to listen, and to answer, while the only one was asked.
            if alone && !self.still_alone(id) {
                continue;
            }
            let Some(seen) = self.known.get_mut(&id) else { continue };
            seen.state = match (&why, seen.state) {
                (None, _) => State::Ready,
                (Some(_), State::Starting) => State::Starting,
                (Some(_), _) => State::Failing,
            };
            seen.why = why.unwrap_or_default();
        }
    }

    fn still_alone(&self, id: ListenerId) -> bool {
        steer::listening(self.number).is_ok_and(|all| all == [id.inode])
    }

    /// From where a probe reaches this instance and no other.
    fn probe_port(&self, id: ListenerId) -> Option<u16> {
        match &self.steerer {
            Some(steerer) => steerer.probe_port(id),
            None => (self.known.len() == 1).then_some(ANY_PORT),
        }
    }

    fn try_again(&mut self) {
        if let (Some(after), Some(refused)) = (self.retry, self.refused)
            && refused.elapsed() >= after
        {
            self.refused = None;
            self.unsteered = None;
        }
    }

    /// Makes the kernel choose by what is known.
    fn steer(&mut self, rank: &impl Fn(&Seen) -> Instance) {
        if self.known.is_empty() || self.unsteered.is_some() {
            return;
        }
        let instances: Vec<Instance> = self.known.values().map(rank).collect();
        let current = self.steerer.as_ref().and_then(Steerer::steady).or_else(|| {
            let ours = instances.iter().filter(|i| i.revision > 0);
            ours.map(|i| i.listener.id).min()
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
                self.refused = Some(Instant::now());
                self.steerer = None;
            }
        }
    }

    fn enforce(&mut self, policy: &steer::Policy) -> Result<(), SteerError> {
        let mut steerer = match self.steerer.take() {
            Some(steerer) => steerer,
            None => Steerer::attach(self.number)?,
        };
        let result = steerer.apply(policy);
        self.steerer = Some(steerer);
        result
    }
}
