//! Brings up a self-hosted control plane on a host whose kubelet runs, from an asset directory in
//! bootkube's layout: a temporary control plane as static pods, the manifests injected into it, the
//! pivot to the control plane that runs as pods of the API, and the end of the temporary one.
//!
//! ```text
//!  observe ─▶ plan ─▶ stage ─▶ api ─▶ inject ─▶ ready ─▶ addons ─▶ checkpoint ─▶ pivot ─▶ verify
//!     │                 └─────────────────────── steering ───────────────────────┘        │
//!     └─ files, container runtime, API: never a marker of its own ◀───────────────────────┘
//! ```
//!
//! Every step adopts what it finds, so that it can be killed at any moment and run again. While the
//! API moves, [`steer`] sees to it that only a Ready apiserver gets connections.

mod addons;
mod answer;
mod assets;
mod belongs;
mod checkpointed;
mod context;
mod diagnosis;
mod error;
mod event;
mod external;
mod follow;
mod gap;
mod inject;
mod node_object;
mod observe;
mod options;
mod outdated;
mod pivot;
mod plan;
mod readdress;
mod ready;
mod registered;
mod required;
mod rights;
mod serving;
mod signed;
mod stage;
mod standing;
mod start;
mod steering;
mod surroundings;
mod verify;
mod whole;
mod workloads;

pub use assets::{api_host, api_port, images};
pub use error::StartError;
pub use event::{Event, Progress, Reporter, Step};
pub use external::external_etcd;
pub use follow::follow;
pub use gap::Gap;
pub use node_object::NodeObject;
pub use options::{DEFAULT_REQUIRED_PODS, Options, required};
pub use plan::{Observed, Plan, Planned, plan};
pub use readdress::{come_back, move_files, rejoin};
pub use required::{InvalidRequiredPod, PodPrefix, RequiredPod};
pub use stage::FileState;
pub use standing::is_self_hosted;
pub use start::{Summary, client, dry_run, start};
pub use steer::probe::Probe;
pub use surroundings::{Answer, Surroundings, ThisHost, Watch};
pub use whole::all_ready;
pub use workloads::{PodIdentity, Standing};
