//! What is kept on the disk: checkpoints are written, promoted, pruned.

use objects::Origin;

use super::{Action, ActionKind, GenerationId, Instance, Machine};

impl Machine {
    /// Rule R1, then old generations.
    pub(super) fn keep(&mut self) -> Option<Action> {
        if self.seen.wanted == Some(false) {
            return None;
        }
        self.write().or_else(|| self.prune())
    }

    fn write(&mut self) -> Option<Action> {
        let new = |i: &&Instance| i.digest.as_ref().is_some_and(|d| self.disk.with_digest(d).is_none());
        let instance = self.api_serving().filter(new).max_by_key(|i| (i.revision, i.started_ms))?;
        let write = Action::Write { pod: instance.pod.clone(), digest: instance.digest.clone()? };
        self.may(ActionKind::Write).then_some(write)
    }

    /// Rule R2.
    pub(super) fn promote(&mut self) -> Option<Action> {
        let (generation, at) = self.next_good()?;
        let promote = self.due(at) && self.may(ActionKind::Promote);
        promote.then_some(Action::Promote { generation })
    }

    /// Which generation will be the good one, and when.
    ///
    /// Of several instances only the newest counts: in a rollout that takes its time the old one is
    /// as proven as the new one. A copy proves its generation only while it serves alone.
    fn next_good(&self) -> Option<(GenerationId, u64)> {
        let newest = self.api_serving().max_by_key(|i| (i.revision, i.started_ms));
        let (instance, generation, time) = if let Some(instance) = newest {
            let digest = instance.digest.as_ref().filter(|_| self.tracks.proves(instance))?;
            let time = self.after_relapses(self.limits.proven_ms);
            (instance, self.disk.with_digest(digest)?, time)
        } else {
            let copy = self.copy_serving()?;
            let Origin::Checkpoint { generation } = &copy.origin else { return None };
            (copy, self.disk.get(&GenerationId(generation.clone()))?, self.limits.proven_ms)
        };
        if self.is_good(Some(&generation.digest)) {
            return None;
        }
        Some((generation.id.clone(), self.tracks.ready_since(instance)? + time))
    }

    /// The good one, the placed one, those of running instances and the newest stay, and of the
    /// others as many as make up the number to keep.
    fn prune(&mut self) -> Option<Action> {
        // Without knowing what runs nothing is deleted: a copy may be running from it.
        self.seen.runtime.as_ref()?;
        let all = &self.disk.generations;
        let mut kept: Vec<_> = all.iter().filter(|g| self.needed(&g.id)).map(|g| &g.id).collect();
        for generation in all.iter().rev() {
            if kept.len() < self.limits.keep && !kept.contains(&&generation.id) {
                kept.push(&generation.id);
            }
        }
        let old = all.iter().filter(|g| !kept.contains(&&g.id)).map(|g| g.id.clone());
        let generations: Vec<_> = old.collect();
        if generations.is_empty() || !self.may(ActionKind::Prune) {
            return None;
        }
        Some(Action::Prune { generations })
    }

    fn needed(&self, id: &GenerationId) -> bool {
        let disk = &self.disk;
        let named = [&disk.good, &disk.placed].contains(&&Some(id.clone()));
        let newest = disk.generations.last().is_some_and(|g| g.id == *id);
        named || newest || self.instances().iter().any(|i| self.is_of(i, id))
    }

    fn is_of(&self, instance: &Instance, id: &GenerationId) -> bool {
        match &instance.origin {
            Origin::Checkpoint { generation } => *generation == id.0,
            Origin::Temporary | Origin::Static => false,
            Origin::Api => {
                let digest = self.tracks.digest(instance);
                digest.and_then(|d| self.disk.with_digest(&d)).is_some_and(|g| g.id == *id)
            }
        }
    }
}
