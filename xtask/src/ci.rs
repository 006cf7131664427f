//! `cargo xtask ci`: what must hold before a change lands. `.ci/run` is this.

use anyhow::Result;

use crate::build::{self, cargo};
use crate::test;

/// Checks the format, then runs all tests, and checks the lints beside those that mostly wait.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    test::all_and_lints()
}

/// Checks the lints.
pub(crate) fn lint() -> Result<()> {
    build::install_packages()?;
    cargo(&["clippy", "--quiet", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"])
}
