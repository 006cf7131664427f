//! The files themselves.

use std::path::{Path, PathBuf};

use assets::{ANSWER, AssetTree, KubeletCertificate, RenderError};
use doctor::Files;
use host::fs::FsError;
use host::place::{HostFile, place};
use jiff::Timestamp;
use names::path;
use node::Root;
use pki::NodeIdentity;

/// Where the key of a request is kept until it is answered: whoever was killed meanwhile asks the same again.
const REQUEST: &str = ".request.key";

/// Keys that cannot be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file operation.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A key that cannot be read.
    #[error(transparent)]
    Pki(#[from] pki::PkiError),
    /// What is there is not enough to make the rest of.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// A node's certificates and keys.
#[derive(Debug, Clone)]
pub struct Keys {
    root: Root,
    /// All else of the node, whose own links lead below it: `/var/log` may be one.
    host: Files,
}

impl Keys {
    /// Those below `root`, where all of them are mounted. `host_root` is where everything else of the node is seen.
    pub fn new(root: impl Into<PathBuf>, host_root: impl Into<PathBuf>) -> Self {
        Self { root: Root::below(root), host: Files::new(Root::below(host_root)) }
    }

    /// Where an absolute path of the node lies for us.
    pub(crate) fn locate(&self, absolute: &str) -> PathBuf {
        self.root.path(absolute)
    }

    /// Whether this node has what the control plane needs. The guardian's own come last: see [`Keys::put`].
    pub fn are_there(&self) -> bool {
        self.locate(&format!("{}/kubeconfig", path::GUARDIAN_CREDENTIALS)).exists()
    }

    /// The file system that they are in.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// All that there is.
    ///
    /// # Errors
    /// [`KeysError::Fs`].
    pub fn read(&self) -> Result<AssetTree, KeysError> {
        Ok(assets::read_node(|absolute| self.locate(absolute))?)
    }

    /// Makes this node's files of those that it has, or of those that another one shared; returns what was written.
    ///
    /// # Errors
    /// [`KeysError`]; what was there stays then.
    pub fn put(
        &self,
        existing: &AssetTree,
        node: &NodeIdentity,
        now: Timestamp,
    ) -> Result<Vec<PathBuf>, KeysError> {
        let tree = assets::for_node(existing, node, now)?;
        let placed = self.place(&tree)?;
        let of_kubelet =
            [KubeletCertificate::Client, KubeletCertificate::Serving].map(KubeletCertificate::request);
        self.forget_requests(&tree, |name| !of_kubelet.contains(&name))?;
        Ok(placed)
    }

    /// Writes a tree's files, where they differ.
    fn place(&self, tree: &AssetTree) -> Result<Vec<PathBuf>, KeysError> {
        let mut files = tree.node_files();
        for file in &mut files {
            file.path = self.locate(&file.path.to_string_lossy());
        }
        // By the last one it is seen that all are there.
        let own = self.locate(path::GUARDIAN_CREDENTIALS);
        files.sort_by_key(|file: &HostFile| file.path.starts_with(&own));
        Ok(place(&files)?)
    }

    /// Asks for what is called that in requests; with an empty tree for nothing any more.
    pub(super) fn ask_for(&self, name: &str, waiting: &AssetTree) -> Result<(), KeysError> {
        self.place(waiting)?;
        self.forget_requests(waiting, |other| other == name)
    }

    /// Removes of requests, among those of these names, what a tree does not have: it is answered, or does not stand in the way
    /// of an answer any more. An answer stays as long as it is waited for.
    fn forget_requests(&self, tree: &AssetTree, whose: impl Fn(&str) -> bool) -> Result<(), KeysError> {
        let asked = assets::requests_of(tree);
        for path in host::fs::list(&self.locate(path::CERTIFICATE_REQUESTS))? {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = file.split_once('.').map_or(file, |(name, _)| name);
            let waits = asked.contains(name) && file.ends_with(ANSWER);
            if whose(name) && !waits && !assets::has_request_file(tree, file) {
                host::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Makes the directories that components write to, where they are missing: what lies on a disk of its own may not have
    /// survived.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn make_dirs(&self) -> Result<(), KeysError> {
        let config = assets::config_of(&self.read()?)?;
        let located = |(dir, owner): (PathBuf, host::fs::Owner)| (self.host.path(dir), owner);
        let dirs: Vec<_> = assets::node_dirs(&config).into_iter().map(located).collect();
        Ok(host::place::make_dirs(&dirs)?)
    }

    /// Removes all of them: this node is none of the control plane's any more.
    ///
    /// # Errors
    /// [`KeysError::Fs`]; another call goes on.
    pub fn remove(&self) -> Result<(), KeysError> {
        for entry in host::fs::list(&self.locate(path::CONTROL_PLANE))? {
            if entry.is_dir() && !entry.is_symlink() {
                host::fs::remove_dir_all(&entry)?;
            } else {
                host::fs::remove_file(&entry)?;
            }
        }
        Ok(())
    }

    /// The cluster CA's certificate, as the kubelet has it.
    pub(super) fn ca(&self) -> Result<String, KeysError> {
        Ok(host::fs::read_to_string(&self.locate(path::CA_CERTIFICATE))?)
    }

    fn request_path(&self) -> PathBuf {
        self.locate(path::CONTROL_PLANE).join(REQUEST)
    }

    /// The key of a request that was made before.
    pub(super) fn request_key(&self) -> Option<String> {
        host::fs::read_to_string(&self.request_path()).ok()
    }

    pub(super) fn keep_request_key(&self, pem: &str) -> Result<(), KeysError> {
        let dir = self.locate(path::CONTROL_PLANE);
        host::fs::create_dir_all(&dir, 0o700)?;
        Ok(host::fs::write(&self.request_path(), pem.as_bytes(), 0o400)?)
    }

    pub(super) fn forget_request(&self) -> Result<(), KeysError> {
        host::fs::remove_file(&self.request_path())?;
        Ok(())
    }
}

/// Whether a path is one of these files, for messages.
pub(super) fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| Path::new(path).display().to_string()).collect()
}
