//! File writes that survive a power cut: temp file in the same directory, fsync of the file,
//! rename, fsync of the directory. Every error names the path and what was tried.
#![expect(clippy::disallowed_methods, reason = "this is the one place that may")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Steady;

/// A file operation that failed: what was tried, on which path, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct FsError {
    /// What was tried, as a verb phrase: `write`, `create directory`.
    pub verb: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// What the kernel answered.
    pub source: io::Error,
}

impl FsError {
    /// True when the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// True when the file system has no room left (or a quota is used up).
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, FsError>;

fn tried<T>(verb: &'static str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|source| FsError { verb, path: path.to_owned(), source })
}

/// Who owns a written file; `None` leaves it to the caller's own user.
pub type Owner = Option<(u32, u32)>;

/// Writes a whole file atomically with the given mode: a reader sees the old content or the new
/// one, never a part, and so does the disk after a power cut.
///
/// # Errors
/// [`FsError`]; the old file is intact then and no temp file is left.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_owned(path, content, mode, None)
}

/// As [`write`], and the file belongs to `owner` from the moment it appears.
///
/// # Errors
/// [`FsError`]; the old file is intact then and no temp file is left.
pub fn write_owned(path: &Path, content: &[u8], mode: u32, owner: Owner) -> Result<()> {
    let temp = temp_name(path);
    let result = fill(&temp, content, mode, owner).and_then(|()| fs::rename(&temp, path));
    if result.is_err() {
        // The cause is what counts; a temp file that cannot be removed changes nothing about it.
        let _ = fs::remove_file(&temp);
    }
    tried("write", path, result)?;
    sync_dir(parent(path))
}

/// How many files are made durable at once: file systems commit those that wait together.
const SYNCED_AT_ONCE: usize = 8;

/// A file to be written by [`write_new`].
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Where; nothing is there yet, and its directory is.
    pub path: &'a Path,
    /// What it says.
    pub content: &'a [u8],
    /// Its permissions.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
}

/// Writes many new files, much faster than one by one. Their contents are durable then; their names
/// are when [`rename_all`] has put them in their places.
///
/// # Errors
/// [`FsError`] for the first one that failed; some of the others may be there.
pub fn write_new(files: &[NewFile<'_>]) -> Result<()> {
    let part = files.len().div_ceil(SYNCED_AT_ONCE).max(1);
    let write = |part: &[NewFile<'_>]| {
        part.iter().try_for_each(|f| tried("write", f.path, fill(f.path, f.content, f.mode, f.owner)))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = files.chunks(part).map(|part| scope.spawn(move || write(part))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
    })
}

/// Renames many files and makes that durable, each directory once.
///
/// # Errors
/// [`FsError`] for the first one that failed; those before it are renamed.
pub fn rename_all(pairs: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (from, to) in pairs {
        tried("rename", from, fs::rename(from, to))?;
    }
    let dirs: BTreeSet<&Path> = pairs.iter().map(|(_, to)| parent(to)).collect();
    dirs.into_iter().try_for_each(sync_dir)
}

/// Writes only when the content differs; returns whether it wrote. Mode is set either way.
///
/// # Errors
/// [`FsError`], as [`write`].
pub fn write_if_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        tried("set the mode of", path, fs::set_permissions(path, Permissions::from_mode(mode)))?;
        return Ok(false);
    }
    write(path, content, mode).map(|()| true)
}

fn fill(temp: &Path, content: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
    let mut file = create(temp, mode, owner)?;
    file.write_all(content)?;
    file.sync_all()
}

fn create(temp: &Path, mode: u32, owner: Owner) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temp)?;
    // The umask may have taken bits away at creation.
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

fn temp_name(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // The leading dot matters: a kubelet ignores such files in its static pod directory.
    parent(path).join(format!(".{name}.{}.{n}.tmp", std::process::id()))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Makes the content of a file durable that somebody else has written.
///
/// # Errors
/// [`FsError`] when it cannot be opened or synced.
pub fn sync_file(path: &Path) -> Result<()> {
    tried("sync", path, File::open(path).and_then(|file| file.sync_all()))
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// [`FsError`] when the directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<()> {
    tried("sync directory", dir, File::open(dir).and_then(|d| d.sync_all()))
}

/// Copies a file atomically (see [`write`]) with the given mode; the content is streamed.
///
/// # Errors
/// [`FsError`] for whichever of the two paths failed.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    copy_owned(from, to, mode, None)
}

/// As [`copy`], and the file belongs to `owner` from the moment it appears.
///
/// # Errors
/// As [`copy`].
pub fn copy_owned(from: &Path, to: &Path, mode: u32, owner: Owner) -> Result<()> {
    let mut source = tried("open", from, File::open(from))?;
    let temp = temp_name(to);
    let result = (|| {
        let mut file = Steady::new(create(&temp, mode, owner)?);
        io::copy(&mut source, &mut file)?;
        file.into_inner().sync_all()?;
        fs::rename(&temp, to)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    tried("write", to, result)?;
    sync_dir(parent(to))
}

/// Creates a directory and its parents. The mode is set on the last one only, also when it
/// existed already.
///
/// # Errors
/// [`FsError`] when one of them cannot be created.
pub fn create_dir_all(dir: &Path, mode: u32) -> Result<()> {
    tried("create directory", dir, fs::create_dir_all(dir))?;
    tried("set the mode of", dir, fs::set_permissions(dir, Permissions::from_mode(mode)))
}

/// Sets the mode of a file or directory.
///
/// # Errors
/// [`FsError`] when the path is missing or is not ours.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    tried("set the mode of", path, fs::set_permissions(path, Permissions::from_mode(mode)))
}

/// Gives a file or directory to a user and group.
///
/// # Errors
/// [`FsError`] when the path is missing or we are not root.
pub fn chown(path: &Path, uid: u32, gid: u32) -> Result<()> {
    tried("change the owner of", path, std::os::unix::fs::chown(path, Some(uid), Some(gid)))
}

/// Reads a whole file.
///
/// # Errors
/// [`FsError`] when it is missing or unreadable.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    tried("read", path, fs::read(path))
}

/// Reads a whole regular file of at most `limit` bytes. What lies in a directory that others write to may be anything:
/// nobody waits for the other end of a FIFO here, and nothing without an end is read.
///
/// # Errors
/// [`FsError`] when it is missing, unreadable, larger than that, or no regular file.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>> {
    tried("read", path, small(path, limit))
}

/// Opens a regular file for reading; as [`read_small`], of one that may be large.
///
/// # Errors
/// [`FsError`] when it is missing, unreadable, or no regular file.
pub fn open_regular(path: &Path) -> Result<File> {
    tried("open", path, regular(path))
}

fn regular(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let is_file = file.metadata()?.is_file();
    let other = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    is_file.then_some(file).ok_or_else(other)
}

fn small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = regular(path)?;
    let too_large = |size| io::Error::new(io::ErrorKind::FileTooLarge, format!("it has {size} bytes"));
    let size = file.metadata()?.len();
    if size > limit {
        return Err(too_large(size));
    }
    // It may grow meanwhile, and a file of /proc says nothing about its size.
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    let size = content.len() as u64;
    if size > limit { Err(too_large(size)) } else { Ok(content) }
}

/// Reads a whole text file.
///
/// # Errors
/// [`FsError`] when it is missing, unreadable or not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    tried("read", path, fs::read_to_string(path))
}

/// As [`read_small`], of a text.
///
/// # Errors
/// As there, and when it is not UTF-8.
pub fn read_small_text(path: &Path, limit: u64) -> Result<String> {
    let text = |content| {
        String::from_utf8(content).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    tried("read", path, small(path, limit).and_then(text))
}

/// The entries of a directory, sorted by name; a missing directory is an empty one.
///
/// # Errors
/// [`FsError`] when the directory exists and cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => tried("read directory", dir, other)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(tried("read directory", dir, entry)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Removes a file and makes that durable; a missing file is fine. Returns whether it was there.
///
/// # Errors
/// [`FsError`] when it cannot be removed.
pub fn remove_file(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        other => {
            tried("remove", path, other)?;
            sync_dir(parent(path)).map(|()| true)
        }
    }
}

/// Removes a directory with all it holds; a missing one is fine.
///
/// # Errors
/// [`FsError`] when something in it cannot be removed.
pub fn remove_dir_all(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => tried("remove directory", dir, other),
    }
}

/// Makes a symbolic link, or has the one that is there lead to another target, atomically and durably.
///
/// # Errors
/// [`FsError`]; the link that was there is intact then.
pub fn symlink(target: &Path, link: &Path) -> Result<()> {
    let temp = temp_name(link);
    let result = std::os::unix::fs::symlink(target, &temp).and_then(|()| fs::rename(&temp, link));
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    tried("link", link, result)?;
    sync_dir(parent(link))
}

/// Renames a file or directory and makes that durable.
///
/// # Errors
/// [`FsError`] naming the source.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    tried("rename", from, fs::rename(from, to))?;
    sync_dir(parent(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("a"), b"text", 0o600).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        assert_eq!(read_small_text(&at("link"), 4).unwrap(), "text");
        assert!(read_small(&at("a"), 3).is_err());
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(read_small(&at("pipe"), 4).is_err());
        assert!(read_small(dir.path(), 4).is_err());
        assert!(read_small(Path::new("/dev/zero"), 4).is_err());
        assert!(read_small(&at("missing"), 4).unwrap_err().is_not_found());
        assert!(read_small_text(Path::new("/proc/self/status"), 1 << 20).unwrap().contains("Name:"));
    }

    #[test]
    fn a_write_replaces_the_whole_file_with_its_mode_and_leaves_no_temp_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(list(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone").join("a");
        let error = write(&path, b"x", 0o600).unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), format!("cannot write {}", path.display()));
    }

    #[test]
    fn many_files_are_written_and_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let staged: Vec<PathBuf> = names.iter().map(|n| dir.path().join(format!("new-{n}"))).collect();
        let files: Vec<NewFile<'_>> = staged
            .iter()
            .zip(&names)
            .map(|(path, name)| NewFile { path, content: name.as_bytes(), mode: 0o640, owner: None })
            .collect();
        write_new(&files).unwrap();
        let pairs: Vec<_> = staged.iter().cloned().zip(names.iter().map(|n| dir.path().join(n))).collect();
        rename_all(&pairs).unwrap();
        for name in &names {
            let path = dir.path().join(name);
            assert_eq!(read_to_string(&path).unwrap(), *name);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert_eq!(list(dir.path()).unwrap().len(), names.len());
        // A file that is there already is nobody's to overwrite here.
        let path = dir.path().join("0");
        let error =
            write_new(&[NewFile { path: &path, content: b"", mode: 0o640, owner: None }]).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_link_is_replaced_and_leaves_no_temp_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink(Path::new("one"), &link).unwrap();
        symlink(Path::new("two"), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("two"));
        assert_eq!(list(dir.path()).unwrap(), [link]);
    }

    #[test]
    fn an_unchanged_file_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert!(write_if_changed(&path, b"x", 0o644).unwrap());
        assert!(!write_if_changed(&path, b"x", 0o644).unwrap());
        assert!(write_if_changed(&path, b"y", 0o644).unwrap());
    }
}
