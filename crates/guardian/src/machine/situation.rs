//! Who is there, and is somebody about to serve?

use objects::Origin;

use super::{Action, Cause, Digest, Generation, Instance, Machine, Report, State};

/// Why nobody serves, and from when on nobody can be expected to by himself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) cause: Cause,
    /// `None`: who runs does as well as a copy would.
    pub(super) place_at: Option<u64>,
    /// The revision that is to blame.
    pub(super) revision: Option<String>,
}

impl Machine {
    /// How it stands since the last event.
    pub fn state(&self) -> State {
        if self.seen.runtime.is_none() {
            return State::Unknown;
        }
        let (placed, empty) = (self.disk.placed.is_some(), self.disk.generations.is_empty());
        if self.instances().iter().any(|i| self.serves(i) && !matches!(i.origin, Origin::Checkpoint { .. })) {
            if placed { State::HandingOver } else { State::Serving }
        } else if self.copy_serving().is_some() {
            State::Restored
        } else if self.temporary_runs() {
            State::StandingBack
        } else if placed {
            State::Starting
        } else if self.moved() {
            State::Elsewhere
        } else if !empty {
            State::Waiting
        } else if self.instances().is_empty() {
            State::Absent
        } else {
            State::Stuck
        }
    }

    pub(super) fn temporary_runs(&self) -> bool {
        self.instances().iter().any(|i| i.origin == Origin::Temporary && i.running)
    }

    /// The API wants it to run elsewhere and not here, and there it runs.
    pub(super) fn moved(&self) -> bool {
        self.seen.api.is_some_and(|api| api.parent_exists && !api.expected && api.others_serve)
    }

    pub(super) fn others_serve(&self) -> bool {
        self.seen.api.is_some_and(|api| api.others_serve)
    }

    /// Nobody serves and no copy is in place: when to place `best`?
    pub(super) fn gap(&self, since: u64, best: &Digest) -> Gap {
        let limits = &self.limits;
        let starting: Vec<_> = self.candidates().filter(|i| i.running).collect();
        let blamed = starting.iter().copied().chain(self.candidates());
        let revision = blamed.filter(|i| self.differs(i, best)).map(|i| i.revision_name.clone()).next();
        let gap = |cause, place_at| Gap { cause, place_at, revision: revision.clone() };
        if let Some(first) = starting.first() {
            let proven = starting.iter().any(|i| self.tracks.told_digest(i).as_ref() == Some(best));
            let cause = self.unready_cause(first);
            let grace = starting.iter().map(|i| match self.unready_cause(i) {
                Cause::NeverReady => limits.first_start_ms,
                _ => limits.restarted_ms,
            });
            return gap(cause, (!proven).then(|| since + grace.max().unwrap_or(0)));
        }
        if !self.ran {
            return Gap { cause: Cause::Boot, place_at: Some(since), revision: None };
        }
        let idle = self.idle_since.unwrap_or(since).max(since);
        let exited = self
            .candidates()
            .filter(|i| i.started_ms > 0)
            .map(|i| self.tracks.exits(i).max(i.restarts))
            .max();
        let coming = self.seen.api.is_some_and(|api| api.expected || api.parent_exists)
            || self.candidates().next().is_some();
        let ending = self.instances().iter().any(|i| i.running && self.ends(i));
        // A pod that is there already is started again by the kubelet itself; one that is still to
        // be made takes longer.
        match exited {
            Some(restarts) if revision.is_some() => {
                gap(Cause::Crashed { restarts }, Some(idle + limits.nothing_ms))
            }
            None if ending && coming => gap(Cause::Ending, Some(idle + limits.successor_ms)),
            None if ending => gap(Cause::Ending, Some(idle)),
            None if coming => gap(Cause::Stopped, Some(idle + limits.successor_ms)),
            Some(_) | None => gap(Cause::Stopped, Some(idle + limits.nothing_ms)),
        }
    }

    /// The API's instances that may serve by themselves some time.
    fn candidates(&self) -> impl Iterator<Item = &Instance> {
        self.instances().iter().filter(|i| i.origin == Origin::Api && !self.ends(i))
    }

    /// It runs something else than that, for certain.
    fn differs(&self, instance: &Instance, digest: &Digest) -> bool {
        self.tracks.digest(instance).is_some_and(|own| own != *digest)
    }

    fn unready_cause(&self, instance: &Instance) -> Cause {
        let was_ready = self.tracks.of(instance).is_some_and(|track| track.was_ready);
        match instance.restarts {
            _ if was_ready => Cause::Failing,
            0 => Cause::NeverReady,
            restarts => Cause::Crashed { restarts },
        }
    }

    /// A pod that runs this exits again and again.
    pub(super) fn discredited(&self, generation: &Generation) -> bool {
        self.candidates().any(|i| {
            self.tracks.digest(i).as_ref() == Some(&generation.digest)
                && self.tracks.exits(i) >= self.limits.copy_exits
        })
    }

    /// The copy serves, and what the API wants in its place crashes or does not become Ready.
    pub(super) fn tell_reverted(&mut self, actions: &mut Vec<Action>) {
        let Some(generation) = self.disk.placed.clone().filter(|_| self.copy_serving().is_some()) else {
            return;
        };
        let Some(digest) = self.disk.get(&generation).map(|g| g.digest.clone()) else { return };
        let crashed = |i: &&Instance| self.differs(i, &digest) && self.tracks.exits(i) > 0 && !self.serves(i);
        let Some(instance) = self.candidates().find(crashed) else { return };
        let (revision, cause) = (instance.revision_name.clone(), self.unready_cause(instance));
        if self.told.reverted.as_ref() != Some(&revision) {
            self.told.reverted = Some(revision.clone());
            actions.push(Action::Report(Report::Reverted { generation, revision, cause }));
        }
    }

    /// The copy serves, and the API has nothing that would take over.
    pub(super) fn tell_orphaned(&mut self, actions: &mut Vec<Action>) {
        let gone = self.seen.api.is_some_and(|api| !api.parent_exists && !api.expected);
        let orphan = gone && self.copy_serving().is_some() && self.api_serving().next().is_none();
        match (&self.disk.placed, orphan) {
            (Some(generation), true) if !self.told.orphaned => {
                self.told.orphaned = true;
                let generation = generation.clone();
                actions.push(Action::Report(Report::Orphaned { generation }));
            }
            (Some(_), _) if self.seen.api.is_none_or(|api| !api.parent_exists) => {}
            _ => self.told.orphaned = false,
        }
    }
}
