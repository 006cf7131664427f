//! A database of bbolt's, read whole (go.etcd.io/bbolt, internal/common/page.go, meta.go, bucket.go). It has two pages at its
//! head, of which the newer whole one leads to a tree of pages: buckets of keys, whose values are bytes or buckets again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use host::fs::FsError;

/// A larger one is read by nobody here, in bytes: containerd's have some hundred KiB for a node's pods.
const LARGEST: u64 = 256 << 20;
/// Buckets in buckets; containerd's schema has eight (core/metadata/buckets.go).
const DEEPEST: usize = 16;
/// What each page begins with, in bytes: its number, kind, count of elements, and how many pages it goes on for.
const HEADER: usize = 16;
/// An element of a page, in bytes.
const ELEMENT: usize = 16;
/// What stands before the page of a bucket that lies in its parent's, in bytes: its root and a counter.
const BUCKET: usize = 16;
/// `Magic` and `Version` of bbolt's internal/common/types.go.
const MAGIC: (u32, u32) = (0xED0C_DAED, 2);
/// The bytes of a meta page that its checksum is of.
const SUMMED: usize = 56;
/// The kinds of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const FREELIST: u16 = 0x10;
/// The number of a freelist that is not kept (`PgidNoFreelist`).
const NO_FREELIST: u64 = u64::MAX;
/// The flag of an element that is a bucket (`BucketLeafFlag`).
const IS_BUCKET: u32 = 1;
/// Sizes that pages may have (`getPageSizeFromSecondMeta` of its db.go), in bytes.
const PAGE_SIZES: [usize; 7] = [1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16];

/// How a database lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Db {
    /// There is no file, or an empty one, which is as good: it is made anew.
    Gone,
    /// What is in it.
    Whole(Bucket),
    /// It cannot be read, as a clause.
    Damaged(String),
}

/// Keys with what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bucket(pub(crate) BTreeMap<Vec<u8>, Entry>);

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Value(Vec<u8>),
    Bucket(Bucket),
}

impl Bucket {
    /// A bucket in it.
    pub(crate) fn bucket(&self, key: &str) -> Option<&Self> {
        match self.0.get(key.as_bytes())? {
            Entry::Bucket(bucket) => Some(bucket),
            Entry::Value(_) => None,
        }
    }

    /// A bucket at the end of a way through others.
    pub(crate) fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |bucket, key| bucket.bucket(key))
    }

    /// A value in it.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        match self.0.get(key.as_bytes())? {
            Entry::Value(value) => Some(value),
            Entry::Bucket(_) => None,
        }
    }

    /// A value that is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.value(key)?).ok()
    }

    /// The buckets in it.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(key, entry)| match entry {
            Entry::Bucket(bucket) => Some((std::str::from_utf8(key).ok()?, bucket)),
            Entry::Value(_) => None,
        })
    }
}

/// Reads one.
///
/// # Errors
/// [`FsError`] when the file is there and cannot be read.
pub(crate) fn read(path: &Path) -> Result<Db, FsError> {
    let bytes = match host::fs::read_small(path, LARGEST) {
        Err(error) if error.is_not_found() => return Ok(Db::Gone),
        other => other?,
    };
    if bytes.is_empty() {
        return Ok(Db::Gone);
    }
    Ok(match Pages::of(&bytes).and_then(|pages| pages.all()) {
        Ok(bucket) => Db::Whole(bucket),
        Err(why) => Db::Damaged(why),
    })
}

/// A file as pages.
struct Pages<'a> {
    bytes: &'a [u8],
    size: usize,
    root: u64,
    freelist: u64,
    /// The number of the first page that there is not.
    end: u64,
}

type Read<T> = Result<T, String>;

impl<'a> Pages<'a> {
    /// By the newer of its heads that is whole.
    fn of(bytes: &'a [u8]) -> Read<Self> {
        let first = head(bytes, 0);
        let second = PAGE_SIZES.iter().find_map(|size| head(bytes, *size).filter(|head| head.size == *size));
        let head = [first, second].into_iter().flatten().max_by_key(|head| head.transaction);
        let head = head.ok_or("neither of its two heads is one")?;
        let pages = Self { bytes, size: head.size, root: head.root, freelist: head.freelist, end: head.end };
        let needed = head.end.checked_mul(head.size as u64);
        if needed.is_none_or(|needed| needed > bytes.len() as u64) {
            return Err(format!(
                "it has {} bytes, and its head says {} pages of {}",
                bytes.len(),
                head.end,
                head.size
            ));
        }
        Ok(pages)
    }

    fn all(&self) -> Read<Bucket> {
        if self.freelist != NO_FREELIST && number::<2>(self.page(self.freelist)?, 8) != u64::from(FREELIST) {
            return Err(format!("page {} is no list of free pages", self.freelist));
        }
        self.tree(self.root, &mut BTreeSet::new(), 0)
    }

    /// A page with all that belongs to it.
    fn page(&self, number: u64) -> Read<&'a [u8]> {
        let wrong = || format!("page {number} is not there");
        if number >= self.end {
            return Err(wrong());
        }
        let at = usize::try_from(number)
            .ok()
            .and_then(|number| number.checked_mul(self.size))
            .ok_or_else(wrong)?;
        let page = self.bytes.get(at..).ok_or_else(wrong)?;
        if self::number::<8>(page, 0) != number {
            return Err(format!("page {number} is none"));
        }
        let more = usize::try_from(self::number::<4>(page, 12)).map_err(|_| wrong())?;
        let length = more.checked_add(1).and_then(|pages| pages.checked_mul(self.size)).ok_or_else(wrong)?;
        page.get(..length).ok_or_else(|| format!("page {number} goes on behind the end of the file"))
    }

    /// A bucket from its root. Each page is somebody's once.
    fn tree(&self, root: u64, seen: &mut BTreeSet<u64>, depth: usize) -> Read<Bucket> {
        let mut bucket = Bucket::default();
        let mut next = vec![root];
        while let Some(number) = next.pop() {
            if !seen.insert(number) {
                return Err(format!("page {number} is in it twice"));
            }
            let page = self.page(number)?;
            match u16_at(page, 8) {
                BRANCH => next.extend(branches(page).map_err(|why| format!("page {number}: {why}"))?),
                LEAF => self
                    .leaf(page, &mut bucket, seen, depth)
                    .map_err(|why| format!("page {number}: {why}"))?,
                kind => return Err(format!("page {number} is of no kind ({kind:#x})")),
            }
        }
        Ok(bucket)
    }

    fn leaf(&self, page: &[u8], bucket: &mut Bucket, seen: &mut BTreeSet<u64>, depth: usize) -> Read<()> {
        for element in elements(page)? {
            let at = |offset| usize::try_from(number::<4>(element, offset)).unwrap_or(usize::MAX);
            let key = slice(element, at(4), at(8))?;
            let value = slice(element, at(4).saturating_add(at(8)), at(12))?;
            let entry = if number::<4>(element, 0) == u64::from(IS_BUCKET) {
                Entry::Bucket(self.nested(value, seen, depth + 1)?)
            } else {
                Entry::Value(value.to_vec())
            };
            bucket.0.insert(key.to_vec(), entry);
        }
        Ok(())
    }

    /// A small bucket lies in its parent's page, with 0 for its root.
    fn nested(&self, value: &[u8], seen: &mut BTreeSet<u64>, depth: usize) -> Read<Bucket> {
        if depth > DEEPEST {
            return Err("its buckets have no end".to_owned());
        }
        if value.len() < BUCKET {
            return Err("a bucket in it is cut off".to_owned());
        }
        let root = number::<8>(value, 0);
        if root != 0 {
            return self.tree(root, seen, depth);
        }
        let page = &value[BUCKET..];
        if page.len() < HEADER || u16_at(page, 8) != LEAF {
            return Err("a bucket in it is none".to_owned());
        }
        let mut bucket = Bucket::default();
        self.leaf(page, &mut bucket, seen, depth)?;
        Ok(bucket)
    }
}

/// What a head says.
struct Head {
    size: usize,
    root: u64,
    freelist: u64,
    end: u64,
    transaction: u64,
}

fn head(bytes: &[u8], at: usize) -> Option<Head> {
    let meta = bytes.get(at + HEADER..at + HEADER + SUMMED + 8)?;
    let is_one = number::<4>(meta, 0) == u64::from(MAGIC.0)
        && number::<4>(meta, 4) == u64::from(MAGIC.1)
        && number::<8>(meta, SUMMED) == checksum(&meta[..SUMMED]);
    let size = usize::try_from(number::<4>(meta, 8)).ok().filter(|size| PAGE_SIZES.contains(size))?;
    is_one.then(|| Head {
        size,
        root: number::<8>(meta, 16),
        freelist: number::<8>(meta, 32),
        end: number::<8>(meta, 40),
        transaction: number::<8>(meta, 48),
    })
}

/// FNV-1a of 64 bits (`Sum64` of its meta.go).
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn branches(page: &[u8]) -> Read<Vec<u64>> {
    Ok(elements(page)?.map(|element| number::<8>(element, 8)).collect())
}

/// Each with all that follows it: what it points to is counted from its own place.
fn elements(page: &[u8]) -> Read<impl Iterator<Item = &[u8]>> {
    let count = usize::from(u16_at(page, 10));
    if HEADER + count * ELEMENT > page.len() {
        return Err(format!("it does not hold {count} elements"));
    }
    Ok((0..count).map(move |index| &page[HEADER + index * ELEMENT..]))
}

fn slice(element: &[u8], at: usize, length: usize) -> Read<&[u8]> {
    let cut_off = || "an element of it is cut off".to_owned();
    element.get(at..at.checked_add(length).ok_or_else(cut_off)?).ok_or_else(cut_off)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::try_from(number::<2>(bytes, at)).unwrap_or_default()
}

/// A number of so many bytes, the lowest first: pages are written as they lie in the memory of a little-endian machine.
/// 0 where there are no such bytes.
fn number<const BYTES: usize>(bytes: &[u8], at: usize) -> u64 {
    let found = at.checked_add(BYTES).and_then(|end| bytes.get(at..end)).unwrap_or_default();
    found.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// How a bucket would be written: two heads, no list of free pages, and one page, as large as it has to be.
#[cfg(test)]
pub(crate) fn written(bucket: &Bucket) -> Vec<u8> {
    const SIZE: usize = 4096;
    fn leaf(bucket: &Bucket) -> Vec<u8> {
        let mut elements = Vec::new();
        let mut data = Vec::new();
        for (index, (key, entry)) in bucket.0.iter().enumerate() {
            let (flags, value) = match entry {
                Entry::Value(value) => (0u32, value.clone()),
                Entry::Bucket(bucket) => (1, [vec![0; 16], leaf(bucket)].concat()),
            };
            let at = u32::try_from((bucket.0.len() - index) * 16 + data.len()).unwrap();
            let lengths = [key.len(), value.len()].map(|length| u32::try_from(length).unwrap());
            elements.extend([flags, at, lengths[0], lengths[1]].iter().flat_map(|n| n.to_le_bytes()));
            data.extend(key.iter().chain(&value));
        }
        let count = u16::try_from(bucket.0.len()).unwrap();
        let header = [&[0; 8][..], &2u16.to_le_bytes(), &count.to_le_bytes(), &[0; 4]].concat();
        [header, elements, data].concat()
    }
    let mut root = leaf(bucket);
    root[0] = 2;
    let pages = root.len().div_ceil(SIZE);
    root[12..16].copy_from_slice(&u32::try_from(pages - 1).unwrap().to_le_bytes());
    root.resize(pages * SIZE, 0);
    let head = |transaction: u64| {
        let mut meta =
            [MAGIC.0, MAGIC.1, 4096, 0].iter().flat_map(|n: &u32| n.to_le_bytes()).collect::<Vec<_>>();
        meta.extend(
            [2, 0, NO_FREELIST, 2 + pages as u64, transaction].iter().flat_map(|n: &u64| n.to_le_bytes()),
        );
        meta.extend(checksum(&meta).to_le_bytes());
        let mut page = [&transaction.to_le_bytes()[..], &4u16.to_le_bytes(), &[0; 6], &meta].concat();
        page.resize(SIZE, 0);
        page
    };
    [head(0), head(1), root].concat()
}

/// A bucket of these.
#[cfg(test)]
pub(crate) fn bucket<const N: usize>(entries: [(&str, Entry); N]) -> Bucket {
    Bucket(entries.map(|(key, entry)| (key.as_bytes().to_vec(), entry)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bucket {
        let long = "x".repeat(5000);
        let inner =
            bucket([("name", Entry::Value(b"k8s.io/1/a".to_vec())), (&long, Entry::Value(vec![1; 3000]))]);
        bucket([
            ("v1", Entry::Bucket(bucket([("k8s.io", Entry::Bucket(inner))]))),
            ("z", Entry::Value(Vec::new())),
        ])
    }

    fn of(bytes: &[u8]) -> Db {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        host::fs::write(&path, bytes, 0o600).unwrap();
        read(&path).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let Db::Whole(found) = of(&written(&sample())) else { panic!("it is whole") };
        assert_eq!(found, sample());
        assert_eq!(found.at(&["v1", "k8s.io"]).unwrap().text("name"), Some("k8s.io/1/a"));
        assert_eq!(found.bucket("v1").unwrap().buckets().map(|(key, _)| key).collect::<Vec<_>>(), ["k8s.io"]);
        assert!(found.bucket("z").is_none() && found.value("v1").is_none());
        assert_eq!(of(b""), Db::Gone);
        assert_eq!(read(Path::new("/nowhere/meta.db")).unwrap(), Db::Gone);
    }

    #[test]
    fn damage_is_told_and_never_believed() {
        let whole = written(&sample());
        let why = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            change(&mut bytes);
            match of(&bytes) {
                Db::Damaged(why) => why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(why(&|bytes| bytes.truncate(1)), "neither of its two heads is one");
        assert_eq!(why(&|bytes| *bytes = b"x\n".to_vec()), "neither of its two heads is one");
        assert_eq!(
            why(&|bytes| bytes.truncate(9000)),
            "it has 9000 bytes, and its head says 4 pages of 4096"
        );
        assert_eq!(why(&|bytes| bytes[8192..].fill(0)), "page 2 is none");
        assert_eq!(why(&|bytes| bytes[8192 + 8] = 9), "page 2 is of no kind (0x9)");
        assert_eq!(
            why(&|bytes| bytes[8192 + 10..8192 + 12].fill(0xff)),
            "page 2: it does not hold 65535 elements"
        );
        assert_eq!(why(&|bytes| bytes[8192 + 16 + 4 + 3] = 0xff), "page 2: an element of it is cut off");
        // One head is enough.
        let mut one = whole.clone();
        one[..4096].fill(0);
        assert!(matches!(of(&one), Db::Whole(_)));
    }

    #[test]
    fn no_byte_makes_it_panic_or_go_on_for_ever() {
        let whole = written(&sample());
        for at in (0..whole.len()).step_by(7) {
            for value in [0, 1, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                of_bytes(&bytes);
            }
            of_bytes(&whole[..at]);
        }
    }

    fn of_bytes(bytes: &[u8]) {
        let _ = Pages::of(bytes).and_then(|pages| pages.all());
    }
}
