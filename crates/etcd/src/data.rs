//! Whose data lies in a directory, and whose shall lie there: what a member is called stands at the head of its
//! write-ahead log, and a node remembers it elsewhere.
//!
//! An etcd without data begins a cluster of its own, and one with another member's data serves that. Either way the
//! API would answer, without an object of before, and the kubelet would end every workload.

use std::fmt;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use host::fs::FsError;
use prost::Message as _;
use serde::{Deserialize, Serialize};

/// A record of the log's head is no longer than this, in bytes; etcd's have some twenty.
const LONGEST: u64 = 4096;
/// How many records of the head are looked at: a checksum comes before the metadata
/// (etcd, server/storage/wal/wal.go, `Create` and `cut`).
const HEAD: usize = 4;
/// The record that holds the metadata (`MetadataType` there).
const METADATA: i64 = 1;
/// What is remembered is no larger, in bytes.
const LARGEST: u64 = 1 << 16;

/// A record of the log (etcd, server/storage/wal/walpb/record.proto).
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Record {
    #[prost(int64, optional, tag = "1")]
    kind: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

/// What its metadata says (etcd, api/etcdserverpb/etcdserver.proto).
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Metadata {
    #[prost(uint64, optional, tag = "1")]
    member: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    cluster: Option<u64>,
}

/// Who a member is, as `etcdctl member list -w json` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {:x} of cluster {:x}", self.member, self.cluster)
    }
}

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
    /// It cannot be told.
    Unreadable(String),
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
        }
    }
}

/// The ways back from [`Standing::problem`].
pub const WAYS_BACK: &str = "mount or move the member's own data there; or restore a snapshot (docs/disasters.md); \
    to give that cluster up: `kubestrap reset`";

/// What a node remembers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remembered {
    cluster: String,
    member: String,
    data_dir: PathBuf,
}

/// Compares a node's data with what it remembers in `memory`. `locate` says where a path of the node lies for us.
pub fn standing(memory: &Path, locate: &dyn Fn(&Path) -> PathBuf) -> Standing {
    let (was, dir) = match remembered(memory) {
        Ok(Some(remembered)) => remembered,
        Ok(None) => return Standing::Unknown,
        Err(why) => return Standing::Unreadable(why),
    };
    match identity(&locate(&dir)) {
        Ok(None) => Standing::Gone { dir, was },
        Ok(Some(is)) if is == was => Standing::Own,
        Ok(Some(is)) => Standing::Foreign { dir, is, was },
        Err(error) => Standing::Unreadable(format!("{}: {error}", dir.display())),
    }
}

fn remembered(memory: &Path) -> Result<Option<(Identity, PathBuf)>, String> {
    let text = match host::fs::read_small(memory, LARGEST) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other.map_err(|error| host::error::chain(&error))?,
    };
    let told = |why: &dyn fmt::Display| format!("{}: {why}", memory.display());
    let known: Remembered = serde_json::from_slice(&text).map_err(|error| told(&error))?;
    let id = |text: &str| u64::from_str_radix(text, 16).map_err(|error| told(&error));
    Ok(Some((Identity { cluster: id(&known.cluster)?, member: id(&known.member)? }, known.data_dir)))
}

/// Has a node remember who it is.
///
/// # Errors
/// When that cannot be written.
pub fn remember(memory: &Path, identity: Identity, data_dir: &Path) -> Result<(), FsError> {
    let known = Remembered {
        cluster: format!("{:x}", identity.cluster),
        member: format!("{:x}", identity.member),
        data_dir: data_dir.to_owned(),
    };
    let mut text = serde_json::to_vec_pretty(&known).unwrap_or_default();
    text.push(b'\n');
    if let Some(dir) = memory.parent() {
        host::fs::create_dir_all(dir, 0o700)?;
    }
    host::fs::write(memory, &text, 0o600)
}

/// Whose data lies in etcd's directory; none when there is no log of any.
///
/// # Errors
/// When a log is there and cannot be read, or is none of etcd's.
pub fn identity(data_dir: &Path) -> io::Result<Option<Identity>> {
    let logs = host::fs::list(&data_dir.join("member/wal")).map_err(|error| error.source)?;
    // The newest: older ones may be gone when it is looked for.
    let Some(newest) = logs.iter().rfind(|path| path.extension().is_some_and(|ending| ending == "wal"))
    else {
        return Ok(None);
    };
    // etcd's user may put anything there.
    let file = host::fs::open_regular(newest).map_err(|error| error.source)?;
    let mut file = file.take(LONGEST * HEAD as u64);
    for _ in 0..HEAD {
        let Record { kind, data } = Record::decode(record(&mut file)?.as_slice())?;
        if kind == Some(METADATA) {
            let Metadata { member, cluster } = Metadata::decode(data.unwrap_or_default().as_slice())?;
            let both = cluster.zip(member).map(|(cluster, member)| Identity { cluster, member });
            return both.map(Some).ok_or_else(|| strange(newest));
        }
    }
    Err(strange(newest))
}

fn strange(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{} does not say whose it is", path.display()))
}

/// One record: eight bytes with its length, little-endian, and how far it is padded in the highest one
/// (etcd, server/storage/wal/decoder.go, `decodeFrameSize`).
fn record(file: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let field = u64::from_le_bytes(length);
    let padding = if field >> 63 == 1 { (field >> 56) & 7 } else { 0 };
    let length = field & !(0xff << 56);
    if length > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a record of {length} bytes")));
    }
    let mut record = Vec::new();
    let read = file.take(length + padding).read_to_end(&mut record)?;
    if read as u64 != length + padding {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    record.truncate(usize::try_from(length).unwrap_or(0));
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a log as etcd 3.7.3 wrote it: a checksum and the metadata.
    const HEAD_OF_LOG: [u8; 56] = [
        0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x84, 0x08, 0x04, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1e,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x82, 0x08, 0x01, 0x10, 0xfb, 0xd1, 0xb8, 0xae, 0x09, 0x1a, 0x14,
        0x08, 0xad, 0xb1, 0x85, 0xe9, 0xed, 0xe7, 0xc9, 0xbc, 0x41, 0x10, 0x88, 0xb0, 0x94, 0xdb, 0xf5, 0xd3,
        0xec, 0xc0, 0x06, 0x00, 0x00,
    ];

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

    const OWN: Identity = Identity { cluster: 0x0681_b29f_5b65_1808, member: 0x4179_273e_dd21_58ad };

    #[test]
    fn data_is_known_by_the_head_of_its_log() {
        let world = World::new();
        let data = Path::new("/var/lib/etcd");
        assert_eq!(world.standing(), Standing::Unknown);
        world.put(&HEAD_OF_LOG);
        assert_eq!(identity(&world.dir.path().join("var/lib/etcd")).unwrap(), Some(OWN));
        assert_eq!(world.standing(), Standing::Unknown);
        remember(&world.memory(), OWN, data).unwrap();
        assert_eq!(world.standing(), Standing::Own);
        // Another member's, and a log that says nothing.
        let other = Identity { member: 1, ..OWN };
        remember(&world.memory(), other, data).unwrap();
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
        remember(&world.memory(), OWN, Path::new("/var/lib/etcd")).unwrap();
        host::fs::remove_dir_all(&world.dir.path().join("var/lib/etcd/member")).unwrap();
        let problem = world.standing().problem().unwrap();
        assert!(
            problem.starts_with("/var/lib/etcd holds no data of etcd, and this node is member "),
            "{problem}"
        );
        host::fs::remove_dir_all(&world.dir.path().join("var/lib/etcd")).unwrap();
        assert_eq!(world.standing().problem(), Some(problem), "not mounted, or never made");
    }
}
