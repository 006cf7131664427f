//! Why an upgrade could not be planned or done.

use std::path::PathBuf;
use std::time::Duration;

use causes::Cause;
use host::command::CommandError;
use host::fs::FsError;

/// Why an upgrade could not be planned or done.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// A rendered manifest is no YAML.
    #[error("{path} was rendered and cannot be read")]
    Manifest {
        /// The file in the asset directory.
        path: String,
        /// Where and why.
        source: assets::YamlError,
    },
    /// The API did not answer, or said no.
    #[error("the API cannot be asked")]
    Api(#[from] api::ApiError),
    /// The container runtime did not answer.
    #[error("the container runtime cannot be asked")]
    Runtime(#[from] cri::CriError),
    /// A file could not be read or written.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The state of an unfinished run cannot be read.
    #[error("{} cannot be used: {reason}", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A program could not be had, to be asked for its flags or to take a snapshot.
    #[error(transparent)]
    Program(#[from] node::programs::ProgramError),
    /// etcd's snapshot failed.
    #[error(transparent)]
    Snapshot(#[from] etcd::SnapshotError),
    /// What was left of a program that was had of an image does not go.
    #[error("what was left of the last run does not go")]
    Left(#[from] node::image_file::ImageFileError),
    /// The images could not be imported.
    #[error("the images cannot be imported")]
    Images(#[from] node::images::ImagesError),
    /// This node's programs or units could not be changed.
    #[error("this node cannot be changed")]
    Node(#[from] node::InstallError),
    /// A unit could not be restarted.
    #[error("cannot handle {unit}")]
    Unit {
        /// The unit.
        unit: String,
        /// What `systemctl` said.
        source: CommandError,
    },
    /// The API refused objects.
    #[error("the API refused objects of {part}: {reasons}")]
    Rejected {
        /// The part.
        part: &'static str,
        /// Which objects, and why.
        reasons: String,
    },
    /// Something was changed and does not become ready.
    #[error("{what} is not ready after {} s: {why}{}", after.as_secs(), told(causes))]
    NotReady {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
        /// What is missing.
        why: String,
        /// What the API has that is in the way.
        causes: Vec<Cause>,
    },
    /// Pods do not leave this node.
    #[error("node {node} still has pods after {} s: {why}", after.as_secs())]
    NotDrained {
        /// This node.
        node: String,
        /// How long was waited.
        after: Duration,
        /// Which pod, and why.
        why: String,
    },
    /// Something was changed and certainly will not become ready.
    #[error("{what} fails: {why}{}", told(causes))]
    Broken {
        /// What.
        what: String,
        /// How.
        why: String,
        /// What the API has that is in the way.
        causes: Vec<Cause>,
    },
}

/// Each on a line of its own.
fn told(causes: &[Cause]) -> String {
    causes.iter().fold(String::new(), |text, cause| text + &format!("\nin the way: {cause}"))
}
