//! Where the sandboxes of a directory are, and the lock of whoever changes one.

use std::path::PathBuf;

use host::lock::Lock;

use crate::error::Result;
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

    pub(crate) fn lock(&self) -> Result<Lock> {
        host::fs::create_dir_all(&self.dir, 0o700)?;
        Ok(host::lock::wait(&self.dir)?)
    }
}
