//! Whose data lies in a directory, and whose shall lie there: what a member is called stands at the head of its
//! write-ahead log, how far it has come at its end, and a node remembers both elsewhere.
//!
//! An etcd without data begins a cluster of its own, one with another member's data serves that, and one with data of
//! yesterday serves yesterday. Each time the API would answer, without objects that it has acknowledged, and the kubelet
//! would end the workloads.

use std::fmt;
use std::path::{Path, PathBuf};

use host::fs::FsError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::wal::{self, End, Identity};

/// What is remembered is no larger, in bytes.
const LARGEST: u64 = 1 << 16;

/// How a directory stands to what its node remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The node remembers no member: it never was one, or not long enough yet.
    Unknown,
    /// The data is that member's.
    Own,
    /// There is none.
    Gone {
        /// Where it was.
        dir: PathBuf,
        /// Whose it was.
        was: Identity,
    },
    /// It is another member's.
    Foreign {
        /// Where.
        dir: PathBuf,
        /// Whose it is.
        is: Identity,
        /// Whose it was.
        was: Identity,
    },
    /// It is that member's of some time ago: what it has acknowledged since is not in it.
    Stale {
        /// Where.
        dir: PathBuf,
        /// The last entry of its log.
        end: u64,
        /// What it had at least, and when.
        was: Progress,
    },
    /// It cannot be told.
    Unreadable(String),
}

/// How far a member had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// The index of an entry of its log that is on the disk.
    pub index: u64,
    /// When that was seen.
    pub seen: Timestamp,
}

impl Standing {
    /// What is wrong; none when this member may start, or nobody can say that it may not.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Unknown | Self::Own | Self::Unreadable(_) => None,
            Self::Gone { dir, was } => Some(format!(
                "{} holds no data of etcd, and this node is {was}: it is not mounted, or was moved away",
                dir.display()
            )),
            Self::Foreign { dir, is, was } => {
                Some(format!("{} holds the data of {is}, and this node is {was}", dir.display()))
            }
            Self::Stale { dir, end, was } => Some(format!(
                "{} holds this member's data as it was before {:.0}: its log ends at entry {end}, and had entry {} then",
                dir.display(),
                was.seen,
                was.index
            )),
        }
    }
}

/// The ways back from [`Standing::problem`].
pub const WAYS_BACK: &str = "mount or move the member's own data there; or `kubestrap restore` with a snapshot \
    (docs/disasters.md); to give that cluster up: `kubestrap reset`";

/// What a node remembers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remembered {
    cluster: String,
    member: String,
    data_dir: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

/// What a node knows of its member.
struct Known {
    identity: Identity,
    dir: PathBuf,
    progress: Option<Progress>,
}

/// Compares a node's data with what it remembers in `memory`. `locate` says where a path of the node lies for us.
pub fn standing(memory: &Path, locate: &dyn Fn(&Path) -> PathBuf) -> Standing {
    standing_again(memory, locate, &mut End::default())
}

/// The same for whoever looks again and again: `end` is what was read of the log before.
pub fn standing_again(memory: &Path, locate: &dyn Fn(&Path) -> PathBuf, end: &mut End) -> Standing {
    let Known { identity: was, dir, progress } = match known(memory) {
        Ok(Some(known)) => known,
        Ok(None) => return Standing::Unknown,
        Err(why) => return Standing::Unreadable(why),
    };
    let place = locate(&dir);
    let unreadable = |error| Standing::Unreadable(format!("{}: {error}", dir.display()));
    match wal::identity(&place) {
        Ok(None) => return Standing::Gone { dir, was },
        Ok(Some(is)) if is == was => {}
        Ok(Some(is)) => return Standing::Foreign { dir, is, was },
        Err(error) => return unreadable(error),
    }
    let Some(was) = progress else { return Standing::Own };
    match end.reaches(&place, was.index) {
        Ok(Ok(())) => Standing::Own,
        Ok(Err(end)) => Standing::Stale { dir, end, was },
        Err(error) => unreadable(error),
    }
}

fn known(memory: &Path) -> Result<Option<Known>, String> {
    let text = match host::fs::read_small(memory, LARGEST) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other.map_err(|error| host::error::chain(&error))?,
    };
    let told = |why: &dyn fmt::Display| format!("{}: {why}", memory.display());
    let Remembered { cluster, member, data_dir, progress } =
        serde_json::from_slice(&text).map_err(|error| told(&error))?;
    let id = |text: &str| u64::from_str_radix(text, 16).map_err(|error| told(&error));
    let identity = Identity { cluster: id(&cluster)?, member: id(&member)? };
    Ok(Some(Known { identity, dir: data_dir, progress }))
}

/// Has a node remember who it is, and how far it has come when that is known.
///
/// # Errors
/// When that cannot be written.
pub fn remember(
    memory: &Path,
    identity: Identity,
    data_dir: &Path,
    progress: Option<Progress>,
) -> Result<(), FsError> {
    let known = Remembered {
        cluster: format!("{:x}", identity.cluster),
        member: format!("{:x}", identity.member),
        data_dir: data_dir.to_owned(),
        progress,
    };
    let mut text = serde_json::to_vec_pretty(&known).unwrap_or_default();
    text.push(b'\n');
    if let Some(dir) = memory.parent() {
        host::fs::create_dir_all(dir, 0o700)?;
    }
    host::fs::write(memory, &text, 0o600)
}

/// Has a node remember how far its member has come. A node that remembers no member, or has remembered more, goes on so.
///
/// # Errors
/// When what is remembered cannot be read or written.
pub fn note(memory: &Path, now: Progress) -> Result<(), String> {
    let Some(known) = known(memory)? else { return Ok(()) };
    if known.progress.is_some_and(|was| was.index >= now.index) {
        return Ok(());
    }
    remember(memory, known.identity, &known.dir, Some(now)).map_err(|error| host::error::chain(&error))
}

#[cfg(test)]
mod tests {
    use fakes::wal::{HEAD as HEAD_OF_LOG, MEMBER, entries};

    use super::*;

    struct World {
        dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn memory(&self) -> PathBuf {
            self.dir.path().join("etc/member.json")
        }

        fn put(&self, head: &[u8]) {
            let wal = self.dir.path().join("var/lib/etcd/member/wal");
            host::fs::create_dir_all(&wal, 0o700).unwrap();
            host::fs::write(&wal.join("0.tmp"), b"", 0o600).unwrap();
            host::fs::write(&wal.join("0000000000000000-0000000000000000.wal"), head, 0o600).unwrap();
        }

        fn standing(&self) -> Standing {
            let locate = |path: &Path| self.dir.path().join(path.strip_prefix("/").unwrap());
            standing(&self.memory(), &locate)
        }
    }

    const OWN: Identity = Identity { cluster: MEMBER.1, member: MEMBER.0 };

    #[test]
    fn data_is_known_by_the_head_of_its_log() {
        let world = World::new();
        let data = Path::new("/var/lib/etcd");
        assert_eq!(world.standing(), Standing::Unknown);
        world.put(&HEAD_OF_LOG);
        assert_eq!(wal::identity(&world.dir.path().join("var/lib/etcd")).unwrap(), Some(OWN));
        assert_eq!(world.standing(), Standing::Unknown);
        remember(&world.memory(), OWN, data, None).unwrap();
        assert_eq!(world.standing(), Standing::Own);
        // Another member's, and a log that says nothing.
        let other = Identity { member: 1, ..OWN };
        remember(&world.memory(), other, data, None).unwrap();
        assert_eq!(world.standing(), Standing::Foreign { dir: data.into(), is: OWN, was: other });
        let wal = world.dir.path().join("var/lib/etcd/member/wal");
        nix::unistd::mkfifo(&wal.join("f.wal"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(world.standing(), Standing::Unreadable(_)), "nobody waits for the other end");
        host::fs::remove_file(&wal.join("f.wal")).unwrap();
        for damaged in [&HEAD_OF_LOG[..20], &[0; 56], &[0xff; 56]] {
            world.put(damaged);
            assert!(matches!(world.standing(), Standing::Unreadable(_)), "{:?}", world.standing());
        }
    }

    #[test]
    fn data_that_is_gone_is_missed() {
        let world = World::new();
        world.put(&HEAD_OF_LOG);
        remember(&world.memory(), OWN, Path::new("/var/lib/etcd"), None).unwrap();
        host::fs::remove_dir_all(&world.dir.path().join("var/lib/etcd/member")).unwrap();
        let problem = world.standing().problem().unwrap();
        assert!(
            problem.starts_with("/var/lib/etcd holds no data of etcd, and this node is member "),
            "{problem}"
        );
        host::fs::remove_dir_all(&world.dir.path().join("var/lib/etcd")).unwrap();
        assert_eq!(world.standing().problem(), Some(problem), "not mounted, or never made");
    }

    #[test]
    fn data_of_some_time_ago_is_not_the_member_s() {
        let world = World::new();
        let was = Progress { index: 9, seen: "2026-12-01T00:00:00Z".parse().unwrap() };
        remember(&world.memory(), OWN, Path::new("/var/lib/etcd"), Some(was)).unwrap();
        let log = |last: u8| [HEAD_OF_LOG.as_slice(), &entries(&[last - 1, last])].concat();
        for last in [9, 10] {
            world.put(&log(last));
            assert_eq!(world.standing(), Standing::Own, "{last}");
        }
        note(&world.memory(), Progress { index: 10, ..was }).unwrap();
        note(&world.memory(), Progress { index: 9, ..was }).unwrap();
        world.put(&log(9));
        assert!(matches!(world.standing(), Standing::Stale { end: 9, was, .. } if was.index == 10));
        remember(&world.memory(), OWN, Path::new("/var/lib/etcd"), Some(was)).unwrap();
        world.put(&log(8));
        assert_eq!(
            world.standing().problem().unwrap(),
            "/var/lib/etcd holds this member's data as it was before 2026-12-01T00:00:00Z: \
             its log ends at entry 8, and had entry 9 then"
        );
    }
}
