//! Checkpoints: copies of control-plane pods on the node's disk that a kubelet can start with no API.
//!
//! In: a pod of the API, and the files that the kubelet made of its Secrets and ConfigMaps. Out: a *generation*
//! on disk (manifest and files in one directory, written atomically), and its manifest in the kubelet's static
//! pod directory when somebody places it. No async, no network, no clock: what to do when is the caller's.
//!
//! ```text
//! pod of the API ──┐                        ┌──────────── Store ────────────┐
//! kubelet's files ─┴─ expected ─────────────► 000001-…  000002-…  good ─► 1 ├─ StaticDir::place ─► kubelet
//!                                           └───────────────────────────────┘
//! ```
//!
//! The same pod with the same files has the same digest on each node and at each time, so a running instance
//! can be recognised as one that a generation is a copy of.

mod build;
mod check;
mod component;
mod digest;
mod env;
mod error;
mod expected;
pub mod fault;
mod generation;
mod id;
mod manifest;
mod placed;
mod source;
mod store;
mod tree;
mod verify;
mod volumes;
mod writing;

pub use build::{Checkpoint, Inputs, build};
pub use component::{Component, Parent, SourcePod, is_mirror, revision, wants_checkpoint};
pub use digest::Digest;
pub use env::{Environment, parse_environment};
pub use error::{BuildError, Problem, StoreError};
pub use expected::{Expected, ExpectedError, Lacking, Running, expected, kept};
pub use generation::Generation;
pub use id::{GenerationId, NoGenerationId};
pub use placed::{PlaceError, StaticDir};
pub use store::{KEPT, Store};
pub use tree::{Entry, Kind, Tree};
pub use verify::manifest_problems;
pub use volumes::{Volumes, VolumesError, read_volumes};
