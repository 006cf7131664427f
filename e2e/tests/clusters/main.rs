//! Real clusters in sandbox nodes, brought up and looked at as users do it. Run by
//! `cargo xtask test`, one test after the other.

#![expect(clippy::print_stderr, reason = "figures belong into a test's output")]

mod accepted;
mod badchange;
mod coldboot;
mod deletions;
mod failures;
mod foreign;
mod hostile;
mod killed;
mod moments;
mod pivot;
mod upgrade;
mod whole;
