//! A node's files as its own processes see them, below any root: a link that is absolute leads
//! below that root and not into ours. The guardian reads its node that way, at `/proc/1/root`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use node::Root;

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINKS: usize = 40;
/// Larger files are neither certificates nor manifests, in bytes. A Secret holds 1 MiB at most.
const LARGEST: u64 = 2 << 20;

/// The files below a root.
#[derive(Clone, Debug)]
pub struct Files {
    root: Root,
}

impl Files {
    /// The files below that root.
    pub fn new(root: Root) -> Self {
        Self { root }
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Where an absolute path of the node lies for us, with all its links followed. A part that is
    /// missing is taken as it stands.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        if self.root.is_host() {
            return absolute.to_owned();
        }
        self.resolve(absolute)
    }

    fn resolve(&self, absolute: &Path) -> PathBuf {
        let mut left: VecDeque<OsString> = parts(absolute).collect();
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            match fs::read_link(self.root.path(&next)) {
                // Nothing lies there, and least of all where our own root's links would lead.
                Ok(_) if links == LINKS => return self.root.path(next).join("too many links"),
                Ok(target) => {
                    links += 1;
                    if target.is_absolute() {
                        done = PathBuf::from("/");
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(part);
                    }
                }
                Err(_) => done = next,
            }
        }
        self.root.path(done)
    }

    /// A text file.
    ///
    /// # Errors
    /// When it cannot be read or is larger than any that is looked at here.
    pub fn text(&self, absolute: impl AsRef<Path>) -> io::Result<String> {
        small_text(&self.path(absolute))
    }

    /// True when something is there.
    ///
    /// # Errors
    /// When that cannot be found out, as without the right to look.
    pub fn exists(&self, absolute: impl AsRef<Path>) -> io::Result<bool> {
        self.path(absolute).try_exists()
    }

    /// True when the path is a directory.
    pub fn is_dir(&self, absolute: impl AsRef<Path>) -> bool {
        self.path(absolute).is_dir()
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// A text file that is no larger than a Secret.
pub(crate) fn small_text(path: &Path) -> io::Result<String> {
    host::fs::read_small_text(path, LARGEST).map_err(|error| error.source)
}

/// All regular files of a tree, sorted; links are not followed.
pub(crate) fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in host::fs::list(&dir).unwrap_or_default() {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => dirs.push(path),
                Ok(metadata) if metadata.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        host::fs::create_dir_all(&dir.path().join("var/lib/pki"), 0o755).unwrap();
        host::fs::write(&dir.path().join("var/lib/pki/a.pem"), b"text", 0o644).unwrap();
        symlink("/var/lib/pki/a.pem", dir.path().join("var/lib/pki/current.pem")).unwrap();
        symlink("../var/lib", dir.path().join("var/up")).unwrap();
        symlink("/var/up/pki", dir.path().join("short")).unwrap();
        for path in
            ["/var/lib/pki/current.pem", "/short/current.pem", "/var/up/pki/a.pem", "/short/../pki/a.pem"]
        {
            assert_eq!(files.text(path).unwrap(), "text", "{path}");
        }
        assert!(!files.exists("/short/missing").unwrap());
        symlink("/etc/passwd", dir.path().join("outside")).unwrap();
        assert!(!files.exists("/outside").unwrap(), "the root's own /etc/passwd is meant");
    }

    #[test]
    fn a_ring_of_links_ends() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/b", dir.path().join("a")).unwrap();
        symlink("/a", dir.path().join("b")).unwrap();
        assert!(Files::new(Root::below(dir.path())).text("/a").is_err());
    }
}
