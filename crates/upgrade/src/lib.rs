//! The upgrade of a cluster that runs: another Kubernetes version, or another config.
//!
//! ```text
//!  asset dir + config ──render──▶ objects as they shall be ─┐
//!  API, runtime, files ──look──▶ Observed ──────────────────┴▶ plan ─▶ Plan ─▶ execute
//!                                                                │       each step gated; a gate
//!                                                      --dry-run prints it  that fails: step back
//! ```
//!
//! The difference between what is there and what shall be is the plan; so a run that was killed goes on
//! by planning again. What is remembered on disk is only what cannot be read any more once it is changed:
//! the objects and files as they were before, for the step back ([`StateDir`]).

mod back;
#[cfg(test)]
mod back_tests;
mod before;
mod checks;
mod compare;
mod diff;
mod direction;
mod drain;
mod error;
mod event;
mod execute;
#[cfg(test)]
mod fixture;
mod gate;
mod immutable;
mod lifecycle;
mod look;
mod node_files;
mod observed;
mod part;
mod plan;
mod programs;
mod rollout;
mod sight;
mod stamp;
mod target;
mod text;
mod tools;

pub use before::StateDir;
pub use diff::{Change, Field};
pub use direction::Direction;
pub use error::UpgradeError;
pub use event::Event;
pub use execute::{Done, Failed, Upgrade};
pub use gate::Patience;
pub use immutable::immutable;
pub use lifecycle::DeprecatedApi;
pub use look::Looked;
pub use observed::{
    CertificateState, DrainState, EtcdState, FlagAnswer, ImageState, NodeState, Observed, PartState,
    UnfinishedState,
};
pub use part::{Part, objects};
pub use plan::{Plan, Step, plan};
pub use target::Target;
