//! The file system that a node is installed in, and the machine that it belongs to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::machine::{Machine, Off, This};

/// The directory that stands for `/` (`/` itself on a host, a temporary one in tests), and what runs there.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
    machine: Arc<dyn Machine>,
}

impl Root {
    /// The host's own file system.
    pub fn host() -> Self {
        Self::of("/", Arc::new(This))
    }

    /// A file system below `dir`, to be looked at: nothing is run there.
    pub fn below(dir: impl Into<PathBuf>) -> Self {
        Self::of(dir, Arc::new(Off))
    }

    /// The file system of a machine.
    pub fn of(dir: impl Into<PathBuf>, machine: Arc<dyn Machine>) -> Self {
        Self { dir: dir.into(), machine }
    }

    /// What runs there.
    pub fn machine(&self) -> &dyn Machine {
        &*self.machine
    }

    /// True for the host's own file system.
    pub fn is_host(&self) -> bool {
        self.dir == Path::new("/")
    }

    /// Where an absolute path of the node lies for us.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.dir.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_lie_below_the_root() {
        assert_eq!(Root::host().path("/etc/hosts"), Path::new("/etc/hosts"));
        assert_eq!(Root::below("/tmp/x").path("/etc/hosts"), Path::new("/tmp/x/etc/hosts"));
    }
}
