//! Files as they shall be on a host: content, mode and owner. What is so already is left alone, so that whoever was killed
//! goes on where he was.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fs::{self, FsError, Owner};

/// A file as it shall be.
#[derive(Clone, PartialEq, Eq)]
pub struct HostFile {
    /// Where it goes.
    pub path: PathBuf,
    /// What it says.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its user and group; the caller's own without one.
    pub owner: Owner,
}

impl std::fmt::Debug for HostFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostFile({}, {:o})", self.path.display(), self.mode)
    }
}

impl HostFile {
    /// Whether it is there with this content.
    pub fn has_content(&self) -> bool {
        fs::read(&self.path).is_ok_and(|content| content == self.content)
    }

    /// Whether it is there as it shall be.
    pub fn is_placed(&self) -> bool {
        let Ok(metadata) = std::fs::metadata(&self.path) else { return false };
        let owned = self.owner.is_none_or(|owner| owner == (metadata.uid(), metadata.gid()));
        owned && metadata.mode() & 0o7777 == self.mode && self.has_content()
    }

    /// The directory's mode: its owner's, and open to the group when the group may read the file.
    fn dir_mode(&self) -> u32 {
        if self.mode & 0o040 == 0 { 0o700 } else { 0o750 }
    }
}

/// Writes what is not there yet as it shall be; returns where. Directories of files with an owner belong to that owner and
/// are closed to all others, also when they are there already: whoever made one may have been killed before it was given
/// away.
///
/// # Errors
/// When a file cannot be written; those written before stay, and are adopted the next time.
pub fn place(files: &[HostFile]) -> Result<Vec<PathBuf>, FsError> {
    let mut written = Vec::new();
    for file in files {
        if let Some(dir) = file.path.parent() {
            make_dir(dir, file.owner.map(|owner| (owner, file.dir_mode())))?;
        }
        if !file.is_placed() {
            fs::write_owned(&file.path, &file.content, file.mode, file.owner)?;
            written.push(file.path.clone());
        }
    }
    Ok(written)
}

/// Makes directories that belong to their owner alone; what is in them stays.
///
/// # Errors
/// When one cannot be made.
pub fn make_dirs(dirs: &[(PathBuf, Owner)]) -> Result<(), FsError> {
    dirs.iter().try_for_each(|(dir, owner)| make_dir(dir, owner.map(|owner| (owner, 0o700))))
}

fn make_dir(dir: &Path, owned: Option<((u32, u32), u32)>) -> Result<(), FsError> {
    let there = std::fs::metadata(dir).ok().filter(std::fs::Metadata::is_dir);
    if there.is_none()
        && let Some(parent) = dir.parent()
    {
        make_dir(parent, None)?;
    }
    match owned {
        Some(((uid, gid), mode)) => {
            let same = |m: &std::fs::Metadata| (m.uid(), m.gid(), m.mode() & 0o7777) == (uid, gid, mode);
            if there.is_some_and(|metadata| same(&metadata)) {
                return Ok(());
            }
            fs::create_dir_all(dir, mode)?;
            fs::chown(dir, uid, gid)
        }
        None if there.is_some() => Ok(()),
        None => fs::create_dir_all(dir, 0o755),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Whose the tests are: chown to oneself needs no privilege.
    fn me(dir: &Path) -> (u32, u32) {
        let metadata = std::fs::metadata(dir).unwrap();
        (metadata.uid(), metadata.gid())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_there_is_adopted_and_keys_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/tls/ca.key");
        let owner = Some(me(dir.path()));
        let file = HostFile { path: path.clone(), content: b"key".to_vec(), mode: 0o400, owner };
        assert_eq!(place(std::slice::from_ref(&file)).unwrap(), std::slice::from_ref(&path));
        assert_eq!(place(std::slice::from_ref(&file)).unwrap(), [] as [PathBuf; 0]);
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o400));
        // As a kill between making and giving away leaves it; and a file that somebody opened.
        let parent = path.parent().unwrap();
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(place(std::slice::from_ref(&file)).unwrap(), std::slice::from_ref(&path));
        assert_eq!((mode(parent), mode(&path)), (0o700, 0o400));
        let other = HostFile { content: b"other".to_vec(), ..file };
        assert!(!other.has_content() && !other.is_placed());
    }

    #[test]
    fn a_group_that_may_read_a_file_gets_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/ca.key");
        let owner = Some(me(dir.path()));
        place(&[HostFile { path: path.clone(), content: b"key".to_vec(), mode: 0o440, owner }]).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o750, 0o440));
        make_dirs(&[(dir.path().join("data"), owner)]).unwrap();
        assert_eq!(mode(&dir.path().join("data")), 0o700);
    }
}
