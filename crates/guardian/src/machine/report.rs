//! What people are told, each thing once.

use std::fmt;

use super::{ActionKind, GenerationId};

/// News for Kubernetes Events and the published report. `Display` is the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A copy was started because nobody served, and no revision is to blame.
    Restored { generation: GenerationId, cause: Cause },
    /// A copy was started because what the API wants does not work.
    Reverted { generation: GenerationId, revision: String, cause: Cause },
    /// The copy did not work either; another generation takes its place.
    CopyFailed { failed: GenerationId, generation: GenerationId, exits: u32 },
    /// The copy does not work, and it is the only one.
    NoOther { generation: GenerationId, exits: u32 },
    /// Nobody serves and there is no generation left to try.
    NothingToPlace,
    /// No copy may run: its data is not this cluster's.
    Withheld,
    /// The copy serves, and nothing in the API will ever take over from it.
    Orphaned { generation: GenerationId },
    /// A generation became the last known good one.
    Promoted { generation: GenerationId },
    /// The copy was taken away: another instance serves.
    Released { generation: GenerationId },
    /// An action failed for the first time in a row.
    Failed { action: ActionKind, error: String },
    /// An action that had failed has succeeded.
    Recovered { action: ActionKind },
    /// The node or component is not wanted any more, but nobody else serves: all is kept.
    Kept,
    /// Copy and generations were taken away.
    Uninstalled,
}

/// Why a copy was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing ran since the guardian began: the node was started.
    Boot,
    /// Nothing runs any more.
    Stopped,
    /// The only instance was told to end and has no successor.
    Ending,
    /// It was started again and again without becoming Ready, or crashed before it was proven.
    Crashed { restarts: u32 },
    /// It runs, was Ready and is not any more.
    Failing,
    /// It never became Ready.
    NeverReady,
    /// The static pod that was there is of no whole generation.
    ForeignCopy,
}

impl Report {
    /// The reason of the Kubernetes Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Restored { .. } => "Restored",
            Self::Reverted { .. } => "Reverted",
            Self::CopyFailed { .. } | Self::NoOther { .. } => "CheckpointFailed",
            Self::NothingToPlace => "NothingToRestore",
            Self::Withheld => "Withheld",
            Self::Orphaned { .. } => "Orphaned",
            Self::Promoted { .. } => "Promoted",
            Self::Released { .. } => "Released",
            Self::Failed { action: ActionKind::Write, .. } => "WriteFailed",
            Self::Failed { .. } => "GuardianFailed",
            Self::Recovered { .. } => "GuardianRecovered",
            Self::Kept => "Kept",
            Self::Uninstalled => "Uninstalled",
        }
    }

    /// Is somebody's attention needed?
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::Promoted { .. }
                | Self::Released { .. }
                | Self::Restored { .. }
                | Self::Recovered { .. }
                | Self::Uninstalled
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored { generation, cause } => write!(f, "checkpoint {generation} was started: {cause}"),
            Self::Reverted { generation, revision, cause } => {
                write!(
                    f,
                    "revision {} does not work: {cause}; checkpoint {generation} was started",
                    named(revision)
                )
            }
            Self::CopyFailed { failed, generation, exits } => {
                write!(
                    f,
                    "checkpoint {failed} did not become ready ({exits} exits); {generation} was started instead"
                )
            }
            Self::NoOther { generation, exits } => write!(
                f,
                "checkpoint {generation} did not become ready ({exits} exits); there is no other, so that it is tried on"
            ),
            Self::NothingToPlace => write!(f, "nobody serves and there is no checkpoint to start"),
            Self::Withheld => write!(
                f,
                "no checkpoint is started: etcd's data on this node is not that of its member; `kubestrap doctor` says more"
            ),
            Self::Orphaned { generation } => {
                write!(f, "checkpoint {generation} serves, and its parent object is gone: apply it again")
            }
            Self::Promoted { generation } => write!(f, "checkpoint {generation} is the last known good one"),
            Self::Released { generation } => {
                write!(f, "checkpoint {generation} was taken away: the API's pod serves")
            }
            Self::Failed { action, error } => {
                write!(f, "cannot {action}: {error}; tried again until it works")
            }
            Self::Recovered { action } => write!(f, "could {action} again"),
            Self::Kept => write!(f, "not wanted here any more, but nobody else serves: checkpoints are kept"),
            Self::Uninstalled => write!(f, "checkpoints were taken away: not wanted here any more"),
        }
    }
}

/// An unnamed revision is still one.
fn named(revision: &str) -> &str {
    if revision.is_empty() { "(unknown)" } else { revision }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => write!(f, "nothing ran when the node was started"),
            Self::Stopped => write!(f, "nothing ran any more"),
            Self::Ending => write!(f, "the only instance ends and has no successor"),
            Self::Crashed { restarts } => write!(f, "it crashed (started again {restarts} times)"),
            Self::Failing => write!(f, "it was ready and is not any more"),
            Self::NeverReady => write!(f, "it did not become ready"),
            Self::ForeignCopy => write!(f, "the static pod that was there is of no whole generation"),
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write a checkpoint",
            Self::Promote => "promote a checkpoint",
            Self::Prune => "delete old checkpoints",
            Self::Place => "start a checkpoint",
            Self::Remove => "take a checkpoint's static pod away",
            Self::Uninstall => "take the checkpoints away",
        })
    }
}
