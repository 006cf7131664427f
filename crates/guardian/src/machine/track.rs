//! What is remembered of each pod between two observations.

use std::collections::BTreeMap;

use objects::Origin;

use super::{Digest, Instance};

/// All pods that the runtime knew when it answered last.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracks(BTreeMap<String, Track>);

/// One pod.
#[derive(Debug, Clone)]
pub(super) struct Track {
    container: String,
    /// The first digest that was known of this container. When another is told of the same
    /// container, its files or its spec have changed under it: it does not run what is told.
    digest: Option<Digest>,
    /// Its content was there before the container: that is what it runs.
    told_surely: bool,
    /// The last digest that was known of this pod.
    latest: Option<Digest>,
    /// Since when this container is Ready as far as was seen without interruption.
    pub(super) ready_since: Option<u64>,
    /// This container was Ready once.
    pub(super) was_ready: bool,
    restarts: u32,
    /// The number of restarts from which exits are counted.
    base: u32,
}

impl Tracks {
    /// Takes in an answer of the runtime. `ends` says which are told to end; after being Ready for
    /// `forgive_ms` earlier exits of a pod count no more.
    pub(super) fn observe(
        &mut self,
        now: u64,
        instances: &[Instance],
        ends: impl Fn(&Instance) -> bool,
        forgive_ms: u64,
    ) {
        let mut old = std::mem::take(&mut self.0);
        for instance in instances {
            let known = old.remove(&instance.pod);
            let track = Track::next(known, now, instance, ends(instance), forgive_ms);
            self.0.insert(instance.pod.clone(), track);
        }
    }

    /// The runtime did not answer: nobody can say who stays Ready meanwhile.
    pub(super) fn interrupt(&mut self) {
        for track in self.0.values_mut() {
            track.ready_since = None;
        }
    }

    /// The exits of this pod so far count no more.
    pub(super) fn forgive(&mut self, pod: &str) {
        if let Some(track) = self.0.get_mut(pod) {
            track.base = track.restarts;
        }
    }

    pub(super) fn of(&self, instance: &Instance) -> Option<&Track> {
        self.0.get(&instance.pod)
    }

    /// Since when it is Ready without interruption.
    pub(super) fn ready_since(&self, instance: &Instance) -> Option<u64> {
        self.of(instance)?.ready_since
    }

    /// How often it exited lately.
    pub(super) fn exits(&self, instance: &Instance) -> u32 {
        self.of(instance).map_or(0, |track| track.restarts.saturating_sub(track.base))
    }

    /// What an API instance runs, or will run when it is started again. Known also when the API
    /// cannot be asked now.
    pub(super) fn digest(&self, instance: &Instance) -> Option<Digest> {
        let at_start = self.of(instance).and_then(|track| track.digest.clone());
        let now = instance.digest.clone().or_else(|| self.of(instance)?.latest.clone());
        if instance.running { at_start.or(now) } else { now.or(at_start) }
    }

    /// The same, but only what was told of this very container: nothing changed unseen before it.
    pub(super) fn told_digest(&self, instance: &Instance) -> Option<Digest> {
        self.of(instance).filter(|track| track.told_surely).and_then(|track| track.digest.clone())
    }

    /// Does the container that runs prove its digest by being Ready? Not when the content came later.
    pub(super) fn proves(&self, instance: &Instance) -> bool {
        let same = self.of(instance).is_some_and(|track| track.digest == instance.digest);
        instance.origin == Origin::Api && same && instance.started_ms > instance.content_since_ms
    }
}

impl Track {
    fn next(known: Option<Self>, now: u64, instance: &Instance, ends: bool, forgive_ms: u64) -> Self {
        let mut track = known.unwrap_or_else(|| Self::new(instance));
        if track.container != instance.container {
            track.container.clone_from(&instance.container);
            track.digest = None;
            track.told_surely = false;
            track.ready_since = None;
            track.was_ready = false;
        }
        if track.digest.is_none() {
            track.digest.clone_from(&instance.digest);
            track.told_surely = instance.started_ms > instance.content_since_ms;
        }
        if instance.digest.is_some() {
            track.latest.clone_from(&instance.digest);
        }
        track.restarts = instance.restarts;
        if instance.running && instance.ready && !ends {
            let since = *track.ready_since.get_or_insert(now);
            track.was_ready = true;
            if now - since >= forgive_ms {
                track.base = instance.restarts;
            }
        } else {
            track.ready_since = None;
        }
        track
    }

    fn new(instance: &Instance) -> Self {
        Self {
            container: instance.container.clone(),
            digest: None,
            told_surely: false,
            latest: None,
            ready_since: None,
            was_ready: false,
            restarts: instance.restarts,
            base: instance.restarts,
        }
    }
}
