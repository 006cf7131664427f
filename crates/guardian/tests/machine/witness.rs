//! Looks over the machine's shoulder: what must never happen.

use guardian::machine::{Action, Disk, Event, Instance, Limits, Machine, Observation};
use objects::Origin;

use crate::kubelet::Pod;

/// Nobody serves for so long, and something could be placed: then it is.
const PLACED_WITHIN: u64 = 31_000;

#[derive(Debug, Clone, Default)]
pub struct Witness {
    pub stepped_at: u64,
    seen: Observation,
    /// Since when the machine could see that nobody serves, and nothing keeps it from placing.
    free_since: Option<u64>,
    moved_since: Option<u64>,
    began_at: u64,
    had_good: bool,
    uninstalled: bool,
    /// Any failed action gives the machine a pause.
    failed_at: u64,
}

impl Witness {
    pub fn restarted(&mut self, now: u64) {
        (self.began_at, self.free_since, self.stepped_at, self.moved_since) = (now, None, now, None);
    }

    /// Before a step: what the machine is about to see.
    pub fn look(&mut self, seen: &Observation, disk: &Disk, pods: &[Pod]) {
        let now = seen.now_ms;
        let serves = |i: &Instance| i.running && i.ready && !ends(i, disk);
        let free = seen.runtime.as_ref().is_some_and(|instances| {
            let good = disk.generations.iter().find(|g| disk.good.as_ref() == Some(&g.id));
            let best = good.or(disk.generations.last()).map(|g| &g.digest);
            let same = |pod: &Pod| {
                pod.runs()
                    && pod.is_api()
                    && [pod.content, pod.running]
                        .iter()
                        .any(|content| Some(&crate::kubelet::digest(*content)) == best)
            };
            let somebody = |i: &Instance| serves(i) || (i.running && i.origin == Origin::Temporary);
            let unwanted = seen.wanted == Some(false) && seen.api.is_some_and(|api| api.others_serve);
            let held = instances.iter().any(somebody) || unwanted || moved(seen);
            let nothing_to_do = best.is_none() || disk.placed.is_some();
            !held && !nothing_to_do && !pods.iter().any(|pod| same(pod) && pod.ends_at.is_none())
        });
        self.free_since = free.then(|| self.free_since.unwrap_or(now));
        self.moved_since = moved(seen).then(|| self.moved_since.unwrap_or(now));
        self.seen = seen.clone();
        if let Some(since) = self.free_since {
            let since = since.max(self.failed_at + 30_000);
            assert!(
                now <= since + PLACED_WITHIN,
                "nobody serves since {since} and nothing was placed until {now}"
            );
        }
    }

    /// After a step.
    pub fn step(&mut self, after: &Machine, event: &Event, actions: &[Action]) {
        let change = changes(actions);
        assert!(change.len() <= 1, "{actions:?}");
        if let Event::Failed { now_ms, .. } = event {
            self.failed_at = *now_ms;
        }
        // A result that is lost is asked for again.
        let again = after.clone().step(Event::Observed(self.seen.clone()));
        assert_eq!(change, changes(&again), "an action is asked for until its result comes");
        // Nothing falls due before the machine wanted to be woken.
        if change.is_empty() {
            let quiet = after.wake_after().map_or(3_600_000, |ms| ms - 1);
            let seen = Observation { now_ms: self.seen.now_ms + quiet, ..self.seen.clone() };
            let early = after.clone().step(Event::Observed(seen));
            assert!(changes(&early).is_empty(), "{early:?} before it wanted to be woken (in {quiet} ms)");
        }
    }

    /// Before an action is done.
    pub fn allows(&mut self, action: &Action, disk: &Disk, pods: &[Pod], now: u64) {
        let limits = Limits::default();
        let whole = |id| disk.generations.iter().find(|g| g.id == id);
        let instances = self.seen.runtime.as_deref();
        match action {
            Action::Place { generation } => {
                assert!(whole(generation.clone()).is_some(), "placed what is no whole generation");
                let instances = instances.expect("placed without knowing what runs");
                let serves = |i: &&Instance| i.running && i.ready && !ends(i, disk);
                assert_eq!(instances.iter().find(serves), None, "placed while an instance serves");
                let temporary = |i: &&Instance| i.running && i.origin == Origin::Temporary;
                assert_eq!(instances.iter().find(temporary), None, "placed while start is at work");
            }
            Action::Promote { generation } => {
                let digest = &whole(generation.clone()).expect("promoted what is no whole generation").digest;
                let proves = |pod: &Pod| {
                    crate::kubelet::digest(pod.running) == *digest
                        && pod.ready_since.is_some_and(|since| now >= since + limits.proven_ms)
                };
                assert!(pods.iter().any(proves), "promoted what was not Ready for its time: {digest:?}");
            }
            Action::Prune { generations } => {
                let gone = |id| generations.contains(id);
                assert!(!disk.good.as_ref().is_some_and(gone), "pruned the good one");
                assert!(!disk.placed.as_ref().is_some_and(gone), "pruned the placed one");
                assert!(disk.generations.len() - generations.len() >= limits.keep, "pruned too many");
                for pod in pods {
                    assert!(!generations.iter().any(|id| pod.is_copy(Some(id))), "pruned one that runs");
                }
            }
            Action::Remove { .. } => {
                let good = disk.good.clone().and_then(whole).map(|g| g.digest.clone());
                let released = |pod: &Pod| {
                    let is_good = Some(crate::kubelet::digest(pod.content)) == good;
                    let time = if is_good { limits.release_ms } else { limits.proven_ms };
                    pod.is_api()
                        && pod.ends_at.is_none()
                        && pod.ready_since.is_some_and(|since| now >= since.max(self.began_at) + time)
                };
                let elsewhere = self.moved_since.is_some_and(|since| now >= since + limits.unwanted_ms);
                assert!(elsewhere || pods.iter().any(released), "removed the copy too early");
            }
            Action::Uninstall => {
                assert_eq!(self.seen.wanted, Some(false), "uninstalled what is wanted");
                let api = |pod: &Pod| pod.is_api() && pod.ends_at.is_none() && pod.ready_since.is_some();
                let others = self.seen.api.is_some_and(|api| api.others_serve);
                assert!(others || pods.iter().any(api), "uninstalled what nobody else serves");
                self.uninstalled = true;
            }
            Action::Write { .. } | Action::Report(_) => {}
        }
    }

    /// After an action was done.
    pub fn changed(&mut self, disk: &Disk) {
        if std::mem::take(&mut self.uninstalled) {
            self.had_good = false;
        }
        let good = disk.good.as_ref();
        assert!(good.is_none_or(|id| disk.generations.iter().any(|g| g.id == *id)), "the good one is gone");
        assert!(good.is_some() || !self.had_good, "there was a good one");
        self.had_good = good.is_some();
    }
}

fn ends(instance: &Instance, disk: &Disk) -> bool {
    let replaced = match &instance.origin {
        Origin::Checkpoint { generation } => {
            disk.placed.as_ref().is_none_or(|placed| placed.0 != *generation)
        }
        _ => false,
    };
    instance.terminating || replaced
}

fn moved(seen: &Observation) -> bool {
    seen.api.is_some_and(|api| api.parent_exists && !api.expected && api.others_serve)
}

fn changes(actions: &[Action]) -> Vec<&Action> {
    actions.iter().filter(|action| !matches!(action, Action::Report(_))).collect()
}
