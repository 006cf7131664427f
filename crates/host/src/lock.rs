//! One at a time: whoever changes what lies in a directory holds its lock. The kernel keeps it with the open directory,
//! so that it ends with its process, whatever ended that; who holds it is asked of `/proc`. No file says either, and so
//! nothing is left that somebody would have to remove.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::fs::{FsError, create_dir_all};
use crate::proc::{self, ProcessId};

/// A directory that is ours alone. It ends when it is dropped; what was made for it and is still empty goes then.
#[derive(Debug)]
pub struct Lock {
    dir: File,
    path: PathBuf,
    /// Directories that were made for it, the innermost first.
    made: Vec<PathBuf>,
}

/// Who has a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// The program and its verbs, without flags and what follows them.
    pub command: String,
    /// For how long it has been running; none when that cannot be told.
    pub age: Option<Duration>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {}", self.command, self.pid)?;
        match self.age {
            Some(age) => write!(f, ", begun {} s ago)", age.as_secs()),
            None => f.write_str(")"),
        }
    }
}

/// What came of asking for a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Somebody else has it; none when it cannot be seen who.
    Theirs(Option<Holder>),
}

/// Takes the lock of a directory if nobody has it. The directory is made when it is not there, for its owner alone.
///
/// # Errors
/// When it cannot be made or opened.
pub fn take(path: &Path) -> Result<Taken, FsError> {
    loop {
        let Some(lock) = open(path)? else { continue };
        match flock(&lock.dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(Taken::Theirs(holder(&lock.dir))),
            result => got(path, result)?,
        }
        if lock.is_in_place() {
            return Ok(Taken::Ours(lock));
        }
    }
}

/// Waits for the lock of a directory, however long that takes, and takes it. As [`take`] besides.
///
/// # Errors
/// As [`take`].
pub fn wait(path: &Path) -> Result<Lock, FsError> {
    loop {
        let Some(lock) = open(path)? else { continue };
        got(path, flock(&lock.dir, FlockOperation::LockExclusive))?;
        if lock.is_in_place() {
            return Ok(lock);
        }
    }
}

/// The directory, not locked yet; none when somebody removed it while it was opened.
fn open(path: &Path) -> Result<Option<Lock>, FsError> {
    let missing: Vec<_> =
        path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    if !missing.is_empty() {
        create_dir_all(path, 0o700)?;
    }
    let made = missing.into_iter().map(Path::to_owned).collect();
    match File::open(path) {
        Ok(dir) => Ok(Some(Lock { dir, path: path.to_owned(), made })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FsError { verb: "open", path: path.to_owned(), source }),
    }
}

/// A file system that knows no such locks is no reason to do nothing.
fn got(path: &Path, result: rustix::io::Result<()>) -> Result<(), FsError> {
    match result {
        Err(error @ (Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            tracing::warn!(path = %path.display(), %error, "cannot be locked here: nobody else may change it meanwhile");
            Ok(())
        }
        other => other.map_err(|e| FsError { verb: "lock", path: path.to_owned(), source: e.into() }),
    }
}

impl Lock {
    /// The same of a directory that is there for its locks alone: it goes whoever made it, unless something is in it.
    #[must_use]
    pub fn of_nothing_else(mut self) -> Self {
        if !self.made.contains(&self.path) {
            self.made.insert(0, self.path.clone());
        }
        self
    }

    /// Whether what we have is what lies there: who had it before may have removed it, or put another one there.
    fn is_in_place(&self) -> bool {
        same(&self.dir, &self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What has something in it stays: the first that is not empty ends it.
        if self.is_in_place() {
            let _ = self.made.iter().try_for_each(fs::remove_dir);
        }
    }
}

fn same(dir: &File, path: &Path) -> bool {
    let number = |meta: io::Result<fs::Metadata>| meta.map(|meta| (meta.dev(), meta.ino())).ok();
    let ours = number(dir.metadata());
    ours.is_some() && ours == number(fs::metadata(path))
}

/// Which process has that directory locked.
fn holder(dir: &File) -> Option<Holder> {
    let pid = proc::pids().into_iter().find(|pid| holds(*pid, dir))?;
    Some(Holder { pid, command: command(pid), age: ProcessId::of(pid).and_then(ProcessId::age) })
}

/// Whether one of a process's open files is that directory, with a lock (proc(5), `/proc/<pid>/fdinfo`).
fn holds(pid: i32, dir: &File) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut of_dir = files.filter(|file| same(dir, &file.path()));
    of_dir.any(|file| {
        let info = Path::new("/proc").join(pid.to_string()).join("fdinfo").join(file.file_name());
        let info = fs::read_to_string(info).unwrap_or_default();
        info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK"))
    })
}

fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    let mut words = line.split('\0').take_while(|word| !word.is_empty() && !word.starts_with('-'));
    let program = words.next().and_then(|word| word.rsplit('/').next()).unwrap_or("another process");
    words.fold(program.to_owned(), |all, word| all + " " + word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(path: &Path) -> Lock {
        match take(path).unwrap() {
            Taken::Ours(lock) => lock,
            Taken::Theirs(holder) => panic!("{holder:?}"),
        }
    }

    #[test]
    fn the_second_is_told_who_was_first_until_that_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = taken(&path);
        let Taken::Theirs(Some(holder)) = take(&path).unwrap() else { panic!("it is not locked") };
        assert_eq!(holder.pid, i32::try_from(std::process::id()).unwrap());
        assert!(holder.command.starts_with("host-"), "{holder}");
        assert!(holder.age.unwrap() < Duration::from_hours(1), "{holder}");
        drop(first);
        assert!(!dir.path().join("a").exists(), "what was made for it and is empty goes with it");
        let second = taken(&path);
        crate::fs::write(&path.join("x"), b"x", 0o600).unwrap();
        drop(second);
        assert!(path.join("x").exists());
        crate::fs::remove_file(&path.join("x")).unwrap();
        drop(taken(&path));
        assert!(path.exists(), "somebody else made it");
        drop(taken(&path).of_nothing_else());
        assert!(!path.exists() && dir.path().join("a").exists());
    }

    #[test]
    fn who_waits_gets_the_directory_that_lies_there_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let first = taken(&path);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| wait(&path).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            // It goes, and with it what the second one waits for.
            drop(first);
            assert!(second.join().unwrap().is_in_place());
        });
    }

    #[test]
    fn a_holder_is_told_in_words() {
        let age = Some(Duration::from_millis(34_900));
        let holder = Holder { pid: 12, command: "kubestrap upgrade apply".to_owned(), age };
        assert_eq!(holder.to_string(), "`kubestrap upgrade apply` (pid 12, begun 34 s ago)");
        assert_eq!(Holder { age: None, ..holder }.to_string(), "`kubestrap upgrade apply` (pid 12)");
    }
}
