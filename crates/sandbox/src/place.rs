//! Where the sandboxes of a directory are, and the lock of whoever changes one.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::error::{Result, Tried};
use crate::name::Name;

/// All sandboxes of one directory.
#[derive(Debug, Clone)]
pub struct Sandboxes {
    pub(crate) dir: PathBuf,
    pub(crate) program: PathBuf,
}

impl Sandboxes {
    pub(crate) fn home(&self, name: &Name) -> PathBuf {
        self.dir.join(name.as_str())
    }

    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        let what = || format!("lock {}", path.display());
        loop {
            host::fs::create_dir_all(&self.dir, 0o700)?;
            let file = File::options().append(true).create(true).open(&path).tried(what)?;
            rustix::fs::flock(&file, FlockOperation::LockExclusive).tried(what)?;
            // Whoever had it before may have removed it with the last sandbox.
            let mine = file.metadata().tried(what)?.ino();
            if std::fs::metadata(&path).is_ok_and(|now| now.ino() == mine) {
                return Ok(file);
            }
        }
    }
}
