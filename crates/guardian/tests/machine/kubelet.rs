//! A model of pods on a node: how their containers start, become Ready, exit and are started again.

use guardian::machine::{Digest, GenerationId, Instance};
use objects::Origin;

/// Between a pod's arrival at the kubelet and its container's start.
pub const POD_START: u64 = 1_000;
/// A healthy container is Ready so long after its start.
pub const BECOMES_READY: u64 = 4_000;
/// So long does an instance serve on when it was told to end.
pub const DRAIN: u64 = 15_000;
/// A container without what it depends on gives up after this.
pub const GIVES_UP: u64 = 20_000;

/// So long the liveness probe lets one that does not answer run.
pub const LIVENESS: u64 = 80_000;

/// What a container of a revision does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Healthy,
    /// Exits a second after its start.
    Crashes,
    /// Runs and is never Ready, until its liveness probe has had enough.
    Hangs,
    /// Exits so long after it became Ready.
    Dies(u64),
}

/// The digest's name says its number, so that a copy's behaviour is found.
pub fn digest(content: usize) -> Digest {
    Digest(format!("d{content}"))
}

#[derive(Debug, Clone)]
pub enum State {
    /// The container starts then.
    Waits(u64),
    Runs {
        ready_from: Option<u64>,
        dies_at: Option<u64>,
    },
}

/// A pod that the runtime knows.
#[derive(Debug, Clone)]
pub struct Pod {
    pub uid: String,
    pub origin: Origin,
    pub revision: u64,
    /// What its files and spec say now.
    pub content: usize,
    pub content_since: u64,
    /// What the container that runs was started with.
    pub running: usize,
    pub started: u64,
    pub state: State,
    pub restarts: u32,
    pub ends_at: Option<u64>,
    /// Since when the container that runs is Ready, as nobody but the model can know.
    pub ready_since: Option<u64>,
}

impl Pod {
    pub fn new(uid: String, origin: Origin, revision: u64, content: usize, starts: u64) -> Self {
        Self {
            uid,
            origin,
            revision,
            content,
            content_since: starts.saturating_sub(500),
            running: content,
            started: 0,
            state: State::Waits(starts),
            restarts: 0,
            ends_at: None,
            ready_since: None,
        }
    }

    pub fn is_copy(&self, id: Option<&GenerationId>) -> bool {
        matches!(&self.origin, Origin::Checkpoint { generation } if id.is_none_or(|id| id.0 == *generation))
    }

    pub fn is_api(&self) -> bool {
        self.origin == Origin::Api
    }

    pub fn runs(&self) -> bool {
        matches!(self.state, State::Runs { .. })
    }

    pub fn ready(&self, now: u64, backend_up: bool) -> bool {
        backend_up && matches!(self.state, State::Runs { ready_from: Some(at), .. } if at <= now)
    }

    pub fn end(&mut self, at: u64) {
        self.ends_at.get_or_insert(at);
    }

    /// When something happens to it by itself.
    pub fn next_change(&self, now: u64) -> Option<u64> {
        let own = match self.state {
            State::Waits(at) => [Some(at), None],
            State::Runs { ready_from, dies_at } => [ready_from.filter(|at| *at > now), dies_at],
        };
        own.into_iter().flatten().chain(self.ends_at).min()
    }

    /// Lets happen what is due. False: it is gone.
    pub fn step(&mut self, now: u64, backend_up: bool, behaviours: &[Behaviour]) -> bool {
        match self.state {
            State::Waits(at) if at <= now && self.ends_at.is_none() => {
                self.start(now, backend_up, behaviours);
            }
            State::Waits(at) if at <= now => return false,
            State::Runs { dies_at: Some(at), .. } if at <= now => {
                let pause = match self.restarts {
                    0 => 500,
                    n => (5_000 << n.min(6)).min(300_000),
                };
                self.restarts += 1;
                self.state = State::Waits(now + pause);
            }
            _ => {}
        }
        if self.ready(now, backend_up) {
            self.ready_since.get_or_insert(now);
        } else {
            self.ready_since = None;
        }
        self.ends_at.is_none_or(|at| now < at)
    }

    fn start(&mut self, now: u64, backend_up: bool, behaviours: &[Behaviour]) {
        self.started = now;
        self.running = self.content;
        let ready = now + BECOMES_READY;
        let (ready_from, dies_at) = match behaviours[self.content] {
            _ if !backend_up => (None, Some(now + GIVES_UP)),
            Behaviour::Healthy => (Some(ready), None),
            Behaviour::Crashes => (None, Some(now + 1_000)),
            Behaviour::Hangs => (None, Some(now + LIVENESS)),
            Behaviour::Dies(after) => (Some(ready), Some(ready + after)),
        };
        self.state = State::Runs { ready_from, dies_at };
    }

    pub fn seen(&self, now: u64, backend_up: bool, spec_known: bool) -> Instance {
        Instance {
            pod: self.uid.clone(),
            container: format!("{}@{}", self.uid, self.started),
            origin: self.origin.clone(),
            digest: (self.is_api() && spec_known).then(|| digest(self.content)),
            revision: self.revision,
            revision_name: format!("r{}", self.revision),
            started_ms: self.started,
            content_since_ms: self.content_since,
            running: self.runs(),
            ready: self.ready(now, backend_up),
            terminating: self.is_api() && self.ends_at.is_some(),
            restarts: self.restarts,
        }
    }
}
