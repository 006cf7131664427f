//! Decides for one component of one node when a checkpoint is written, promoted, started and
//! taken away. Pure: no clock, no I/O; the time is a number in each event.
//!
//! ```text
//!  CRI, API, probes ──Observed──▶ ┌─────────┐ ──Write, Promote, Prune──▶ generations on disk
//!                                 │ Machine │ ──Place, Remove──────────▶ static pod directory
//!  results of actions ──────────▶ └─────────┘ ──Report─────────────────▶ Kubernetes Events
//! ```
//!
//! It keeps nothing that has to survive it: a new one learns all from the disk and the first observation.

mod action;
mod disk;
mod event;
mod limits;
mod report;

pub use action::Action;
pub use disk::{Digest, Disk, Generation, GenerationId};
pub use event::{ActionKind, ApiView, Event, Instance, Observation, Source};
pub use limits::Limits;
pub use report::{Cause, Report};

/// How the component stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The container runtime has not answered yet, or does not now.
    Unknown,
    /// The temporary control plane runs: `start` is at work.
    StandingBack,
    /// The API's instance serves, without a copy.
    Serving,
    /// Nobody serves; somebody may be about to.
    Waiting,
    /// Nobody serves and there is nothing to place.
    Stuck,
    /// A copy is in place and not Ready yet; nobody serves.
    Starting,
    /// The copy serves, nobody else.
    Restored,
    /// The API's instance serves, the copy is still there.
    HandingOver,
    /// It was taken away from this node, or never was here.
    Absent,
}

/// The state machine of one component.
#[derive(Debug, Clone)]
pub struct Machine {
    disk: Disk,
    limits: Limits,
}

impl Machine {
    /// From what lies on the disk now.
    pub fn new(disk: Disk, limits: Limits) -> Self {
        Self { disk, limits }
    }

    /// Takes in what happened; says what to do.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let _ = (event, self.limits);
        Vec::new()
    }

    /// Milliseconds from the last event until the machine wants an observation, if nothing happens
    /// before. `None`: it waits for news only.
    pub fn wake_after(&self) -> Option<u64> {
        None
    }

    /// Who of the Ready instances should get the traffic: the one with the highest number.
    pub fn rank(&self, instance: &Instance) -> u64 {
        instance.revision
    }

    /// How it stands since the last event.
    pub fn state(&self) -> State {
        State::Unknown
    }

    /// What it knows of the disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }
}
