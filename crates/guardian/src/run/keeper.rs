//! One component's machine, and how its actions are done.

use std::sync::Arc;

use checkpoint::{Component, SourcePod};
use cri::Cri;
use doctor::report::News;
use jiff::Timestamp;

use super::cluster::Cluster;
use super::digests;
use super::files::{DiskError, Files};
use super::snapshot::PodSeen;
use crate::machine::{
    Action, ActionKind, Disk, Event, Generation, GenerationId, Instance, Limits, Machine, Report,
};

/// A verified generation is not read again for so long, in milliseconds: bits do not rot by the minute.
const VERIFIED_MS: u64 = 10 * 60 * 1000;
/// More actions at once than any rule asks for.
const MOST_ACTIONS: usize = 32;

/// Everything that is known of a component.
pub(crate) struct Keeper {
    pub(crate) component: Component,
    pub(crate) machine: Machine,
    pub(crate) instances: Vec<Instance>,
    pub(crate) last: Option<News>,
    pub(crate) last_revert: Option<News>,
    /// The pod that the generation of its content was last noted to be a copy of.
    noted: Option<String>,
    fingerprint: String,
    verified_ms: u64,
}

/// What actions are done with.
pub(crate) struct Tools<'a> {
    pub(crate) files: &'a Arc<Files>,
    pub(crate) runtime: &'a Cri,
    pub(crate) pods: &'a [PodSeen],
    pub(crate) cluster: &'a Cluster,
    /// What makes the component's pods.
    pub(crate) parent: Option<checkpoint::Parent>,
    pub(crate) host_root: &'a std::path::Path,
    pub(crate) clock: &'a dyn Fn() -> u64,
}

impl Keeper {
    pub(crate) fn new(
        component: Component,
        files: &Files,
        limits: Limits,
        now_ms: u64,
    ) -> Result<Self, DiskError> {
        let fingerprint = files.fingerprint(&component)?;
        let machine = Machine::new(files.disk(&component)?, limits);
        let (instances, last, last_revert, noted) = (Vec::new(), None, None, None);
        Ok(Self { component, machine, instances, last, last_revert, noted, fingerprint, verified_ms: now_ms })
    }

    /// What lies on the disk, if anything but the machine's actions changed it, or nobody has looked for long.
    pub(crate) fn disk_changed(&mut self, files: &Files, now_ms: u64) -> Result<Option<Disk>, DiskError> {
        let fingerprint = files.fingerprint(&self.component)?;
        if fingerprint == self.fingerprint && now_ms.saturating_sub(self.verified_ms) < VERIFIED_MS {
            return Ok(None);
        }
        let disk = files.disk(&self.component)?;
        self.fingerprint = fingerprint;
        self.verified_ms = now_ms;
        Ok(Some(disk))
    }

    /// Tells the machine what happened and does what it says; returns what is to be told to people.
    pub(crate) async fn step(&mut self, event: Event, tools: &Tools<'_>) -> Vec<Report> {
        let (mut reports, mut changed) = (Vec::new(), false);
        let mut actions = self.machine.step(event);
        for _ in 0..MOST_ACTIONS {
            let mut next = Vec::new();
            for action in actions {
                match Change::of(action) {
                    Err(report) => reports.push(report),
                    Ok(change) => {
                        changed = true;
                        let result = self.execute(change, tools).await;
                        next.extend(self.machine.step(result));
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            actions = next;
        }
        if changed {
            self.fingerprint = tools.files.fingerprint(&self.component).unwrap_or_default();
        }
        for report in &reports {
            let news = News {
                time: Timestamp::now(),
                reason: report.reason().to_owned(),
                message: report.to_string(),
            };
            if matches!(report, Report::Reverted { .. }) {
                self.last_revert = Some(news.clone());
            }
            self.last = Some(news);
        }
        reports
    }

    /// Has the generation of what is Ready now name that pod: a rollout may change the revision and not the content, for
    /// which no generation is written.
    pub(crate) async fn note_source(&mut self, parent: Option<checkpoint::Parent>, files: &Arc<Files>) {
        let ready = self.instances.iter().filter(|i| i.ready && i.origin == objects::Origin::Api);
        let newest = ready.filter(|i| i.digest.is_some()).max_by_key(|i| i.started_ms);
        let Some((digest, instance)) = newest.and_then(|i| Some((i.digest.clone()?, i))) else { return };
        if self.noted.as_ref() == Some(&instance.pod) {
            return;
        }
        let pod = instance.pod.clone();
        let revision = Some(instance.revision_name.clone()).filter(|revision| !revision.is_empty());
        let source = SourcePod { uid: Some(pod.clone()), revision, parent };
        let (files, component) = (Arc::clone(files), self.component.clone());
        match on_disk(move || files.note_source(&component, &digest, source)).await {
            Ok(()) => self.noted = Some(pod),
            Err(error) => {
                tracing::warn!(component = %self.component, error, "whose copy a generation is cannot be noted");
            }
        }
    }

    async fn execute(&self, action: Change, tools: &Tools<'_>) -> Event {
        let kind = action.kind();
        tracing::info!(component = %self.component, ?action, "to be done");
        let result = self.act(action, tools).await;
        let now_ms = (tools.clock)();
        let event = match result {
            Ok(done) => done.event(now_ms),
            Err(error) => {
                tracing::warn!(component = %self.component, error, %kind, "an action failed");
                Event::Failed { now_ms, failed: kind, error }
            }
        };
        tracing::info!(component = %self.component, ?event, "done");
        event
    }

    /// Files are written by a thread of their own: the disk may take its time.
    async fn act(&self, action: Change, tools: &Tools<'_>) -> Result<Done, String> {
        let (files, component) = (Arc::clone(tools.files), self.component.clone());
        match action {
            Change::Write { pod } => self.write(&pod, tools).await,
            Change::Promote(id) => {
                on_disk(move || files.promote(&component, &id).map(|()| Done::Promoted(id))).await
            }
            Change::Prune(ids) => on_disk(move || Ok(Done::Pruned(files.prune(&component, &ids)?))).await,
            Change::Place(id) => {
                let placed = id.clone();
                on_disk(move || files.place(&component, &placed)).await?;
                self.end_copies(Some(&id), tools).await;
                Ok(Done::Placed(id))
            }
            Change::Remove { at_once } => {
                on_disk(move || files.remove(&component)).await?;
                if at_once {
                    self.end_copies(None, tools).await;
                }
                Ok(Done::Removed)
            }
            Change::Uninstall => {
                on_disk(move || files.uninstall(&component).map(|()| Done::Uninstalled)).await
            }
        }
    }

    /// Ends copies of other generations: none of them serves, and a kubelet that has not heard from the API since it began
    /// ends no static pod whose file is gone. It starts none of their containers again, either.
    async fn end_copies(&self, but: Option<&GenerationId>, tools: &Tools<'_>) {
        for pod in tools.pods {
            let other = pod.copy_of().is_some_and(|(component, generation)| {
                component == self.component && but.is_none_or(|id| id.0 != generation)
            });
            if other && let Err(error) = tools.runtime.stop_pod(&pod.sandbox).await {
                tracing::warn!(pod = pod.name, %error, "a copy that does not serve is not ended");
            }
        }
    }

    async fn write(&self, uid: &str, tools: &Tools<'_>) -> Result<Done, String> {
        let pod = tools.pods.iter().find(|pod| pod.uid == uid).ok_or("the pod is gone")?;
        let object = tools.cluster.pods.get(uid).and_then(|pod| pod.object.as_ref());
        let object = object.ok_or("the API does not tell of the pod any more")?;
        let built = digests::build(tools.host_root.into(), object, pod, tools.runtime).await;
        let (mut checkpoint, _) = built.map_err(|error| error.to_string())?;
        checkpoint.source.parent.clone_from(&tools.parent);
        let files = Arc::clone(tools.files);
        on_disk(move || Ok(Done::Written(files.write(&checkpoint, Timestamp::now())?))).await
    }
}

/// An action that changes something.
#[derive(Debug)]
enum Change {
    Write { pod: String },
    Promote(GenerationId),
    Prune(Vec<GenerationId>),
    Place(GenerationId),
    Remove { at_once: bool },
    Uninstall,
}

impl Change {
    /// The change, or what is only to be told.
    fn of(action: Action) -> Result<Self, Report> {
        Ok(match action {
            Action::Write { pod, .. } => Self::Write { pod },
            Action::Promote { generation } => Self::Promote(generation),
            Action::Prune { generations } => Self::Prune(generations),
            Action::Place { generation } => Self::Place(generation),
            Action::Remove { at_once } => Self::Remove { at_once },
            Action::Uninstall => Self::Uninstall,
            Action::Report(report) => return Err(report),
        })
    }

    fn kind(&self) -> ActionKind {
        match self {
            Self::Write { .. } => ActionKind::Write,
            Self::Promote(_) => ActionKind::Promote,
            Self::Prune(_) => ActionKind::Prune,
            Self::Place(_) => ActionKind::Place,
            Self::Remove { .. } => ActionKind::Remove,
            Self::Uninstall => ActionKind::Uninstall,
        }
    }
}

/// What was done.
enum Done {
    Written(Generation),
    Promoted(GenerationId),
    Pruned(Vec<GenerationId>),
    Placed(GenerationId),
    Removed,
    Uninstalled,
}

impl Done {
    fn event(self, now_ms: u64) -> Event {
        match self {
            Self::Written(generation) => Event::Written { now_ms, generation },
            Self::Promoted(generation) => Event::Promoted { now_ms, generation },
            Self::Pruned(generations) => Event::Pruned { now_ms, generations },
            Self::Placed(generation) => Event::Placed { now_ms, generation },
            Self::Removed => Event::Removed { now_ms },
            Self::Uninstalled => Event::Uninstalled { now_ms },
        }
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DiskError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| host::error::chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
