//! What runs on this node, asked of the container runtime itself: a thin client of CRI v1 over its
//! unix socket. It works when no API server does, which is when it is needed: to wait for the
//! temporary control plane, to say why it does not come up, and to see that it is gone.
//!
//! ```text
//!   Cri ──unix socket──▶ containerd (runtime.v1.RuntimeService, ImageService)
//!    │                        │
//!    │  diagnose              └─▶ /var/log/pods/…/0.log ──▶ log::tail
//!    └─▶ PodDiagnosis: sandbox, containers, exit codes, last log lines, missing images
//! ```
//!
//! Every call has a time limit, so a runtime that hangs is an error and not a wait for ever.

mod client;
mod diagnose;
mod error;
mod events;
pub mod log;
mod model;

pub use client::{Cri, Filter};
pub use diagnose::{ContainerDiagnosis, PodDiagnosis, PodSelector};
pub use error::CriError;
pub use events::{ContainerChange, ContainerEvent, ContainerEvents};
pub use log::{LogLine, Stream, log_tail};
pub use model::{
    CgroupDriver, Condition, Container, ContainerState, ContainerStatus, Image, Pod, PodState, RuntimeStatus,
    Version,
};
