//! When nobody serves: a copy is started, another one when that does not work either.

use objects::Origin;

use super::{Action, ActionKind, Cause, Generation, GenerationId, Instance, Machine, Report};

impl Machine {
    /// Rules R3 and R6; none is placed while they are withheld.
    pub(super) fn place(&mut self, actions: &mut Vec<Action>) -> Option<Action> {
        self.seen.runtime.as_ref()?;
        if self.seen.withheld {
            self.tell_withheld(actions);
            return None;
        }
        self.told.withheld = false;
        let gap_since = self.gap_since?;
        if self.temporary_runs() || self.moved() || (self.seen.wanted == Some(false) && self.others_serve()) {
            return None;
        }
        let (generation, report) = match self.disk.placed.clone() {
            None => self.first_copy(gap_since, actions)?,
            Some(placed) => self.next_copy(gap_since, &placed, actions)?,
        };
        if !self.may(ActionKind::Place) {
            return None;
        }
        self.placing = Some((generation.clone(), report));
        Some(Action::Place { generation })
    }

    fn first_copy(&mut self, gap_since: u64, actions: &mut Vec<Action>) -> Option<(GenerationId, Report)> {
        let order = self.order();
        let (Some(best), Some(next)) = (order.first(), self.turn(&order)) else {
            let missed = !self.instances().is_empty() && self.due(gap_since + self.limits.first_start_ms);
            self.tell_stuck(missed, actions);
            return None;
        };
        let gap = self.gap(gap_since, &best.digest);
        if !self.due(gap.place_at?) {
            return None;
        }
        let (cause, generation) = (gap.cause, next.clone());
        let report = match gap.revision {
            Some(revision) => Report::Reverted { generation, revision, cause },
            None => Report::Restored { generation, cause },
        };
        Some((next, report))
    }

    /// The copy had its time, or exits: which one comes next?
    fn next_copy(
        &mut self,
        gap_since: u64,
        placed: &GenerationId,
        actions: &mut Vec<Action>,
    ) -> Option<(GenerationId, Report)> {
        let order = self.order();
        if self.disk.get(placed).is_none() {
            let generation = self.turn(&order)?;
            let report = Report::Restored { generation: generation.clone(), cause: Cause::ForeignCopy };
            return Some((generation, report));
        }
        let exits = self.copy_exits(placed);
        let patience = self.limits.copy_ms.saturating_mul(1 << self.rounds.min(3));
        if exits < self.limits.copy_exits && !self.due(self.placed_at.unwrap_or(0).max(gap_since) + patience)
        {
            return None;
        }
        let Some(next) = self.turn(&self.others(&order, placed)) else {
            self.tell_alone(placed, exits, actions);
            return None;
        };
        let report = Report::CopyFailed { failed: placed.clone(), generation: next.clone(), exits };
        Some((next, report))
    }

    /// All generations, the best first; those that are seen to crash come last.
    fn order(&self) -> Vec<Generation> {
        let mut order: Vec<_> = self.disk.by_worth().into_iter().cloned().collect();
        order.sort_by_key(|generation| self.discredited(generation));
        order
    }

    /// All but `placed`; those that failed as a copy since all had their turn come last. The order
    /// alone would not do: a copy that is promoted before it fails comes first again, and of two
    /// such ones each would follow the other for ever.
    fn others(&self, order: &[Generation], placed: &GenerationId) -> Vec<Generation> {
        let others = order.iter().filter(|g| g.id != *placed).cloned();
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|generation| self.failed.contains(&generation.id));
        others
    }

    /// The first one that can be placed: one that could not be twice in a row may be damaged.
    fn turn(&self, order: &[Generation]) -> Option<GenerationId> {
        let turn = self.retries.failures(ActionKind::Place) / 2;
        order.get(turn % order.len().max(1)).map(|generation| generation.id.clone())
    }

    fn copies<'a>(&'a self, id: &'a GenerationId) -> impl Iterator<Item = &'a Instance> {
        let of_it = move |i: &&Instance| matches!(&i.origin, Origin::Checkpoint { generation } if *generation == id.0);
        self.instances().iter().filter(of_it)
    }

    fn copy_exits(&self, placed: &GenerationId) -> u32 {
        self.copies(placed).map(|i| self.tracks.exits(i)).max().unwrap_or(0)
    }

    pub(super) fn placed(&mut self, generation: GenerationId, actions: &mut Vec<Action>) {
        let asked = self.placing.take().filter(|(asked, _)| *asked == generation);
        let report = asked.map(|(_, report)| report);
        if let Some(Report::CopyFailed { failed, .. }) = &report {
            self.failed.push(failed.clone());
            if self.failed.contains(&generation) {
                self.failed = vec![failed.clone()];
                self.rounds += 1;
            }
        } else if self.disk.placed.is_none() {
            self.failed.clear();
            let relapse = self.released_at.is_some_and(|at| self.now - at < self.limits.relapse_ms);
            self.relapses = if relapse { self.relapses + 1 } else { 0 };
        }
        // Its pod of an earlier try may still be there.
        let earlier: Vec<_> = self.copies(&generation).map(|i| i.pod.clone()).collect();
        for pod in &earlier {
            self.tracks.forgive(pod);
        }
        self.disk.placed = Some(generation);
        self.placed_at = Some(self.now);
        if let Some(Report::Reverted { revision, .. }) = &report {
            self.told.reverted = Some(revision.clone());
        }
        actions.extend(report.map(Action::Report));
    }

    fn tell_withheld(&mut self, actions: &mut Vec<Action>) {
        if !self.told.withheld {
            self.told.withheld = true;
            actions.push(Action::Report(Report::Withheld));
        }
    }

    /// There is no other one: this one is tried for ever.
    fn tell_alone(&mut self, placed: &GenerationId, exits: u32, actions: &mut Vec<Action>) {
        if !self.told.stuck {
            self.told.stuck = true;
            actions.push(Action::Report(Report::NoOther { generation: placed.clone(), exits }));
        }
    }

    fn tell_stuck(&mut self, stuck: bool, actions: &mut Vec<Action>) {
        if stuck && !self.told.stuck {
            self.told.stuck = true;
            actions.push(Action::Report(Report::NothingToPlace));
        }
    }
}
