//! `cargo xtask ci`: what must hold before a change lands. `.ci/run` is this.

use anyhow::Result;

use crate::build::{self, cargo};
use crate::test::{self, TestArgs};

/// Checks the format, then the lints, then runs all tests; ends at the first that fails.
pub(crate) fn run() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    build::install_packages()?;
    cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    test::run(TestArgs::default())
}
