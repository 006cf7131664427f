//! When somebody else serves: the copy goes. When nobody is to serve here: all goes.

use super::{Action, ActionKind, Instance, Machine, Report, since};

impl Machine {
    /// Rule R4.
    pub(super) fn release(&mut self) -> Option<Action> {
        self.seen.runtime.as_ref()?;
        self.disk.placed.as_ref()?;
        if self.seen.withheld {
            return self.may(ActionKind::Remove).then_some(Action::Remove { at_once: true });
        }
        let taken_over = self.api_serving().filter_map(|i| self.takes_over_at(i)).min();
        let elsewhere = self.moved_since.map(|since| since + self.limits.unwanted_ms);
        let at = taken_over.into_iter().chain(elsewhere).min()?;
        (self.due(at) && self.may(ActionKind::Remove)).then_some(Action::Remove { at_once: false })
    }

    /// When this serving instance of the API will have shown that it needs no copy beside it.
    fn takes_over_at(&self, instance: &Instance) -> Option<u64> {
        let good = self.is_good(instance.digest.as_ref());
        let time = if good { self.limits.release_ms } else { self.limits.proven_ms };
        Some(self.tracks.ready_since(instance)? + self.after_relapses(time))
    }

    /// It is of the last known good generation, or has been Ready for as long as that takes.
    pub(super) fn proven(&self, instance: &Instance) -> bool {
        let time = self.after_relapses(self.limits.proven_ms);
        let long = self.tracks.ready_since(instance).is_some_and(|since| self.now >= since + time);
        self.is_good(instance.digest.as_ref()) || long
    }

    pub(super) fn removed(&mut self, actions: &mut Vec<Action>) {
        if let Some(generation) = self.disk.placed.take() {
            self.released_at = Some(self.now);
            self.told.reverted = None;
            if !self.seen.withheld {
                actions.push(Action::Report(Report::Released { generation }));
            }
        }
    }

    /// Since when could this node let go of the component?
    pub(super) fn observe_wish(&mut self) {
        let unwanted = self.seen.wanted == Some(false);
        let served = self.others_serve() || self.api_serving().next().is_some();
        let moved = self.moved();
        since(&mut self.moved_since, moved, self.now);
        since(&mut self.unwanted_since, unwanted && served, self.now);
        since(&mut self.kept_since, unwanted && !served, self.now);
        if !unwanted {
            self.told.kept = false;
        }
    }

    /// Rule R7.
    pub(super) fn uninstall(&mut self, actions: &mut Vec<Action>) -> Option<Action> {
        let nothing = self.disk.generations.is_empty() && self.disk.placed.is_none();
        if self.seen.wanted != Some(false) || nothing {
            return None;
        }
        if let Some(since) = self.kept_since {
            if !self.told.kept && self.due(since + self.limits.unwanted_ms) {
                self.told.kept = true;
                actions.push(Action::Report(Report::Kept));
            }
            return None;
        }
        let since = self.unwanted_since?;
        (self.due(since + self.limits.unwanted_ms) && self.may(ActionKind::Uninstall))
            .then_some(Action::Uninstall)
    }
}
