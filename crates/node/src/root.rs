//! The file system that a node is installed in.

use std::path::{Path, PathBuf};

/// The directory that stands for `/`: `/` itself on a host, a temporary one in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The host's own file system.
    pub fn host() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A file system below `dir`.
    pub fn below(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// True for the host's own file system: only there is it of use to look at modules and units.
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where an absolute path of the node lies for us.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
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
