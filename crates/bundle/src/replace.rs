//! A directory that appears whole: it is made under a hidden name beside its place, and takes
//! that place in one step. Whoever is killed before leaves the place as it was.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use host::lock::{Lock, Taken};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::{BundleError, Result};

/// A directory in the making. Dropped without [`Staged::publish`], it is removed.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
    target: PathBuf,
    /// Nobody else works on the same target meanwhile.
    _lock: Lock,
}

impl Staged {
    /// An empty directory that will be `target`. What an earlier, killed attempt left is removed.
    ///
    /// # Errors
    /// [`BundleError::Busy`] when another process is at it, or what the file system answered.
    pub(crate) fn new(target: &Path) -> Result<Self> {
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".new");
        let path = parent.join(name);
        fs::create_dir_all(&path).map_err(BundleError::io("create directory", &path))?;
        let lock = match host::lock::take(&path)? {
            Taken::Ours(lock) => lock,
            Taken::Theirs(_) => return Err(BundleError::Busy { dir: target.to_owned() }),
        };
        let staged = Self { path, target: target.to_owned(), _lock: lock };
        for left in host::fs::list(&staged.path)? {
            if left.is_dir() {
                host::fs::remove_dir_all(&left)?;
            } else {
                host::fs::remove_file(&left)?;
            }
        }
        Ok(staged)
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place; what was there is removed.
    ///
    /// # Errors
    /// What the file system answered; the place is as it was then.
    pub(crate) fn publish(self) -> Result<()> {
        match renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::EXCHANGE) {
            // The old one goes when `self` is dropped.
            Ok(()) => Ok(()),
            // Nothing to exchange with, or a file system that cannot.
            Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => {
                host::fs::remove_dir_all(&self.target)?;
                Ok(host::fs::rename(&self.path, &self.target)?)
            }
            Err(e) => Err(BundleError::io("replace", &self.target)(e.into())),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The next attempt removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged_with(target: &Path, text: &str) -> Staged {
        let staged = Staged::new(target).unwrap();
        host::fs::write(&staged.path().join("x"), text.as_bytes(), 0o644).unwrap();
        staged
    }

    #[test]
    fn a_directory_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t");
        for text in ["one", "two"] {
            staged_with(&target, text).publish().unwrap();
            assert_eq!(host::fs::read_to_string(&target.join("x")).unwrap(), text);
            assert_eq!(host::fs::list(dir.path()).unwrap(), std::slice::from_ref(&target));
        }
        drop(staged_with(&target, "three"));
        assert_eq!(host::fs::read_to_string(&target.join("x")).unwrap(), "two");
        assert_eq!(host::fs::list(dir.path()).unwrap(), [target]);
    }

    #[test]
    fn one_at_a_time_and_the_rest_of_a_killed_one_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("t");
        let first = staged_with(&target, "one");
        assert!(matches!(Staged::new(&target).unwrap_err(), BundleError::Busy { .. }));
        // As a kill would: the lock is gone, the directory stays.
        let left = first.path().to_owned();
        drop(first);
        host::fs::create_dir_all(&left.join("blobs/half"), 0o755).unwrap();
        let second = Staged::new(&target).unwrap();
        assert!(host::fs::list(second.path()).unwrap().is_empty());
    }
}
