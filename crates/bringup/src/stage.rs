//! Puts the temporary control plane in place and takes it away again. A file that is there with
//! the same content is adopted, so that a bring-up that was killed goes on where it was.

use std::path::PathBuf;

use host::place::HostFile;
use serde::Serialize;

use crate::error::StartError;

/// How a file to be staged stands on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// It is not there.
    Missing,
    /// It is there with the same content.
    Same,
    /// It is there with another content.
    Different,
}

/// Looks at a file without touching it.
pub(crate) fn state(file: &HostFile) -> FileState {
    match host::fs::read(&file.path) {
        Ok(content) if content == file.content => FileState::Same,
        Ok(_) => FileState::Different,
        Err(_) => FileState::Missing,
    }
}

/// Removes files; those that are gone already are fine. Returns whether any was there.
///
/// # Errors
/// When one cannot be removed.
pub(crate) fn remove(paths: &[PathBuf]) -> Result<bool, StartError> {
    let mut removed = false;
    for path in paths {
        removed |= host::fs::remove_file(path)?;
    }
    Ok(removed)
}
