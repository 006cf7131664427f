//! Checks: what each of them found, in one form for all verbs, and the registry of which there are.
//!
//! ```text
//! kind::PORT.of(6443) ─┐
//! kind::SWAP ──────────┴─▶ Check { name, result, what, remedy } ─▶ up, start, upgrade: go on or not
//!   │                                                           └▶ doctor: does the node come back
//!   └── ALL ─▶ `kubestrap doctor --list`, docs/checks.md
//! ```
//!
//! A check is made with a name of the registry only, so that there is none that the pages do not tell
//! of. Names are kubeadm's where kubeadm has such a check, and stable: `--ignore-preflight-errors` takes
//! them, and scripts read them. Pure.

mod check;
mod model;
mod registry;

pub use check::{Check, Outcome};
pub use model::{Kind, Name, Verb};
pub use registry::{ALL, kind};
