//! An edit of etcd's manifest: has its effect at once, is kept once etcd serves with it, and is put back when it does
//! not. Pure: the time is a number.

use assets::member;
use cri::{Container, ContainerState};
use etcd::server;
use serde_json::Value;

/// An editor may write a file in parts: so long it has to be left alone, in milliseconds.
const QUIET_MS: u64 = 2_000;
/// So long etcd has to serve with it, in milliseconds.
const PROVEN_MS: u64 = 30_000;
/// So often it may end …
const EXITS: u32 = 3;
/// … so long it has until it serves, in milliseconds …
const PATIENCE_MS: u64 = 120_000;
/// … and so long a kubelet has to begin with it, for which it may need some of the API that is away meanwhile.
const BEGIN_MS: u64 = 300_000;

/// What lies under the manifest's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    /// Nothing. Somebody may have taken it away to have etcd ended.
    Gone,
    /// What no kubelet makes an etcd of.
    Unfit { why: String, content: Vec<u8> },
    /// A manifest of etcd.
    Fit(String),
}

impl File {
    /// Of what came of reading it.
    pub(super) fn of(read: host::fs::Result<Vec<u8>>) -> Self {
        let content = match read {
            Ok(content) => content,
            Err(error) if error.is_not_found() => return Self::Gone,
            Err(error) => return Self::Unfit { why: error.source.to_string(), content: Vec::new() },
        };
        let fit = String::from_utf8(content.clone()).map_err(|error| error.to_string());
        match fit.and_then(|text| pod(&text).map(|_| text)) {
            Ok(text) => Self::Fit(text),
            Err(why) => Self::Unfit { why, content },
        }
    }

    pub(super) fn content(&self) -> &[u8] {
        match self {
            Self::Gone => &[],
            Self::Unfit { content, .. } => content,
            Self::Fit(text) => text.as_bytes(),
        }
    }
}

/// The pod of a manifest.
pub(super) fn pod(text: &str) -> Result<Value, String> {
    let pod = member::pod(text)?;
    if server::container(&pod).is_none() {
        return Err("no container of it is an etcd server".to_owned());
    }
    Ok(pod)
}

/// How often its containers have ended.
pub(super) fn exits(containers: &[Container]) -> u32 {
    let one =
        |container: &Container| container.attempt + u32::from(container.state == ContainerState::Exited);
    containers.iter().map(one).max().unwrap_or(0)
}

/// Whether two texts are the same but for whether the member has data.
pub(super) fn same(a: &str, b: &str) -> bool {
    let whole = |text: &str| member::joined(text).unwrap_or_else(|| text.to_owned());
    a == b || whole(a) == whole(b)
}

/// What runs of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Runs {
    pub(super) exits: u32,
}

/// How things stand.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) now_ms: u64,
    pub(super) file: File,
    /// The manifest that etcd served with.
    pub(super) good: Option<&'a str>,
    /// The pod of this very manifest, when it runs.
    pub(super) runs: Option<Runs>,
    pub(super) serves: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write the manifest with the UID that it has to have.
    Stamp(String),
    /// Keep it as the good one.
    Keep(String),
    /// Put the good one back, because of that.
    PutBack(String),
}

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Edits {
    file: Option<File>,
    /// Something else lay there before.
    changed: bool,
    since_ms: u64,
    runs_since_ms: Option<u64>,
    serves_since_ms: Option<u64>,
}

impl Edits {
    /// The good one lies there and nothing is to be done: what comes next is an edit.
    pub(super) fn rest(&mut self) {
        *self = Self { changed: true, ..Self::default() };
    }

    fn proven(&self, now_ms: u64) -> bool {
        self.serves_since_ms.is_some_and(|since| now_ms - since >= PROVEN_MS)
    }

    /// Why it is not the one to go on with; none while it may still serve, and where there is no other.
    fn failed(&self, seen: &Seen<'_>) -> Option<String> {
        seen.good?;
        let exits = seen.runs.map_or(0, |runs| runs.exits);
        if exits >= EXITS {
            return Some(format!("etcd ended {exits} times with it"));
        }
        let lies_ms = seen.now_ms - self.since_ms;
        let runs_ms = self.runs_since_ms.map_or(0, |since| seen.now_ms - since);
        let long = runs_ms >= PATIENCE_MS || lies_ms >= BEGIN_MS;
        long.then(|| format!("etcd did not serve with it for {} s", lies_ms / 1000))
    }

    pub(super) fn step(&mut self, seen: Seen<'_>) -> Option<Step> {
        if self.file.as_ref() != Some(&seen.file) {
            let changed = self.changed || self.file.is_some();
            *self = Self { file: Some(seen.file.clone()), changed, since_ms: seen.now_ms, ..Self::default() };
        }
        self.runs_since_ms = self.runs_since_ms.or_else(|| seen.runs.map(|_| seen.now_ms));
        self.serves_since_ms = seen.serves.then(|| self.serves_since_ms.unwrap_or(seen.now_ms));
        let lies_ms = seen.now_ms - self.since_ms;
        if lies_ms < QUIET_MS {
            return None;
        }
        let waited = seen.runs.is_none() && lies_ms >= PROVEN_MS;
        match &seen.file {
            File::Gone => None,
            File::Unfit { why, .. } => seen.good.map(|_| Step::PutBack(why.clone())),
            File::Fit(text) if seen.good.is_some_and(|good| same(good, text)) => None,
            File::Fit(text) => match member::stamped(text) {
                Some(stamped) if self.changed || waited || self.proven(seen.now_ms) => {
                    Some(Step::Stamp(stamped))
                }
                None if self.proven(seen.now_ms) => Some(Step::Keep(text.clone())),
                _ if seen.serves => None,
                // One without its UID was edited before this began, maybe while the power was off: then the kubelet has
                // read it. It goes on with another text of the same UID, and may hold on to it when that is another one.
                _ => self.failed(&seen).map(Step::PutBack),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(flag: &str) -> String {
        let text = format!(
            "kind: Pod\nmetadata:\n  name: etcd\n  uid: \nspec:\n  containers:\n  - args:\n    - --data-dir=/d\n    \
             - --listen-client-urls=http://x\n    - --initial-cluster-state=new\n    - {flag}\n"
        );
        member::stamped(&text).unwrap()
    }

    struct World {
        edits: Edits,
        now_ms: u64,
        file: File,
        good: Option<String>,
    }

    impl World {
        fn new(text: &str) -> Self {
            let file = File::of(Ok(text.as_bytes().to_vec()));
            Self { edits: Edits::default(), now_ms: 0, file, good: Some(manifest("--v=1")) }
        }

        /// What is decided within that many seconds, while this runs; it is done.
        fn within(&mut self, seconds: u64, runs: Option<Runs>, serves: bool) -> Option<Step> {
            let end = self.now_ms + seconds * 1000;
            while self.now_ms < end {
                let seen = Seen {
                    now_ms: self.now_ms,
                    file: self.file.clone(),
                    good: self.good.as_deref(),
                    runs,
                    serves,
                };
                let step = self.edits.step(seen);
                match &step {
                    Some(Step::Stamp(text)) => self.file = File::of(Ok(text.clone().into_bytes())),
                    Some(Step::Keep(text)) => self.good = Some(text.clone()),
                    Some(Step::PutBack(_)) => self.file = File::Fit(self.good.clone().unwrap()),
                    None => {}
                }
                if step.is_some() {
                    return step;
                }
                self.now_ms += 1000;
            }
            None
        }
    }

    const RUNS: Option<Runs> = Some(Runs { exits: 0 });

    #[test]
    fn an_edit_has_its_effect_and_is_kept_when_etcd_serves() {
        let mut world = World::new(&manifest("--v=1").replace("--v=1", "--v=2"));
        let edited = manifest("--v=2");
        world.edits.rest();
        assert_eq!(world.within(1, None, false), None, "an editor may not have written all");
        assert_eq!(world.within(10, None, false), Some(Step::Stamp(edited.clone())));
        assert_eq!(world.within(20, None, false), None, "it is being started");
        assert_eq!(world.within(60, RUNS, true), Some(Step::Keep(edited)));
        assert_eq!(world.within(600, None, false), None, "the good one stays, whatever becomes of etcd");
    }

    #[test]
    fn an_edit_that_does_not_serve_is_put_back() {
        let good = manifest("--v=1");
        for (runs, seconds) in [(Some(Runs { exits: 3 }), 10), (RUNS, 150), (None, 330)] {
            let mut world = World::new(&manifest("--no-such-flag"));
            assert!(matches!(world.within(seconds, runs, false), Some(Step::PutBack(_))), "{runs:?}");
            assert_eq!(world.file, File::Fit(good.clone()));
            assert_eq!(world.within(600, None, false), None);
        }
    }

    /// The kubelet has read it when it began, under the UID of the good one.
    #[test]
    fn an_edit_that_was_made_while_the_power_was_off_is_put_back_under_the_same_uid() {
        let good = manifest("--v=1");
        let mut world = World::new(&good.replace("--v=1", "--no-such-flag"));
        assert_eq!(world.within(20, RUNS, false), None);
        assert!(matches!(world.within(5, Some(Runs { exits: 3 }), false), Some(Step::PutBack(_))));
        // A good one is taken over when it has shown that.
        let edited = good.replace("--v=1", "--v=2");
        let mut world = World::new(&edited);
        assert_eq!(world.within(20, RUNS, true), None);
        assert_eq!(world.within(20, RUNS, true), Some(Step::Stamp(manifest("--v=2"))));
    }

    #[test]
    fn what_is_no_manifest_is_put_back_before_the_kubelet_ends_etcd() {
        for text in ["", "kind: [", "kind: Pod\nspec: {containers: [{image: x}]}\n"] {
            let mut world = World::new(text);
            assert!(matches!(world.within(5, RUNS, true), Some(Step::PutBack(_))), "{text}");
        }
        let mut gone = World::new("");
        gone.file = File::Gone;
        assert_eq!(gone.within(600, None, false), None, "somebody has taken it away");
    }

    #[test]
    fn the_first_one_is_kept_and_never_put_back() {
        let mut world = World::new(&manifest("--v=1"));
        world.good = None;
        assert_eq!(world.within(600, Some(Runs { exits: 9 }), false), None);
        assert!(matches!(world.within(60, RUNS, true), Some(Step::Keep(_))));
        world.file = File::Fit(member::joined(&manifest("--v=1")).unwrap());
        assert_eq!(world.within(600, None, false), None, "it has data now, and is the same");
    }
}
