//! What is unpacked, as the snapshotter's database has it, and whether that can still be so by its looks: no file is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::fs::FsError;

use crate::bolt::Bucket;

/// What the kernel counts blocks of files in, in bytes (stat(2)).
const BLOCK: u64 = 512;
/// What was written within that time after the snapshot was done belongs to it: the kernel's time of files is some
/// milliseconds old.
const WRITTEN: Duration = Duration::from_secs(1);

/// A snapshot that nothing is changed in any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its directory's name.
    pub(crate) id: u64,
    /// How large its files were when they were unpacked, on the disk; none for one that is still changed.
    size: Option<u64>,
    /// When that was.
    done: Option<SystemTime>,
}

/// All of them by their names (core/snapshots/storage/bolt.go of containerd/containerd).
pub(crate) fn all(bucket: Option<&Bucket>) -> BTreeMap<String, Snapshot> {
    let buckets = bucket.into_iter().flat_map(Bucket::buckets);
    let snapshot = |(name, bucket): (&str, &Bucket)| {
        let id = varint(bucket.value("id")?)?;
        // A signed one, each second number of which is negative.
        let size = bucket.value("size").and_then(varint).map(|number| number >> 1);
        let done = bucket.value("updatedat").and_then(moment);
        Some((name.to_owned(), Snapshot { id, size, done }))
    };
    buckets.filter_map(snapshot).collect()
}

/// A number as Go writes it (`PutUvarint` of encoding/binary).
fn varint(bytes: &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f).checked_shl(u32::try_from(index * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The moment that Go wrote (`Time.MarshalBinary`): a version, seconds since the year 1 and nanoseconds, the highest byte
/// first.
fn moment(bytes: &[u8]) -> Option<SystemTime> {
    const YEAR_1: i64 = 62_135_596_800;
    let seconds = i64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?).checked_sub(YEAR_1)?;
    let nanos = u32::from_be_bytes(bytes.get(9..13)?.try_into().ok()?);
    UNIX_EPOCH.checked_add(Duration::new(seconds.try_into().ok()?, nanos))
}

impl Snapshot {
    /// Whether something in it was changed since it was unpacked, by its looks: a file of it was changed later or, asked
    /// `thorough`ly, it has another size on the disk. What looks changed need not be.
    ///
    /// # Errors
    /// [`FsError`] when it cannot be walked through.
    pub(crate) fn looks_changed(&self, dir: &Path, thorough: bool) -> Result<bool, FsError> {
        let mut walk = Walk::default();
        walk.add(dir)?;
        let later = self.done.is_some_and(|done| walk.newest > done + WRITTEN);
        Ok(later || thorough && self.size.is_some_and(|size| size != walk.size))
    }
}

/// What a directory has in it, as containerd counts it (fs/du_unix.go of containerd/continuity).
#[derive(Debug)]
struct Walk {
    size: u64,
    newest: SystemTime,
    seen: BTreeSet<(u64, u64)>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { size: 0, newest: UNIX_EPOCH, seen: BTreeSet::new() }
    }
}

impl Walk {
    fn add(&mut self, path: &Path) -> Result<(), FsError> {
        let found = path.symlink_metadata();
        let found = found.map_err(|source| FsError { verb: "look at", path: path.to_owned(), source })?;
        if self.seen.insert((found.dev(), found.ino())) {
            self.size += found.blocks() * BLOCK;
        }
        if found.is_dir() {
            return host::fs::list(path)?.iter().try_for_each(|entry| self.add(entry));
        }
        let changed = u64::try_from(found.ctime()).unwrap_or_default();
        self.newest = self.newest.max(UNIX_EPOCH + Duration::from_secs(changed));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::bolt::{Entry, bucket};

    use super::*;

    #[test]
    fn numbers_and_times_are_as_go_writes_them() {
        // binary.PutUvarint of 300; binary.PutVarint of 4096; MarshalBinary of 2026-11-30T20:00:00.5Z.
        assert_eq!(varint(&[0xac, 2]), Some(300));
        assert_eq!(varint(&[0x80, 0x40]).map(|number| number >> 1), Some(4096));
        assert_eq!(varint(&[0x80]), None);
        let seconds: i64 = 62_135_596_800 + 1_796_068_800;
        let time = [&[1][..], &seconds.to_be_bytes(), &500_000_000u32.to_be_bytes(), &[0xff, 0xff]].concat();
        let expected = UNIX_EPOCH + Duration::from_millis(1_796_068_800_500);
        assert_eq!(moment(&time), Some(expected));
        let entry = |bytes: &[u8]| Entry::Value(bytes.to_vec());
        let one =
            bucket([("id", entry(&[0xac, 2])), ("size", entry(&[0x80, 0x40])), ("updatedat", entry(&time))]);
        let found = all(Some(&bucket([("k8s.io/1/a", Entry::Bucket(one)), ("x", entry(b""))])));
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("k8s.io/1/a".to_owned(), Snapshot { id: 300, size: Some(4096), done: Some(expected) })]
        );
    }

    #[test]
    fn what_was_cut_off_or_written_later_looks_changed() {
        let dir = tempfile::tempdir().unwrap();
        let fs = dir.path().join("fs");
        host::fs::create_dir_all(&fs.join("usr/bin"), 0o755).unwrap();
        host::fs::write(&fs.join("usr/bin/tool"), &vec![1; 100_000], 0o755).unwrap();
        let mut walk = Walk::default();
        walk.add(&fs).unwrap();
        let done = SystemTime::now();
        let snapshot = Snapshot { id: 1, size: Some(walk.size), done: Some(done) };
        assert!(!snapshot.looks_changed(&fs, true).unwrap());
        let before = Snapshot { done: Some(done - Duration::from_secs(10)), ..snapshot.clone() };
        assert!(before.looks_changed(&fs, false).unwrap(), "a file is newer");
        host::fs::write(&fs.join("usr/bin/tool"), b"", 0o755).unwrap();
        assert!(snapshot.looks_changed(&fs, true).unwrap(), "it is smaller");
        assert!(!snapshot.looks_changed(&fs, false).unwrap());
        assert!(snapshot.looks_changed(&dir.path().join("gone"), false).is_err());
    }
}
