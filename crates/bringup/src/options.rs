//! What a bring-up is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::assets::AssetDir;
use names::path;

use crate::required::{InvalidRequiredPod, RequiredPod};
use crate::surroundings::{Surroundings, ThisHost};

/// bootkube's required pods, without its checkpointer.
pub const DEFAULT_REQUIRED_PODS: [&str; 3] =
    ["kube-system/kube-apiserver", "kube-system/kube-controller-manager", "kube-system/kube-scheduler"];

/// How often something is looked at that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// How long one request to the API may take while it is waited for.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// How a control plane is brought up on this host.
#[derive(Debug, Clone)]
pub struct Options {
    /// The asset directory, in bootkube's layout.
    pub asset_dir: PathBuf,
    /// What is in it, where it has been read already.
    pub assets: Option<Arc<AssetDir>>,
    /// This node's name in the cluster; it has to be the one that its kubelet registers with.
    pub node_name: String,
    /// What stands for this node's root directory: where a pod's host paths begin.
    pub root: PathBuf,
    /// What it stands on beside files.
    pub surroundings: Arc<dyn Surroundings>,
    /// Where the kubelet looks for static pods.
    pub manifest_dir: PathBuf,
    /// Where the temporary control plane's static pods look for their secrets.
    pub secrets_dir: PathBuf,
    /// Where the guardian keeps its checkpoints.
    pub checkpoint_dir: PathBuf,
    /// The container runtime's socket.
    pub runtime_socket: PathBuf,
    /// Pods that must be ready on this node before the pivot.
    pub required: Vec<RequiredPod>,
    /// How long each wait may take.
    pub timeout: Duration,
}

impl Options {
    /// The usual places; `node_name` and the asset directory are always the caller's.
    pub fn new(asset_dir: PathBuf, node_name: String) -> Self {
        Self {
            asset_dir,
            assets: None,
            node_name,
            root: "/".into(),
            surroundings: Arc::new(ThisHost),
            manifest_dir: path::STATIC_PODS.into(),
            secrets_dir: path::BOOTSTRAP_SECRETS.into(),
            checkpoint_dir: path::CHECKPOINTS.into(),
            runtime_socket: path::CRI_SOCKET.into(),
            required: required(DEFAULT_REQUIRED_PODS).unwrap_or_default(),
            timeout: Duration::from_mins(5),
        }
    }

    /// The same for a node whose root directory is there: all places but that of the asset directory lie below it.
    pub fn below(mut self, root: &Path, surroundings: Arc<dyn Surroundings>) -> Self {
        let places = [
            &mut self.manifest_dir,
            &mut self.secrets_dir,
            &mut self.checkpoint_dir,
            &mut self.runtime_socket,
        ];
        for place in places {
            *place = below(root, place);
        }
        Self { root: root.to_owned(), surroundings, ..self }
    }

    /// Where a path of the node lies for us.
    pub(crate) fn on_node(&self, path: &Path) -> PathBuf {
        below(&self.root, path)
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Reads required pods in bootkube's notation.
///
/// # Errors
/// The first that is not in it.
pub fn required<S: AsRef<str>>(
    texts: impl IntoIterator<Item = S>,
) -> Result<Vec<RequiredPod>, InvalidRequiredPod> {
    texts.into_iter().map(|text| text.as_ref().parse()).collect()
}
