//! `cargo xtask ci`: what must hold before a change lands. `.ci/run` is this.

use anyhow::Result;

use crate::build::{cargo, cargo_while_idle};
use crate::idle::Idle;
use crate::test;

/// Checks the format, then runs all tests, with the lints beside the first of those on clusters, which mostly wait.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    test::everything(false, lints)
}

fn lints(idle: &Idle) -> Result<()> {
    let args = ["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    cargo_while_idle(idle, &args)
}
