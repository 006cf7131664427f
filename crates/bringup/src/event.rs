//! What `start` tells while it works: one event a change, in a form that both a terminal line
//! and a program can be fed with.

use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// The steps of a bring-up, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Give the guardian time to bring the control plane back from its checkpoints.
    Restore,
    /// Put the secrets and the static pods in place.
    Stage,
    /// Wait until the temporary API answers.
    Api,
    /// Apply the manifests of the control plane, and all that is no workload.
    Inject,
    /// Wait until the self-hosted control plane of this node is ready, each pod by its identity.
    Ready,
    /// Apply what the control plane does not wait for.
    Addons,
    /// Wait until the guardian has a checkpoint of each required pod on this node's disk.
    Checkpoint,
    /// Move traffic and leadership, and let the temporary control plane go.
    Pivot,
    /// Check that only the self-hosted control plane is left.
    Verify,
    /// Put back roles, bindings and admission policies that a cluster which runs has lost.
    Rights,
    /// Bring this node back into an API that has lost it.
    Register,
}

impl Step {
    /// All steps of a bring-up in their order. [`Step::Rights`] and [`Step::Register`] are none of them: rights are put
    /// back, and a node is registered anew, where the control plane stands.
    pub const ALL: [Self; 9] = [
        Self::Restore,
        Self::Stage,
        Self::Api,
        Self::Inject,
        Self::Ready,
        Self::Addons,
        Self::Checkpoint,
        Self::Pivot,
        Self::Verify,
    ];

    /// The step's name, as in events and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Stage => "stage",
            Self::Api => "api",
            Self::Inject => "inject",
            Self::Ready => "ready",
            Self::Addons => "addons",
            Self::Checkpoint => "checkpoint",
            Self::Pivot => "pivot",
            Self::Rights => "rights",
            Self::Verify => "verify",
            Self::Register => "register",
        }
    }

    /// What the step does, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Restore => "let the guardian bring the control plane back",
            Self::Stage => "stage the temporary control plane",
            Self::Api => "wait for the temporary API",
            Self::Inject => "apply the control plane's manifests",
            Self::Ready => "wait for the self-hosted control plane",
            Self::Addons => "apply the add-ons",
            Self::Checkpoint => "wait for checkpoints on this node's disk",
            Self::Pivot => "move traffic and leadership to it",
            Self::Rights => "put back rights that are gone",
            Self::Verify => "check that it stands alone",
            Self::Register => "bring this node back into the API",
        }
    }
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "detail")]
pub enum Progress {
    /// It begins.
    Started,
    /// It goes on; the text says what it waits for right now.
    Waiting(String),
    /// Something worth keeping happened.
    Note(String),
    /// It is done; the text sums up.
    Done(String),
}

/// One thing that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The step it belongs to.
    pub step: Step,
    /// What happened.
    #[serde(flatten)]
    pub progress: Progress,
    /// Time since the start of the bring-up, in milliseconds.
    pub elapsed_ms: u64,
}

/// Hands events to whoever wants them and keeps the time.
pub struct Reporter<'a> {
    sink: &'a (dyn Fn(Event) + Send + Sync),
    started: Instant,
    /// What was waited for last, so that it is told once and not each time it is looked at.
    waiting: Mutex<String>,
}

impl<'a> Reporter<'a> {
    /// A reporter whose clock starts now.
    pub fn new(sink: &'a (dyn Fn(Event) + Send + Sync)) -> Self {
        Self { sink, started: Instant::now(), waiting: Mutex::new(String::new()) }
    }

    /// Time since the start of the bring-up.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn started(&self, step: Step) {
        self.emit(step, Progress::Started);
    }

    pub(crate) fn waiting(&self, step: Step, what: impl Into<String>) {
        let what = what.into();
        if let Ok(mut last) = self.waiting.lock()
            && *last != what
        {
            last.clone_from(&what);
            self.emit(step, Progress::Waiting(what));
        }
    }

    pub(crate) fn note(&self, step: Step, what: impl Into<String>) {
        self.emit(step, Progress::Note(what.into()));
    }

    pub(crate) fn done(&self, step: Step, what: impl Into<String>) {
        self.emit(step, Progress::Done(what.into()));
    }

    fn emit(&self, step: Step, progress: Progress) {
        let elapsed_ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.sink)(Event { step, progress, elapsed_ms });
    }
}
