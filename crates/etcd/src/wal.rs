//! A member's write-ahead log, read while nobody else has it open or while etcd writes it: whose it is stands at its
//! head, and how far it has come at its end.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// A record of the log's head is no longer than this, in bytes; etcd's have some twenty.
const LONGEST_OF_HEAD: u64 = 4096;
/// A record is no longer than this, in bytes: etcd takes requests of 1.5 MiB by default, and one of up to ten times
/// that where it is told so (`DefaultMaxRequestBytes` in server/embed/config.go).
const LONGEST: u64 = 16 << 20;
/// How many records of the head are looked at: a checksum comes before the metadata
/// (etcd, server/storage/wal/wal.go, `Create` and `cut`).
const HEAD: usize = 4;
/// The record that holds the metadata (`MetadataType` there), and one with an entry (`EntryType`).
const METADATA: i64 = 1;
const ENTRY: i64 = 2;

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

/// An entry's place in the log (go.etcd.io/raft, raftpb/raft.proto).
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Entry {
    #[prost(uint64, optional, tag = "3")]
    index: Option<u64>,
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

/// What a log's newest file is called on the disk, and how it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

/// How far a log was when it was read last. It only grows, so that one that had come far enough once is not read again.
#[derive(Debug, Default)]
pub struct End(Option<(Version, u64)>);

impl End {
    /// Whether the log of this directory has come to this index at least; if not, where it ends.
    ///
    /// # Errors
    /// When it cannot be read, or is none of etcd's.
    pub(crate) fn reaches(&mut self, data_dir: &Path, index: u64) -> io::Result<Result<(), u64>> {
        let Some(newest) = newest(data_dir)? else { return Ok(Err(0)) };
        let file = host::fs::open_regular(&newest).map_err(|error| error.source)?;
        let meta = file.metadata()?;
        let version =
            Version { device: meta.dev(), inode: meta.ino(), changed: (meta.mtime(), meta.mtime_nsec()) };
        let end = match self.0 {
            Some((was, end)) if was == version => end,
            Some((was, end))
                if (was.device, was.inode) == (version.device, version.inode) && end >= index =>
            {
                end
            }
            _ => last_of(file, &newest)?,
        };
        self.0 = Some((version, end));
        Ok(if end >= index { Ok(()) } else { Err(end) })
    }
}

/// Whose data lies in etcd's directory; none when there is no log of any.
///
/// # Errors
/// When a log is there and cannot be read, or is none of etcd's.
pub fn identity(data_dir: &Path) -> io::Result<Option<Identity>> {
    let Some(newest) = newest(data_dir)? else { return Ok(None) };
    // etcd's user may put anything there.
    let file = host::fs::open_regular(&newest).map_err(|error| error.source)?;
    let mut file = file.take(LONGEST_OF_HEAD * HEAD as u64);
    for _ in 0..HEAD {
        let Some(Record { kind, data }) = record(&mut file, LONGEST_OF_HEAD)? else { break };
        if kind == Some(METADATA) {
            let Metadata { member, cluster } = Metadata::decode(data.unwrap_or_default().as_slice())?;
            let both = cluster.zip(member).map(|(cluster, member)| Identity { cluster, member });
            return both.map(Some).ok_or_else(|| strange(&newest));
        }
    }
    Err(strange(&newest))
}

/// The index of a log's last entry; none when there is no log.
///
/// # Errors
/// As [`identity`].
pub fn last_index(data_dir: &Path) -> io::Result<Option<u64>> {
    let Some(newest) = newest(data_dir)? else { return Ok(None) };
    let file = host::fs::open_regular(&newest).map_err(|error| error.source)?;
    last_of(file, &newest).map(Some)
}

/// The newest file of a log: older ones may be gone when they are looked for.
fn newest(data_dir: &Path) -> io::Result<Option<PathBuf>> {
    let mut logs = host::fs::list(&data_dir.join("member/wal")).map_err(|error| error.source)?;
    logs.retain(|path| path.extension().is_some_and(|ending| ending == "wal"));
    Ok(logs.pop())
}

/// Where this file ends. It begins with the entry that it is called after (`walName` in server/storage/wal/util.go),
/// and may have none yet. What was being written when the power went is not counted: nobody was told that it is there.
fn last_of(file: File, path: &Path) -> io::Result<u64> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.split_once('-'));
    let first =
        name.and_then(|(_, index)| u64::from_str_radix(index, 16).ok()).ok_or_else(|| strange(path))?;
    let (mut file, mut last) = (BufReader::with_capacity(1 << 20, file), first.saturating_sub(1));
    loop {
        let found = match record(&mut file, LONGEST) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(last),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                return Ok(last);
            }
            Err(error) => return Err(error),
        };
        if found.kind == Some(ENTRY)
            && let Some(index) = Entry::decode(found.data.unwrap_or_default().as_slice())?.index
        {
            // Later entries replace earlier ones of the same index, and those after it.
            last = index;
        }
    }
}

fn strange(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{} does not say whose it is", path.display()))
}

/// One record: eight bytes with its length, little-endian, and how far it is padded in the highest one
/// (etcd, server/storage/wal/decoder.go, `decodeFrameSize`). None at the end, or where nothing is written yet: a file
/// is made in its full length.
fn record(file: &mut impl Read, longest: u64) -> io::Result<Option<Record>> {
    let mut length = [0; 8];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let field = u64::from_le_bytes(length);
    let padding = if field >> 63 == 1 { (field >> 56) & 7 } else { 0 };
    let length = field & !(0xff << 56);
    if length == 0 {
        return Ok(None);
    }
    if length > longest {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a record of {length} bytes")));
    }
    let mut bytes = Vec::new();
    let read = file.take(length + padding).read_to_end(&mut bytes)?;
    if read as u64 != length + padding {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(usize::try_from(length).unwrap_or(0));
    Ok(Some(Record::decode(bytes.as_slice())?))
}

#[cfg(test)]
mod tests {
    use fakes::wal::{HEAD as HEAD_OF_LOG, entries};

    use super::*;

    struct Log {
        dir: tempfile::TempDir,
    }

    impl Log {
        fn new() -> Self {
            let log = Self { dir: tempfile::tempdir().unwrap() };
            host::fs::create_dir_all(&log.wal(), 0o700).unwrap();
            log
        }

        fn wal(&self) -> PathBuf {
            self.dir.path().join("member/wal")
        }

        fn put(&self, name: &str, content: &[u8]) {
            host::fs::write(&self.wal().join(name), content, 0o600).unwrap();
        }

        fn last(&self) -> u64 {
            last_index(self.dir.path()).unwrap().unwrap()
        }
    }

    const FIRST: &str = "0000000000000000-0000000000000000.wal";

    #[test]
    fn the_end_of_a_log_is_its_last_whole_entry() {
        let log = Log::new();
        assert_eq!(last_index(log.dir.path()).unwrap(), None);
        let with = |tail: &[u8]| [HEAD_OF_LOG.as_slice(), &entries(&[1, 2, 3]), tail].concat();
        for tail in [&[] as &[u8], &[0; 64], &entries(&[4])[..12], &[0xff; 32]] {
            log.put(FIRST, &with(tail));
            assert_eq!(log.last(), 3, "{tail:?}");
        }
        // A leader that nobody followed is written over.
        log.put(FIRST, &with(&entries(&[2])));
        assert_eq!(log.last(), 2);
        // A file that was just begun.
        log.put("0000000000000001-00000000000000ff.wal", &HEAD_OF_LOG);
        assert_eq!(log.last(), 0xfe);
        log.put("x.wal", &HEAD_OF_LOG);
        assert!(last_index(log.dir.path()).is_err());
    }

    #[test]
    fn a_log_that_was_far_enough_is_not_read_again() {
        let log = Log::new();
        let mut end = End::default();
        log.put(FIRST, &[HEAD_OF_LOG.as_slice(), &entries(&[7])].concat());
        assert_eq!(end.reaches(log.dir.path(), 7).unwrap(), Ok(()));
        assert_eq!(end.reaches(log.dir.path(), 8).unwrap(), Err(7));
        // It grows in its place.
        let mut file = std::fs::OpenOptions::new().append(true).open(log.wal().join(FIRST)).unwrap();
        io::Write::write_all(&mut file, &entries(&[8])).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
        assert_eq!(end.reaches(log.dir.path(), 8).unwrap(), Ok(()));
        // Another file in its place is another log.
        log.put(FIRST, &[HEAD_OF_LOG.as_slice(), &entries(&[2])].concat());
        assert_eq!(end.reaches(log.dir.path(), 7).unwrap(), Err(2));
    }
}
