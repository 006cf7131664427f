//! Why nothing is kept or restored.

use std::io;
use std::path::PathBuf;

use cri::CriError;
use host::command::CommandError;
use host::fs::FsError;
use node::image_file::ImageFileError;
use node::programs::ProgramError;

/// Why nothing is kept or restored, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// This host runs no etcd as a static pod.
    #[error("{} is not there: no etcd is this node's", path.display())]
    NoEtcd {
        /// The manifest.
        path: PathBuf,
    },
    /// The manifest does not say what is needed.
    #[error("{} is no manifest of an etcd that can be restored: {why}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// A clause.
        why: String,
    },
    /// It has other members.
    #[error("etcd has {} members ({}): a snapshot would be one truth, and what they have another", members.len(), members.join(", "))]
    Others {
        /// Their URLs.
        members: Vec<String>,
    },
    /// The snapshot could not be taken, is not whole, or cannot be read.
    #[error(transparent)]
    Snapshot(#[from] etcd::SnapshotError),
    /// It is of another cluster.
    #[error("{} is of another cluster: the certificate of {} is nowhere in it", path.display(), ca.display())]
    OtherCluster {
        /// The snapshot.
        path: PathBuf,
        /// This cluster's authority.
        ca: PathBuf,
    },
    /// `etcdutl` could not be had.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// What it was had by does not go.
    #[error("what etcd's tool was had by does not go")]
    Left(#[from] ImageFileError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The container runtime did not do as it was told.
    #[error("etcd and the API servers of this node are not ended")]
    Runtime(#[from] CriError),
    /// A file could not be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// What was unpacked is no data of etcd.
    #[error("what was unpacked to {} is no data of etcd", dir.display())]
    Unpacked {
        /// Where.
        dir: PathBuf,
        /// Why, when that is known.
        source: Option<io::Error>,
    },
}
