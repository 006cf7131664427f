//! Symbolic links on a node's disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::{Result, Tried};

/// Makes a link where nothing is yet.
pub(crate) fn link(target: &str, at: &Path) -> Result<()> {
    match fs::symlink_metadata(at) {
        Ok(_) => Ok(()),
        Err(_) => symlink(target, at).tried(|| format!("make the link {}", at.display())),
    }
}
