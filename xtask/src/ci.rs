//! `cargo xtask ci`: what must hold before a change lands. `.ci/run` is this.

use anyhow::Result;

use crate::build::{cargo, cargo_while_idle};
use crate::idle::Idle;
use crate::{logged, test};

/// Checks the format, then runs the core of the tests, with the lints beside those on clusters, which mostly wait.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    test::core_beside(lints)
}

fn lints(idle: &Idle) -> Result<()> {
    let args = ["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    logged::succeeds("lints", &cargo_while_idle(idle).args(args))
}
