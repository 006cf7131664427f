//! A directory tree in memory: what a volume holds, with owners and modes as its pod sees them.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

/// Permissions with the set-user-id, set-group-id and sticky bits.
const MODE_BITS: u32 = 0o7777;

/// Everything below one directory, the directory itself included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    entries: Vec<Entry>,
}

/// A file or directory of a [`Tree`].
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, relative to the tree's root, which itself is the empty path; `/` between the parts.
    pub path: String,
    /// Its permissions, set-group-id and sticky bits included.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
    /// And of which group.
    pub gid: u32,
    /// What it is.
    pub kind: Kind,
}

/// What an [`Entry`] is.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory; what it holds are entries of their own.
    Dir,
    /// A regular file and all it says.
    File(Vec<u8>),
}

impl Tree {
    /// A tree of these entries; they are put in order.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Self { entries }
    }

    /// All entries in the order of their paths: a directory comes before what it holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What a file says; `None` when there is none at this path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let entry = self.entries.iter().find(|entry| entry.path == path)?;
        match &entry.kind {
            Kind::File(content) => Some(content),
            Kind::Dir => None,
        }
    }

    /// The tree without the files at these paths, and without directories that are empty then.
    pub(crate) fn without(&self, paths: &[&str]) -> Self {
        let file =
            |entry: &&Entry| matches!(entry.kind, Kind::File(_)) && !paths.contains(&entry.path.as_str());
        let left: Vec<&Entry> = self.entries.iter().filter(file).collect();
        let holds = |dir: &str| {
            let inside = |path: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
            dir.is_empty() || left.iter().any(|entry| inside(&entry.path))
        };
        let dirs = self.entries.iter().filter(|entry| matches!(entry.kind, Kind::Dir) && holds(&entry.path));
        Self::new(dirs.chain(left.iter().copied()).cloned().collect())
    }
}

// Never the content: it is keys, and what is printed for debugging ends up in logs.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, uid, gid, kind } = self;
        let size = match kind {
            Kind::Dir => "directory".to_owned(),
            Kind::File(content) => format!("{} bytes", content.len()),
        };
        write!(f, "{path:?} {mode:o} {uid}:{gid} {size}")
    }
}

/// Why a tree could not be read; paths are relative to its root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// The kernel refused.
    #[error("cannot read {path}")]
    Io { path: String, source: io::Error },
    /// A device, a socket, a symbolic link.
    #[error("{path} is neither a file nor a directory")]
    Odd { path: String },
}

impl TreeError {
    fn io(path: &str, errno: Errno) -> Self {
        Self::Io { path: path.to_owned(), source: errno.into() }
    }
}

/// Reads all below an open directory; symbolic links are never followed.
pub(crate) fn read_tree(dir: BorrowedFd<'_>) -> Result<Tree, TreeError> {
    let stat = fstat(dir).map_err(|errno| TreeError::io("", errno))?;
    let mut entries = vec![entry("", &stat, Kind::Dir)];
    walk(dir, "", &mut entries)?;
    Ok(Tree::new(entries))
}

fn walk(dir: BorrowedFd<'_>, at: &str, entries: &mut Vec<Entry>) -> Result<(), TreeError> {
    let listing = Dir::read_from(dir).map_err(|errno| TreeError::io(at, errno))?;
    for item in listing {
        let item = item.map_err(|errno| TreeError::io(at, errno))?;
        let name = item.file_name();
        if ![c".", c".."].contains(&name) {
            let separator = if at.is_empty() { "" } else { "/" };
            let path = format!("{at}{separator}{}", name.to_string_lossy());
            read_entry(dir, name, path, entries)?;
        }
    }
    Ok(())
}

fn read_entry(
    dir: BorrowedFd<'_>,
    name: &CStr,
    path: String,
    entries: &mut Vec<Entry>,
) -> Result<(), TreeError> {
    let failed = |errno| TreeError::io(&path, errno);
    let kind = FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?.st_mode);
    if ![FileType::Directory, FileType::RegularFile].contains(&kind) {
        return Err(TreeError::Odd { path });
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&opened).map_err(failed)?;
    if kind == FileType::Directory {
        entries.push(entry(&path, &stat, Kind::Dir));
        return walk(opened.as_fd(), &path, entries);
    }
    let mut content = Vec::new();
    let read = File::from(opened).read_to_end(&mut content);
    read.map_err(|source| TreeError::Io { path: path.clone(), source })?;
    entries.push(entry(&path, &stat, Kind::File(content)));
    Ok(())
}

fn entry(path: &str, stat: &Stat, kind: Kind) -> Entry {
    let mode = stat.st_mode & MODE_BITS;
    Entry { path: path.to_owned(), mode, uid: stat.st_uid, gid: stat.st_gid, kind }
}
