//! Puts the temporary control plane in place and takes it away again. A file that is there with
//! the same content is adopted, so that a bring-up that was killed goes on where it was.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::StartError;

/// A file that a bring-up puts on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFile {
    /// Where it goes.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) content: Vec<u8>,
    /// Its mode.
    pub(crate) mode: u32,
    /// Its user and group; ours without one.
    pub(crate) owner: host::fs::Owner,
}

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

/// Writes what is not there yet; returns how many files that were. Directories that are made on
/// the way belong to the file's owner and are closed to all others.
///
/// # Errors
/// When a file cannot be written; those written before stay, and are adopted the next time.
pub(crate) fn place(files: &[HostFile]) -> Result<usize, StartError> {
    let mut written = 0;
    for file in files {
        if state(file) == FileState::Same && is_owned(&file.path, file.owner) {
            continue;
        }
        if let Some(dir) = file.path.parent() {
            make_dirs(dir, file.owner)?;
        }
        host::fs::write_owned(&file.path, &file.content, file.mode, file.owner)?;
        written += 1;
    }
    Ok(written)
}

fn is_owned(path: &Path, owner: host::fs::Owner) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some((uid, gid)) = owner else { return true };
    std::fs::metadata(path).is_ok_and(|m| m.uid() == uid && m.gid() == gid)
}

/// A directory with an owner is made to be its alone, also when it is there already: whoever made it
/// may have been killed before it was given away.
fn make_dirs(dir: &Path, owner: host::fs::Owner) -> Result<(), StartError> {
    let exists = dir.is_dir();
    if !exists && let Some(parent) = dir.parent() {
        make_dirs(parent, None)?;
    }
    match owner {
        Some((uid, gid)) => {
            host::fs::create_dir_all(dir, 0o700)?;
            host::fs::chown(dir, uid, gid)?;
        }
        None if exists => {}
        None => host::fs::create_dir_all(dir, 0o755)?,
    }
    Ok(())
}

/// Makes directories that belong to their owner alone; what is in them stays.
///
/// # Errors
/// When one cannot be made.
pub(crate) fn make_data_dirs(dirs: &[(PathBuf, host::fs::Owner)]) -> Result<(), StartError> {
    for (dir, owner) in dirs {
        make_dirs(dir, *owner)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_there_is_adopted_and_secrets_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bootstrap-secrets/tls/ca.key");
        // Whose the tests are: chown to oneself needs no privilege.
        let me = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
        let group = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(dir.path()).unwrap());
        let file =
            HostFile { path: path.clone(), content: b"key".to_vec(), mode: 0o600, owner: Some((me, group)) };
        assert_eq!(state(&file), FileState::Missing);
        assert_eq!(place(std::slice::from_ref(&file)).unwrap(), 1);
        assert_eq!(place(std::slice::from_ref(&file)).unwrap(), 0);
        let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // As a kill between making and giving away leaves it.
        let dir = path.parent().unwrap();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        make_data_dirs(&[(dir.to_owned(), Some((me, group)))]).unwrap();
        assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
        let other = HostFile { content: b"other".to_vec(), ..file };
        assert_eq!(state(&other), FileState::Different);
        assert!(remove(&[path]).unwrap());
        assert_eq!(state(&other), FileState::Missing);
    }
}
