//! Whether containerd's two databases can be used, and agree with each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::fs::FsError;

use crate::bolt::{self, Bucket, Db};
use crate::snapshot::{self, Snapshot};

/// Where containerd has its names and what they lead to, below its directory (plugins/metadata of containerd/containerd).
pub const METADATA: &str = "io.containerd.metadata.v1.bolt";
/// Its blobs (plugins/content/local).
pub const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";
/// What it unpacks (plugins/snapshots/overlay).
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";
/// How its database calls that.
const OVERLAYFS: &str = "overlayfs";
/// The first bucket of either.
const SCHEMA: &str = "v1";
/// The namespace of images that pods use.
const NAMESPACE: &str = "k8s.io";

/// How often it is looked again, and how long is waited between: a containerd that runs writes meanwhile, and the two
/// databases one after the other.
const LOOKS: (usize, Duration) = (4, Duration::from_millis(150));

/// Why containerd's state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, as a clause.
    pub why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

/// How containerd's directory lies there.
#[derive(Debug)]
pub enum Standing {
    /// Nothing is in it yet.
    Empty,
    /// It can be used.
    Whole(Store),
    /// It cannot.
    Damaged(Damage),
}

/// What is in it.
#[derive(Debug)]
pub struct Store {
    /// Where it lies for us.
    pub(crate) dir: PathBuf,
    meta: Bucket,
    snapshots: BTreeMap<String, Snapshot>,
}

/// Looks at containerd's directory: `at` is where it lies for us, `dir` what messages call it.
///
/// # Errors
/// [`FsError`] when something of it cannot be read.
pub fn look(at: &Path, dir: &Path) -> Result<Standing, FsError> {
    let mut found = look_once(at, dir)?;
    for _ in 1..LOOKS.0 {
        if !matches!(found, Standing::Damaged(_)) {
            break;
        }
        std::thread::sleep(LOOKS.1);
        found = look_once(at, dir)?;
    }
    Ok(found)
}

fn look_once(at: &Path, dir: &Path) -> Result<Standing, FsError> {
    let (metadata, snapshotter) =
        (Path::new(METADATA).join("meta.db"), Path::new(SNAPSHOTTER).join("metadata.db"));
    // The snapshotter's second: containerd writes there first, so that it has all that the first one names.
    let (meta, snapshots) = (bolt::read(&at.join(&metadata))?, bolt::read(&at.join(&snapshotter))?);
    let unpacked = entries(&at.join(SNAPSHOTTER).join("snapshots"))?;
    let blobs = entries(&at.join(BLOBS))?;
    let damaged = |file: &Path, why: String| Ok(Standing::Damaged(Damage { file: dir.join(file), why }));
    let meta = match meta {
        Db::Whole(meta) => meta,
        Db::Damaged(why) => return damaged(&metadata, why),
        Db::Gone if blobs + unpacked == 0 => return Ok(Standing::Empty),
        Db::Gone => {
            return damaged(
                &metadata,
                format!("it is empty or gone, and {blobs} blobs and {unpacked} snapshots are there"),
            );
        }
    };
    let snapshots = match snapshots {
        Db::Whole(snapshots) => snapshot::all(snapshots.at(&[SCHEMA, "snapshots"])),
        Db::Damaged(why) => return damaged(&snapshotter, why),
        Db::Gone => BTreeMap::new(),
    };
    let store = Store { dir: at.to_owned(), meta, snapshots };
    match store.disagreement(unpacked) {
        Some((file, why)) => damaged(if file == METADATA { &metadata } else { &snapshotter }, why),
        None => Ok(Standing::Whole(store)),
    }
}

fn entries(dir: &Path) -> Result<usize, FsError> {
    Ok(if dir.is_dir() { host::fs::list(dir)?.len() } else { 0 })
}

impl Store {
    /// Which database does not know what the other one does, and why that is said.
    fn disagreement(&self, unpacked: usize) -> Option<(&'static str, String)> {
        let named: Vec<&str> = self.named().collect();
        let missing = named.iter().filter(|name| !self.snapshots.contains_key(**name)).count();
        if missing > 0 {
            return Some((
                SNAPSHOTTER,
                format!("it lacks {missing} of {} snapshots that there were", named.len()),
            ));
        }
        if named.is_empty() && !self.snapshots.is_empty() {
            return Some((
                METADATA,
                format!("it was made anew, and knows none of {} snapshots", self.snapshots.len()),
            ));
        }
        if self.snapshots.is_empty() && unpacked > 0 {
            return Some((SNAPSHOTTER, format!("it is empty or gone, and {unpacked} snapshots are there")));
        }
        let gone = self.snapshots.values().filter(|snapshot| !self.unpacked(snapshot).is_dir()).count();
        (gone > 0).then(|| (SNAPSHOTTER, format!("the directories of {gone} snapshots are gone")))
    }

    /// What the snapshotter calls those that the other database names, of all namespaces.
    fn named(&self) -> impl Iterator<Item = &str> {
        let namespaces = self.meta.bucket(SCHEMA).into_iter().flat_map(Bucket::buckets);
        let snapshots = namespaces.filter_map(|(_, namespace)| namespace.at(&["snapshots", OVERLAYFS]));
        snapshots.flat_map(Bucket::buckets).filter_map(|(_, snapshot)| snapshot.text("name"))
    }

    /// The names of all images that pods can use, and of what each is: the digest of its manifest or index.
    pub(crate) fn images(&self) -> impl Iterator<Item = (&str, &str)> {
        // "images" in its sources (`bucketKeyObjectImages`), "image" in their comment.
        let images = self.meta.at(&[SCHEMA, NAMESPACE, "images"]).into_iter().flat_map(Bucket::buckets);
        images.filter_map(|(name, image)| Some((name, image.bucket("target")?.text("digest")?)))
    }

    /// What is unpacked of the layers up to that chain of theirs; none when nothing is.
    pub(crate) fn snapshot(&self, chain: &str) -> Option<&Snapshot> {
        let named = self.meta.at(&[SCHEMA, NAMESPACE, "snapshots", OVERLAYFS, chain])?;
        self.snapshots.get(named.text("name")?)
    }

    /// Where a snapshot's files lie.
    pub(crate) fn unpacked(&self, snapshot: &Snapshot) -> PathBuf {
        self.dir.join(SNAPSHOTTER).join("snapshots").join(snapshot.id.to_string()).join("fs")
    }

    /// Where a blob lies.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join(BLOBS).join(digest.trim_start_matches("sha256:"))
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
