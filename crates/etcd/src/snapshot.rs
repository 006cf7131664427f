//! etcd by its own tools: whether it is healthy, a snapshot, and a snapshot made a member's data again. The file carries
//! the checksum that etcd puts at its end; it is compared before the snapshot counts.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::command::{Command, CommandError};
use host::fs::FsError;
use sha2::{Digest as _, Sha256};

/// How long a snapshot may take: etcd holds 8 GiB at most, from a slow disk.
const SNAPSHOT_LIMIT: Duration = Duration::from_mins(10);
/// How long etcd may take to say how it is.
const HEALTH_LIMIT: Duration = Duration::from_secs(15);
/// The checksum's length: SHA-256, at the end of the file (server/etcdserver/api/v3rpc/maintenance.go).
const SUM: usize = 32;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The tool failed.
    #[error("etcd gave no snapshot")]
    Tool(#[source] CommandError),
    /// It was written and is not whole.
    #[error("the snapshot {} is not whole: its checksum does not fit its content", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// `etcdctl`, and the etcd that it is to ask.
#[derive(Debug, Clone)]
pub struct Tool<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where etcd is.
    pub endpoint: &'a str,
    /// The directory that holds `etcd/ca.crt` and `apiserver-etcd-client.{crt,key}`.
    pub tls: &'a Path,
}

impl Tool<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let file = |flag: &str, name: &str| format!("{flag}={}", self.tls.join(name).display());
        Command::new(self.program)
            .env_clear()
            .arg(format!("--endpoints={}", self.endpoint))
            .arg(file("--cacert", "etcd/ca.crt"))
            .arg(file("--cert", "apiserver-etcd-client.crt"))
            .arg(file("--key", "apiserver-etcd-client.key"))
            .args(args)
    }

    /// What is wrong with etcd; none when it is healthy.
    pub fn problem(&self) -> Option<String> {
        match self.command(&["endpoint", "health"]).timeout(HEALTH_LIMIT).run() {
            Ok(_) => None,
            Err(CommandError::Failed { stderr, .. }) => Some(why(&stderr)),
            Err(error) => Some(host::error::chain(&error)),
        }
    }

    /// Takes a snapshot into a new file of this directory.
    ///
    /// # Errors
    /// [`SnapshotError`]; under the final name is only what is whole and on the disk.
    pub fn snapshot(&self, dir: &Path, name: &str) -> Result<PathBuf, SnapshotError> {
        host::fs::create_dir_all(dir, 0o700)?;
        let (temp, path) = (dir.join(format!(".{name}.tmp")), dir.join(name));
        host::fs::remove_file(&temp)?;
        let target = temp.to_string_lossy().into_owned();
        let save = self.command(&["snapshot", "save", &target]).timeout(SNAPSHOT_LIMIT);
        save.run().map_err(SnapshotError::Tool)?;
        if !is_whole(&temp)? {
            return Err(SnapshotError::Broken { path: temp });
        }
        host::fs::sync_file(&temp)?;
        host::fs::rename(&temp, &path)?;
        Ok(path)
    }
}

/// A revision that no history has reached: whoever watches goes on from there, and lists anew what it has missed. What
/// etcd's documentation names (disaster recovery, "Restoring with revision bump").
const BUMP: u64 = 1_000_000_000;

/// The member that a snapshot becomes.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'a> {
    /// Its name.
    pub name: &'a str,
    /// The URLs under which other members will reach it.
    pub peer_urls: &'a [String],
    /// What no cluster had before: its id, and the member's, are made of it.
    pub token: &'a str,
    /// Where its data goes: a directory that is not there yet.
    pub dir: &'a Path,
}

/// The command of `etcdutl` that makes a snapshot the data of the only member of a cluster.
pub fn unpack(program: &Path, snapshot: &Path, fresh: &Fresh<'_>) -> Command {
    let cluster: Vec<String> = fresh.peer_urls.iter().map(|url| format!("{}={url}", fresh.name)).collect();
    Command::new(program)
        .env_clear()
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg(format!("--data-dir={}", fresh.dir.display()))
        .arg(format!("--name={}", fresh.name))
        .arg(format!("--initial-cluster={}", cluster.join(",")))
        .arg(format!("--initial-advertise-peer-urls={}", fresh.peer_urls.join(",")))
        .arg(format!("--initial-cluster-token={}", fresh.token))
        .arg(format!("--bump-revision={BUMP}"))
        .arg("--mark-compacted")
        .timeout(SNAPSHOT_LIMIT)
}

/// Looks whether a snapshot is whole.
///
/// # Errors
/// [`SnapshotError::Broken`] when it is not, [`SnapshotError::Fs`] when it cannot be read.
pub fn check(path: &Path) -> Result<(), SnapshotError> {
    if is_whole(path)? { Ok(()) } else { Err(SnapshotError::Broken { path: path.to_owned() }) }
}

/// The reason in what `etcdctl endpoint health` says: its last line is that there is one.
fn why(stderr: &str) -> String {
    let reason = stderr.lines().rev().find(|line| line.contains(" is unhealthy: "));
    reason.or_else(|| stderr.lines().last()).unwrap_or("it is not healthy").trim().to_owned()
}

/// Whether the checksum at the end of a snapshot is that of what is before it.
fn is_whole(path: &Path) -> Result<bool, FsError> {
    let failed = |source| FsError { verb: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let Some(mut left) = length.checked_sub(SUM as u64).filter(|left| *left > 0) else { return Ok(false) };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..want]).map_err(failed)?;
        hasher.update(&buffer[..want]);
        left -= want as u64;
    }
    let mut sum = [0; SUM];
    file.read_exact(&mut sum).map_err(failed)?;
    Ok(hasher.finalize().as_slice() == sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_told_and_not_that_there_is_one() {
        let full =
            "https://127.0.0.1:2379 is unhealthy: failed to commit proposal: Active Alarm(s): NOSPACE ";
        assert_eq!(why(&format!("{full}\nError: unhealthy cluster\n")), full.trim());
        assert_eq!(why("Error: context deadline exceeded\n"), "Error: context deadline exceeded");
        assert_eq!(why(""), "it is not healthy");
    }

    #[test]
    fn a_snapshot_with_a_changed_or_missing_byte_is_not_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let whole = |bytes: &[u8]| {
            host::fs::write(&path, bytes, 0o600).unwrap();
            is_whole(&path).unwrap()
        };
        let mut bytes = vec![7; 3 << 20];
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        assert!(whole(&bytes));
        assert!(!whole(&bytes[..bytes.len() - 1]));
        bytes[1000] = 8;
        assert!(!whole(&bytes));
        assert!(!whole(&sum));
    }
}
