//! The checkout, and where cargo builds it.

use std::path::{Path, PathBuf};

/// The target that `.cargo/config.toml` names; static binaries need a named one.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
