//! Why there is no checkpoint, and what is wrong with one.

use std::fmt;
use std::path::PathBuf;

use host::fs::FsError;

use crate::component::Component;
use crate::id::GenerationId;

/// Why a pod can have no checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The object is none that the API made.
    #[error("it is no pod with a name and a namespace")]
    NoName,
    /// The names of its copies would be refused.
    #[error("its name is too long: {name} has more than {limit} characters")]
    NameTooLong {
        /// The name.
        name: String,
        /// How long it may be.
        limit: usize,
    },
    /// Pod networks come up with the API's help.
    #[error("it does not use the host's network (hostNetwork), and without the API no pod gets another")]
    NotHostNetwork,
    /// The kubelet asks the API what it means.
    #[error("it needs the RuntimeClass {0}, which only the API knows")]
    RuntimeClass(String),
    /// The kubelet asks the API what was allocated.
    #[error("it claims devices (resourceClaims), which only the API allocates")]
    ResourceClaims,
    /// A kind of volume that cannot be had.
    #[error("volume {volume}: a volume of kind {kind} cannot be had without the API")]
    Volume {
        /// The volume's name.
        volume: String,
        /// The field that makes it one.
        kind: String,
    },
    /// A path on the host that depends on who looks.
    #[error("volume {volume}: its path on the host does not begin with /")]
    RelativeHostPath {
        /// The volume's name.
        volume: String,
    },
    /// The volumes given are those of another pod.
    #[error("volume {volume}: what it holds is not known")]
    VolumeNotRead {
        /// The volume's name.
        volume: String,
    },
    /// Variables come from Secrets or ConfigMaps, and nobody knows what they say.
    #[error(
        "container {container}: its environment comes from Secrets or ConfigMaps and is not known, as it does not run"
    )]
    NoEnvironment {
        /// The container's name.
        container: String,
    },
    /// The object was changed after the instance started, or a shell took the variable away.
    #[error(
        "container {container}: variable {variable} comes from a Secret or ConfigMap and the running process does not have it"
    )]
    Variable {
        /// The container's name.
        container: String,
        /// The variable's name.
        variable: String,
    },
    /// A probe's port by a name that no port has.
    #[error("container {container}: no port has the name {port}")]
    Port {
        /// The container's name.
        container: String,
        /// The name.
        port: String,
    },
    /// A kubelet would not take the result.
    #[error("a kubelet would refuse its copy: {}", .0.join("; "))]
    Refused(Vec<String>),
}

/// Something that is wrong on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is wrong with.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.message)
    }
}

/// Why something about generations failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Half a file, or somebody else's.
    #[error("cannot understand {}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Written by another version of kubestrap.
    #[error("{} is of version {version}, which this kubestrap does not know", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version that it says.
        version: u32,
    },
    /// There is no such generation.
    #[error("{component} has no generation {id}")]
    Unknown {
        /// Of what.
        component: Component,
        /// Which one.
        id: GenerationId,
    },
    /// It is not as it was written.
    #[error("generation {id} of {component} is damaged: {}", list(problems))]
    Damaged {
        /// Of what.
        component: Component,
        /// Which one.
        id: GenerationId,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
}

impl StoreError {
    /// True when the file system has no room left.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Fs(error) if error.is_disk_full())
    }
}

pub(crate) fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
