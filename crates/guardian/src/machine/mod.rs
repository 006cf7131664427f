//! Decides for one component of one node when a checkpoint is written, promoted, started and
//! taken away. Pure: no clock, no I/O; the time is a number in each event.
//!
//! ```text
//!  CRI, API, probes ──Observed──▶ ┌─────────┐ ──Write, Promote, Prune──▶ generations on disk
//!                                 │ Machine │ ──Place, Remove──────────▶ static pod directory
//!  results of actions ──────────▶ └─────────┘ ──Report─────────────────▶ Kubernetes Events
//! ```
//!
//! It keeps nothing that has to survive it: a new one learns all from the disk and the first
//! observation. What it remembers are times (since when is who Ready) and how often what failed lately.
//! Each rule is a function; [`Machine::step`] has their order.

mod action;
mod disk;
mod event;
mod keep;
mod limits;
mod place;
mod rank;
mod release;
mod report;
mod retry;
mod situation;
mod track;

pub use action::Action;
pub use disk::{Digest, Disk, Generation, GenerationId};
use objects::Origin;

pub use event::{ActionKind, ApiView, Event, Instance, Observation};
pub use limits::{Limits, MIN_READY_SECONDS};
pub use report::{Cause, Report};

use retry::Retries;
use track::Tracks;

/// How the component stands, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// The container runtime has not answered yet, or does not now.
    Unknown,
    /// Nobody serves, and the temporary control plane runs: `start` is at work.
    StandingBack,
    /// The API's instance (or the temporary one) serves, without a copy.
    Serving,
    /// Nobody serves; somebody may be about to.
    Waiting,
    /// Nobody serves and there is nothing to place.
    Stuck,
    /// A copy is in place and not Ready yet; nobody serves.
    Starting,
    /// The copy serves, nobody else.
    Restored,
    /// The API wants it on another node only, and it serves there.
    Elsewhere,
    /// The API's instance serves, the copy is still in place.
    HandingOver,
    /// It was taken away from this node, or never was here.
    Absent,
}

/// The state machine of one component.
#[derive(Debug, Clone)]
pub struct Machine {
    limits: Limits,
    disk: Disk,
    /// The last event's time.
    now: u64,
    /// When the next decision falls due without any news.
    wake: Option<u64>,
    seen: Observation,
    tracks: Tracks,
    retries: Retries,
    /// Something of the component ran since this machine began.
    ran: bool,
    /// Since when nobody serves.
    gap_since: Option<u64>,
    /// Since when nothing runs that is not told to end.
    idle_since: Option<u64>,
    /// When the copy was placed, or first seen in place.
    placed_at: Option<u64>,
    /// Which generations failed as a copy since all had their turn, the last one last.
    failed: Vec<GenerationId>,
    /// How often all generations were tried in this gap.
    rounds: u32,
    /// When the last copy was taken away.
    released_at: Option<u64>,
    /// How often in a row a copy was needed again soon after it was taken away.
    relapses: u32,
    /// Since when the API wants it on other nodes only, and it serves there.
    moved_since: Option<u64>,
    /// Since when this node should let go of the component, and nobody would miss it.
    unwanted_since: Option<u64>,
    /// Since when it is not wanted here, served elsewhere or not.
    kept_since: Option<u64>,
    /// What to report when the placing that was asked for is done.
    placing: Option<(GenerationId, Report)>,
    told: Told,
}

/// What has been reported and still holds.
#[derive(Debug, Clone, Default)]
struct Told {
    orphaned: bool,
    stuck: bool,
    withheld: bool,
    kept: bool,
    /// The revision that a copy stands in for.
    reverted: Option<String>,
}

impl Machine {
    /// From what lies on the disk now.
    pub fn new(disk: Disk, limits: Limits) -> Self {
        Self {
            limits,
            disk,
            now: 0,
            wake: None,
            seen: Observation::default(),
            tracks: Tracks::default(),
            retries: Retries::default(),
            ran: false,
            gap_since: None,
            idle_since: None,
            placed_at: None,
            failed: Vec::new(),
            rounds: 0,
            released_at: None,
            relapses: 0,
            moved_since: None,
            unwanted_since: None,
            kept_since: None,
            placing: None,
            told: Told::default(),
        }
    }

    /// Takes in what happened; says what to do: at most one action that changes something, and reports.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.take_in(event, &mut actions);
        self.wake = None;
        let change = self.uninstall(&mut actions).or_else(|| self.place(&mut actions));
        let change = change.or_else(|| self.promote()).or_else(|| self.release()).or_else(|| self.keep());
        self.tell_orphaned(&mut actions);
        self.tell_reverted(&mut actions);
        actions.extend(change);
        actions
    }

    /// Milliseconds from the last event until the machine wants an observation, if nothing happens
    /// before. `None`: it waits for news only.
    pub fn wake_after(&self) -> Option<u64> {
        self.wake.map(|at| at.saturating_sub(self.now).max(1))
    }

    /// What it knows of the disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    fn take_in(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Observed(seen) => self.observe(seen),
            Event::Disk { now_ms, disk } => {
                self.advance(now_ms);
                if disk.placed != self.disk.placed {
                    self.placed_at = Some(self.now);
                }
                self.disk = disk;
            }
            Event::Written { now_ms, generation } => {
                self.done(now_ms, ActionKind::Write, actions);
                if self.disk.get(&generation.id).is_none() {
                    self.disk.generations.push(generation);
                }
            }
            Event::Promoted { now_ms, generation } => {
                self.done(now_ms, ActionKind::Promote, actions);
                self.disk.good = Some(generation.clone());
                actions.push(Action::Report(Report::Promoted { generation }));
            }
            Event::Pruned { now_ms, generations } => {
                self.done(now_ms, ActionKind::Prune, actions);
                self.disk.generations.retain(|g| !generations.contains(&g.id));
            }
            Event::Placed { now_ms, generation } => {
                self.done(now_ms, ActionKind::Place, actions);
                self.placed(generation, actions);
            }
            Event::Removed { now_ms } => {
                self.done(now_ms, ActionKind::Remove, actions);
                self.removed(actions);
            }
            Event::Uninstalled { now_ms } => {
                self.done(now_ms, ActionKind::Uninstall, actions);
                self.disk = Disk::default();
                actions.push(Action::Report(Report::Uninstalled));
            }
            Event::Failed { now_ms, failed, error } => {
                self.advance(now_ms);
                if self.retries.failed(failed, self.now, &self.limits) {
                    actions.push(Action::Report(Report::Failed { action: failed, error }));
                }
            }
        }
    }

    fn observe(&mut self, seen: Observation) {
        self.advance(seen.now_ms);
        self.seen = seen;
        // A copy that was there when this machine began gets its time from now.
        self.placed_at.get_or_insert(self.now);
        let now = self.now;
        match &self.seen.runtime {
            // Since when nobody serves stays as it was: nothing says that somebody did meanwhile.
            None => self.tracks.interrupt(),
            Some(instances) => {
                let disk = &self.disk;
                self.tracks.observe(now, instances, |i| ends(disk, i), self.limits.relapse_ms);
                self.ran |= instances.iter().any(|i| i.running);
                let idle = !instances.iter().any(|i| i.running && !ends(disk, i));
                let served = instances.iter().any(|i| serves(disk, i));
                since(&mut self.idle_since, idle, now);
                since(&mut self.gap_since, !served, now);
                if served {
                    self.rounds = 0;
                    self.told.stuck = false;
                }
            }
        }
        if self.disk.placed.is_none() && self.released_at.is_some_and(|at| now - at >= self.limits.relapse_ms)
        {
            self.relapses = 0;
        }
        self.observe_wish();
    }

    fn advance(&mut self, now_ms: u64) {
        self.now = self.now.max(now_ms);
    }

    fn done(&mut self, now_ms: u64, kind: ActionKind, actions: &mut Vec<Action>) {
        self.advance(now_ms);
        if self.retries.succeeded(kind) {
            actions.push(Action::Report(Report::Recovered { action: kind }));
        }
    }

    /// Is it time? If not, it will be looked at again then.
    fn due(&mut self, at: u64) -> bool {
        if self.now < at {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
        self.now >= at
    }

    /// May this be tried now?
    fn may(&mut self, kind: ActionKind) -> bool {
        self.due(self.retries.not_before(kind))
    }

    /// All that the runtime knows; empty when it did not answer.
    fn instances(&self) -> &[Instance] {
        self.seen.runtime.as_deref().unwrap_or_default()
    }

    fn ends(&self, instance: &Instance) -> bool {
        ends(&self.disk, instance)
    }

    fn serves(&self, instance: &Instance) -> bool {
        serves(&self.disk, instance)
    }

    /// Serving instances that the API made.
    fn api_serving(&self) -> impl Iterator<Item = &Instance> {
        self.instances().iter().filter(|i| i.origin == Origin::Api && self.serves(i))
    }

    fn copy_serving(&self) -> Option<&Instance> {
        self.instances().iter().find(|i| matches!(i.origin, Origin::Checkpoint { .. }) && self.serves(i))
    }

    fn is_good(&self, digest: Option<&Digest>) -> bool {
        digest.is_some() && digest == self.disk.good_digest()
    }

    /// A time that doubles with each relapse, up to the time after which a relapse is forgotten.
    fn after_relapses(&self, ms: u64) -> u64 {
        ms.saturating_mul(1 << self.relapses.min(10)).min(self.limits.relapse_ms.max(ms))
    }
}

/// It was told to end: by the API, or because the file it was made of is gone.
fn ends(disk: &Disk, instance: &Instance) -> bool {
    let replaced = match &instance.origin {
        Origin::Checkpoint { generation } => {
            disk.placed.as_ref().is_none_or(|placed| placed.0 != *generation)
        }
        Origin::Api | Origin::Temporary | Origin::Static => false,
    };
    instance.terminating || replaced
}

fn serves(disk: &Disk, instance: &Instance) -> bool {
    instance.running && instance.ready && !ends(disk, instance)
}

/// Remembers since when something holds.
fn since(slot: &mut Option<u64>, holds: bool, now: u64) {
    *slot = holds.then(|| slot.unwrap_or(now));
}
