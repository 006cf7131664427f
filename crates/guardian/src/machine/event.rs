//! What the machine is told.

use objects::Origin;

use super::{Digest, Disk, Generation, GenerationId};

/// One thing that happened. `now_ms` is a monotonic clock's milliseconds, its zero is of no matter;
/// a number smaller than an earlier one counts as that earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The world was looked at. To be sent at each news, and no later than [`super::Machine::wake_after`].
    Observed(Observation),
    /// The directory was read again: this replaces all that the machine knew of the disk. To be
    /// sent when something else than this machine's actions may have changed it.
    Disk { now_ms: u64, disk: Disk },
    /// [`super::Action::Write`] is done: the whole generation is synced, under its final name.
    /// `generation.digest` is what was really written (the content may have moved meanwhile). The
    /// same digest twice is no error: then `generation` is the one that was there already.
    Written { now_ms: u64, generation: Generation },
    /// [`super::Action::Promote`] is done.
    Promoted { now_ms: u64, generation: GenerationId },
    /// [`super::Action::Prune`] is done (a generation that was gone already counts as removed).
    Pruned { now_ms: u64, generations: Vec<GenerationId> },
    /// [`super::Action::Place`] is done: the static pod's file lies in its directory.
    Placed { now_ms: u64, generation: GenerationId },
    /// [`super::Action::Remove`] is done (also when the file was gone already).
    Removed { now_ms: u64 },
    /// [`super::Action::Uninstall`] is done: neither copy nor generations are left.
    Uninstalled { now_ms: u64 },
    /// An action did not succeed; it will be asked for again, later each time.
    Failed { now_ms: u64, failed: ActionKind, error: String },
}

/// Which kind of action failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActionKind {
    Write,
    Promote,
    Prune,
    Place,
    Remove,
    Uninstall,
}

/// The world at one moment, as far as it concerns this component on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// Milliseconds of a monotonic clock.
    pub now_ms: u64,
    /// Each pod of this component that the container runtime knows on this node; `None`: it did
    /// not answer in time.
    pub runtime: Option<Vec<Instance>>,
    /// What the API says; `None`: it does not answer now, whatever it said before.
    pub api: Option<ApiView>,
    /// Is this component to be checkpointed on this node? `Some(false)`: the node lost the
    /// control-plane label, or the parent's pod template lost the annotation. `None`: not known.
    pub wanted: Option<bool>,
    /// A copy shall not run now: what it would serve is not this cluster's.
    pub withheld: bool,
}

/// One pod of the component: its newest containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The pod's UID (a static pod's is that in the runtime, too).
    pub pod: String,
    /// What runs: the container's id. For a pod with several containers any string that changes
    /// when one of them is started anew.
    pub container: String,
    /// Who wants it to run.
    pub origin: Origin,
    /// Of an [`Origin::Api`] instance: the digest that a checkpoint made of it now would have;
    /// `None` when it cannot be told (the pod's spec is not known). Not looked at for a copy: its
    /// generation says it.
    pub digest: Option<Digest>,
    /// Orders what the API wanted one after the other (controller revision); 0 when not known.
    pub revision: u64,
    /// The revision as a person knows it (`controller-revision-hash`, `pod-template-hash`), or "".
    pub revision_name: String,
    /// When its newest container was started, wall clock; 0: none was yet.
    pub started_ms: u64,
    /// Since when its volumes hold what `digest` was made of, wall clock (the newest `..data`
    /// target directory). Only ever compared with `started_ms`. 0 without such volumes.
    pub content_since_ms: u64,
    /// All its containers run now; false: one has exited and waits to be started again.
    pub running: bool,
    /// It answers its own readiness probe: asked itself, not whoever answers on the shared port.
    pub ready: bool,
    /// It was told to end: its pod has a deletionTimestamp. (A copy whose file is gone or
    /// is another generation's counts as told to end by itself.)
    pub terminating: bool,
    /// How often the kubelet has started its containers again.
    pub restarts: u32,
}

/// What the API says of the component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiView {
    /// A pod of it, not being deleted, is bound to this node, whether it runs yet or not.
    pub expected: bool,
    /// Its DaemonSet, Deployment, … exists and is not being deleted. True for a pod without parent
    /// that exists.
    pub parent_exists: bool,
    /// Another node's instance serves. Must be known from something that this instance or its
    /// kubelet renews by itself (a lease whose renewal was seen), never from a pod's status alone:
    /// that stays `Ready` when nobody is left to change it.
    pub others_serve: bool,
}
