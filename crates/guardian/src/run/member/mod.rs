//! This node's member of etcd: which one it is, and the manifest that it runs by.
//!
//! ```text
//! data ─▶ problem   another member's data, or none: no copy of the apiserver is started on it
//! etcd.yaml ─▶ edit ─┬─ stamp     an edit has its effect at once
//!                    ├─ keep      it serves: this is the good one, and this is who the member is
//!                    └─ put back  it does not: the good one again
//! ```
//!
//! Only a static pod that `kubestrap start` wrote is looked after: of another one nobody knows what it is meant to be.

mod edit;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assets::member;
use cri::Cri;
use etcd::data::Progress;
use etcd::{End, Health, data, server};
use jiff::Timestamp;
use names::path;
use node::Root;
use serde_json::Value;
use tokio::time::Instant;

use super::options::Options;
use super::snapshot::{PodSeen, look};
use crate::kubelet;
use edit::{Edits, File, Runs, Seen, Step};

/// How often the manifest is looked at: before the kubelet's own look at its directory, every 20 s, makes of a file
/// that cannot be read one that is not there (`FileCheckFrequency` in pkg/kubelet/apis/config/v1beta1/defaults.go).
const PERIOD: Duration = Duration::from_secs(1);
/// A kubelet has so long to begin with what lies there, before it is started again. While an apiserver runs that has no
/// etcd, each of the kubelet's calls lasts a minute, and it makes one before it starts a static pod.
const BEGIN: Duration = Duration::from_secs(90);
/// It gets twice the time each time that it did not help, from this up to the other.
const AGAIN: Duration = Duration::from_mins(3);
const LONGEST: Duration = Duration::from_mins(12);

/// How often it is noted how far the member has come. What was seen is noted at the next look only: by then it is on the
/// disk, for etcd waits for that before it goes on.
const NOTE: Duration = Duration::from_mins(5);

/// What keeps this node's data from being served: a copy of the apiserver is withheld then. `end` is what was read of the
/// data before.
pub(crate) fn problem(options: &Options, end: &mut End) -> Option<String> {
    let memory = options.keys.locate(path::ETCD_MEMBER_ID);
    let root = Root::below(&options.host_root);
    data::standing_again(&memory, &|path| root.path(path), end).problem()
}

/// Looks after it for ever. `withheld` says whether there is a [`problem`] now.
pub(crate) async fn keep(options: Options, runtime: Cri, withheld: Arc<AtomicBool>) {
    let mut keeper = Keeper::new(options, withheld);
    loop {
        if let Err(error) = keeper.round(&runtime).await {
            keeper.tell(error);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

struct Keeper {
    options: Options,
    began: Instant,
    edits: Edits,
    /// When a kubelet that does not begin with what lies there is started again.
    restart_at: Option<Instant>,
    /// How long it gets then.
    pause: Duration,
    /// When it is noted next how far the member has come, and what was seen then.
    note_at: Instant,
    seen: Option<Progress>,
    /// Something is wrong with the data, and was when it was looked at last.
    withheld: Arc<AtomicBool>,
    was_withheld: bool,
    /// The last trouble: each is told once.
    told: String,
}

impl Keeper {
    fn new(options: Options, withheld: Arc<AtomicBool>) -> Self {
        let began = Instant::now();
        Self {
            options,
            began,
            edits: Edits::default(),
            restart_at: Some(began + BEGIN),
            pause: AGAIN,
            note_at: began + NOTE,
            seen: None,
            withheld,
            was_withheld: false,
            told: String::new(),
        }
    }

    fn tell(&mut self, error: String) {
        if error != self.told {
            tracing::warn!(error, "etcd's manifest cannot be looked after");
            self.told = error;
        }
    }

    async fn round(&mut self, runtime: &Cri) -> Result<(), String> {
        self.watch_data();
        let (content, good) = (host::fs::read_small(&self.manifest(), member::LARGEST), self.good());
        let is_good =
            content.as_ref().is_ok_and(|content| good.as_deref().map(str::as_bytes) == Some(content));
        if is_good && self.restart_at.is_none() && self.memory().is_file() {
            self.edits.rest();
            return self.note(good.as_deref().unwrap_or_default());
        }
        let file = File::of(content);
        let File::Fit(text) = &file else {
            return self.decide(file, good, None, false).map(drop);
        };
        if good.is_none() && !member::is_ours(text) {
            return Ok(());
        }
        let is_good = good.as_deref().is_some_and(|good| edit::same(good, text));
        if is_good && let Some(text) = member::joined(text).filter(|_| self.memory().is_file()) {
            tracing::info!("etcd's member is told to be one that has data");
            return self.write(&text);
        }
        if is_good && good.as_deref() != Some(text) {
            return self.put(path::ETCD_GOOD, text.as_bytes());
        }
        let pod = edit::pod(text)?;
        let name = format!("{}-{}", objects::name(&pod), self.options.node_name);
        let pods = look(runtime).await.ok_or("the container runtime does not answer")?;
        let pods: Vec<_> = pods.into_iter().filter(|seen| seen.name == name).collect();
        let meant = |seen: &&PodSeen| objects::uid(&pod).is_empty() || seen.uid == objects::uid(&pod);
        let seen = pods.iter().find(meant);
        let runs = seen.map(|seen| Runs { exits: edit::exits(&seen.containers) });
        let serves = runs.is_some() && matches!(etcd::local_health(&pod).await, Health::Healthy);
        if is_good {
            self.watch_kubelet(seen.is_some_and(PodSeen::runs));
            if serves && !self.memory().is_file() {
                self.remember(&pod)?;
            }
        }
        if self.decide(file, good, runs, serves)? {
            for seen in pods {
                if let Err(error) = runtime.stop_pod(&seen.sandbox).await {
                    tracing::warn!(%error, "the etcd that does not serve is not ended");
                }
            }
        }
        Ok(())
    }

    /// When the data is there again, the kubelet may pause up to five minutes before it starts again what has ended so often.
    fn watch_data(&mut self) {
        let withheld = self.withheld.load(Ordering::Relaxed);
        if self.was_withheld && !withheld {
            (self.restart_at, self.pause) = (Some(Instant::now()), AGAIN);
        }
        self.was_withheld = withheld;
    }

    /// Does what is to be done; says whether what runs is to end, for the manifest was put back. A kubelet that has not
    /// heard from the API since it began ends no static pod.
    fn decide(
        &mut self,
        file: File,
        good: Option<String>,
        runs: Option<Runs>,
        serves: bool,
    ) -> Result<bool, String> {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let was = file.clone();
        match self.edits.step(Seen { now_ms, file, good: good.as_deref(), runs, serves }) {
            None => Ok(false),
            Some(Step::Stamp(text)) => {
                tracing::info!("an edit of etcd's manifest is taken over");
                self.write(&text).map(|()| false)
            }
            Some(Step::Keep(text)) => {
                tracing::info!("etcd serves: its manifest is the good one");
                self.put(path::ETCD_GOOD, text.as_bytes()).map(|()| false)
            }
            Some(Step::PutBack(why)) => {
                let good = good.unwrap_or_default();
                tracing::warn!(why, kept = path::ETCD_REFUSED, "etcd's manifest is put back");
                self.put(path::ETCD_REFUSED, was.content())?;
                self.write(&good)?;
                (self.restart_at, self.pause) = (Some(Instant::now() + BEGIN), AGAIN);
                Ok(true)
            }
        }
    }

    /// A kubelet holds on to the pod that it has, and pauses before it starts again what ends.
    fn watch_kubelet(&mut self, runs: bool) {
        match self.restart_at {
            Some(_) if runs => self.restart_at = None,
            Some(at) if Instant::now() >= at && !self.was_withheld => {
                kubelet::restart("etcd does not run, and its manifest and data are there");
                self.restart_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(LONGEST);
            }
            _ => {}
        }
    }

    fn remember(&self, pod: &Value) -> Result<(), String> {
        let Some(dir) = server::places(pod).data else { return Ok(()) };
        let identity = etcd::identity(&Root::below(&self.options.host_root).path(&dir));
        let identity = identity.map_err(|error| format!("{}: {error}", dir.display()))?;
        let Some(identity) = identity else { return Ok(()) };
        tracing::info!(%identity, "this node remembers who its etcd is");
        data::remember(&self.memory(), identity, &dir, None).map_err(|error| host::error::chain(&error))
    }

    /// Notes what was seen at the look before, and looks again.
    fn note(&mut self, manifest: &str) -> Result<(), String> {
        if Instant::now() < self.note_at || self.was_withheld {
            return Ok(());
        }
        self.note_at = Instant::now() + NOTE;
        if let Some(seen) = self.seen.take() {
            data::note(&self.memory(), seen)?;
        }
        let Some(dir) = server::places(&edit::pod(manifest)?).data else { return Ok(()) };
        let index = etcd::last_index(&Root::below(&self.options.host_root).path(&dir));
        let index = index.map_err(|error| format!("{}: {error}", dir.display()))?;
        self.seen = index.map(|index| Progress { index, seen: Timestamp::now() });
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.options.keys.locate(path::ETCD_MEMBER_ID)
    }

    fn good(&self) -> Option<String> {
        let good = host::fs::read_small(&self.options.keys.locate(path::ETCD_GOOD), member::LARGEST).ok()?;
        String::from_utf8(good).ok()
    }

    fn manifest(&self) -> PathBuf {
        self.options.static_pod_dir.join(path::ETCD_FILE)
    }

    fn write(&self, text: &str) -> Result<(), String> {
        host::fs::write(&self.manifest(), text.as_bytes(), member::MODE)
            .map_err(|error| host::error::chain(&error))
    }

    fn put(&self, file: &str, content: &[u8]) -> Result<(), String> {
        let dir = self.options.keys.locate(path::ETCD_MEMBER);
        let put = host::fs::create_dir_all(&dir, 0o700)
            .and_then(|()| host::fs::write(&self.options.keys.locate(file), content, member::MODE));
        put.map_err(|error| host::error::chain(&error))
    }
}
