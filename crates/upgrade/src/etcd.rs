//! etcd: whether it is healthy, and a snapshot of it by its own tool. The file carries the checksum that
//! etcd puts at its end; it is compared before the snapshot counts.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::command::{Command, CommandError};
use sha2::{Digest as _, Sha256};

use crate::error::UpgradeError;

/// How long a snapshot may take: etcd holds 8 GiB at most, from a slow disk.
const SNAPSHOT_LIMIT: Duration = Duration::from_mins(10);
/// How long etcd may take to say how it is.
const HEALTH_LIMIT: Duration = Duration::from_secs(15);
/// The checksum's length: SHA-256, at the end of the file (server/etcdserver/api/v3rpc/maintenance.go).
const SUM: usize = 32;

/// Where etcd is and how to be let in.
#[derive(Debug, Clone)]
pub(crate) struct Etcd {
    pub(crate) endpoint: String,
    /// The directory that holds `etcd/ca.crt` and `apiserver-etcd-client.{crt,key}`.
    pub(crate) tls: PathBuf,
}

impl Etcd {
    fn etcdctl(&self, program: &Path, args: &[&str]) -> Command {
        let file = |flag: &str, name: &str| format!("{flag}={}", self.tls.join(name).display());
        Command::new(program)
            .env_clear()
            .arg(format!("--endpoints={}", self.endpoint))
            .arg(file("--cacert", "etcd/ca.crt"))
            .arg(file("--cert", "apiserver-etcd-client.crt"))
            .arg(file("--key", "apiserver-etcd-client.key"))
            .args(args)
    }

    /// What is wrong with it; none when it is healthy.
    pub(crate) fn problem(&self, etcdctl: &Path) -> Option<String> {
        let health = self.etcdctl(etcdctl, &["endpoint", "health"]).timeout(HEALTH_LIMIT).run();
        match health {
            Ok(_) => None,
            Err(CommandError::Failed { stderr, .. }) => {
                Some(stderr.lines().last().unwrap_or("it is not healthy").trim().to_owned())
            }
            Err(error) => Some(host::error::chain(&error)),
        }
    }

    /// Takes a snapshot into a new file of this directory.
    pub(crate) fn snapshot(&self, etcdctl: &Path, dir: &Path, name: &str) -> Result<PathBuf, UpgradeError> {
        host::fs::create_dir_all(dir, 0o700)?;
        let (temp, path) = (dir.join(format!(".{name}.tmp")), dir.join(name));
        host::fs::remove_file(&temp)?;
        let target = temp.to_string_lossy().into_owned();
        let save = self.etcdctl(etcdctl, &["snapshot", "save", &target]).timeout(SNAPSHOT_LIMIT);
        save.run().map_err(UpgradeError::Snapshot)?;
        if !is_whole(&temp)? {
            return Err(UpgradeError::BrokenSnapshot { path: temp });
        }
        let sync = File::open(&temp).and_then(|file| file.sync_all());
        sync.map_err(|source| host::fs::FsError { verb: "sync", path: temp.clone(), source })?;
        host::fs::rename(&temp, &path)?;
        Ok(path)
    }
}

/// Whether the checksum at the end of a snapshot is that of what is before it.
fn is_whole(path: &Path) -> Result<bool, host::fs::FsError> {
    let failed = |source| host::fs::FsError { verb: "read", path: path.to_owned(), source };
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
