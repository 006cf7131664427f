//! Would this node come back right now, with no API and no registry? And: what runs where, from
//! which source?
//!
//! ```text
//! files below a root ──┐                      ┌─▶ Diagnosis: every check with its remedy, one verdict
//! container runtime ───┼─ look ─▶ judge ──────┤
//! kubelet, etcd ───────┘                      └─▶ the guardian's published report, for other nodes
//! ```
//!
//! Everything is read first and judged then, by functions that take what was read. Nothing is changed
//! but for a probe file that shows whether a directory can be written. The root is a parameter: the
//! guardian runs the same checks on `/proc/1/root`.

pub mod address;
mod certificates;
mod check;
mod checks;
mod diagnose;
mod files;
mod manifests;
pub mod report;
mod runtime;
mod source;
pub mod status;
mod units;

pub use certificates::{Limits, words};
pub use check::{Diagnosis, Verdict};
pub use diagnose::{Options, diagnose};
pub use files::Files;

#[cfg(test)]
mod diagnose_tests;
#[cfg(test)]
mod fixture;
