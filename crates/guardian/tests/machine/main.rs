//! The state machine against a model of a node: named scenarios, random sequences, and the table
//! in docs/guardian.md.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod kubelet;
mod node;
mod random;
mod rank;
mod scenarios;
mod table;
mod witness;
