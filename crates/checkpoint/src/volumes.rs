//! What a pod's volumes hold, read from where the kubelet made files of Secrets and ConfigMaps.
//!
//! So a checkpoint has exactly what the running instance sees (items, modes, optional ones, owners), and no
//! right on Secrets is needed. The kubelet's layout (`AtomicWriter`, pkg/volume/util/atomic_writer.go):
//!
//! ```text
//! <kubelet>/pods/<uid>/volumes/kubernetes.io~secret/<volume>/
//!     ..data -> ..2026_11_22_10_00_00.123     replaced by one rename when the content changes
//!     ..2026_11_22_10_00_00.123/tls.crt       the files
//!     tls.crt -> ..data/tls.crt               what the container opens
//! ```

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use objects::{pod, text};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat};
use rustix::io::Errno;
use serde_json::Value;

use crate::source::{Source, source_of};
use crate::tree::{Tree, TreeError, read_tree};

/// Leads to the directory with the files.
const DATA: &CStr = c"..data";
/// How often the content may change while it is read, and how long to wait before the next try: the
/// kubelet changes it once in a minute at most.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// What the copied volumes of a pod hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Volumes {
    /// The files of each volume, by its name.
    pub trees: BTreeMap<String, Tree>,
    /// Since when all of this is there; an instance that started earlier may have read something else.
    /// `None` when the pod has no such volume.
    pub content_since: Option<Timestamp>,
}

/// Why a pod's volumes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// The object is none that the API made.
    #[error("the pod has no UID")]
    NoUid,
    /// The kubelet has not made it yet, or has removed it with the pod.
    #[error("volume {volume} is not at {}", path.display())]
    Missing {
        /// The volume's name.
        volume: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// No two looks saw the same.
    #[error("the volumes changed each time that they were read")]
    Unsteady,
    /// A file could not be read.
    #[error("cannot read {path} of volume {volume}")]
    Read {
        /// The volume's name.
        volume: String,
        /// Relative to the volume.
        path: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A device, a socket, a symbolic link.
    #[error("{path} of volume {volume} is neither a file nor a directory")]
    Odd {
        /// The volume's name.
        volume: String,
        /// Relative to the volume.
        path: String,
    },
    /// The directory of the pods could not be reached.
    #[error("cannot open {}", path.display())]
    Open {
        /// What could not be opened.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// Reads all volumes of a pod that a checkpoint copies.
///
/// `host_root` is where the host's root directory is seen (`/`, or `/proc/1/root` from a container in the
/// host's pid namespace); paths and symbolic links below it are followed as the host would.
///
/// # Errors
/// [`VolumesError`]; nothing half-read is returned.
pub fn read_volumes(host_root: &Path, kubelet_root: &Path, pod: &Value) -> Result<Volumes, VolumesError> {
    let uid = text(&pod["metadata"]["uid"]);
    if uid.is_empty() {
        return Err(VolumesError::NoUid);
    }
    let pod_dir = kubelet_root.join("pods").join(uid).join("volumes");
    let mut opened = Vec::new();
    for volume in pod::volumes(pod) {
        if let Source::Copied { plugin, without } = source_of(volume) {
            let name = text(&volume["name"]).to_owned();
            let dir = open(host_root, &pod_dir.join(plugin).join(&name), &name)?;
            opened.push(Opened { name, dir, without });
        }
    }
    for _ in 0..TRIES {
        match read_steadily(&opened) {
            Ok(Some(volumes)) => return Ok(volumes),
            Ok(None) => sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Err(VolumesError::Unsteady)
}

struct Opened {
    name: String,
    dir: OwnedFd,
    without: Vec<String>,
}

fn open(host_root: &Path, path: &Path, volume: &str) -> Result<OwnedFd, VolumesError> {
    let failed =
        |path: &Path, errno: Errno| VolumesError::Open { path: path.to_owned(), source: errno.into() };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(host_root, flags | OFlags::PATH, Mode::empty())
        .map_err(|errno| failed(host_root, errno))?;
    let inside = path.strip_prefix("/").unwrap_or(path);
    openat2(root, inside, flags | OFlags::RDONLY, Mode::empty(), ResolveFlags::IN_ROOT).map_err(|errno| {
        match errno {
            Errno::NOENT => VolumesError::Missing { volume: volume.to_owned(), path: path.to_owned() },
            errno => failed(path, errno),
        }
    })
}

/// One look at all volumes; `None` when one of them changed meanwhile.
fn read_steadily(opened: &[Opened]) -> Result<Option<Volumes>, VolumesError> {
    let before = opened.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let mut volumes = Volumes::default();
    for (volume, (target, stat)) in opened.iter().zip(&before) {
        match read(volume, target) {
            // The kubelet removes the old directory once it has replaced the link.
            Err(VolumesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
            Ok(tree) => {
                volumes.trees.insert(volume.name.clone(), tree);
                volumes.content_since = volumes.content_since.max(modified(stat));
            }
        }
    }
    let after = opened.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let same = before.iter().zip(&after).all(|((before, _), (after, _))| before == after);
    Ok(same.then_some(volumes))
}

/// Where `..data` leads now, and since when.
fn look(volume: &Opened) -> Result<(CString, Stat), VolumesError> {
    let failed = |errno: Errno| match errno {
        Errno::NOENT => VolumesError::Missing { volume: volume.name.clone(), path: "..data".into() },
        errno => read_error(&volume.name, "..data", errno),
    };
    let target = readlinkat(&volume.dir, DATA, Vec::new()).map_err(failed)?;
    let stat = statat(&volume.dir, DATA, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    Ok((target, stat))
}

/// When the link was made, which is right after the files were.
fn modified(stat: &Stat) -> Option<Timestamp> {
    let (seconds, nanoseconds) = (stat.st_mtime, stat.st_mtime_nsec);
    Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0)).ok()
}

fn read(volume: &Opened, target: &CStr) -> Result<Tree, VolumesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(&volume.dir, target, flags, Mode::empty());
    let dir = dir.map_err(|errno| read_error(&volume.name, "..data", errno))?;
    let tree = read_tree(dir.as_fd()).map_err(|error| match error {
        TreeError::Io { path, source } => VolumesError::Read { volume: volume.name.clone(), path, source },
        TreeError::Odd { path } => VolumesError::Odd { volume: volume.name.clone(), path },
    })?;
    let without: Vec<&str> = volume.without.iter().map(String::as_str).collect();
    Ok(if without.is_empty() { tree } else { tree.without(&without) })
}

fn read_error(volume: &str, path: &str, errno: Errno) -> VolumesError {
    VolumesError::Read { volume: volume.to_owned(), path: path.to_owned(), source: errno.into() }
}
