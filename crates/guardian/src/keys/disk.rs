//! The files themselves.

use std::path::{Path, PathBuf};

use assets::{AssetTree, RenderError};
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
    pub(super) fn locate(&self, absolute: &str) -> PathBuf {
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
        let asked = assets::requests_of(&tree);
        let mut files = tree.node_files();
        for file in &mut files {
            file.path = self.locate(&file.path.to_string_lossy());
        }
        // By the last one it is seen that all are there.
        let own = self.locate(path::GUARDIAN_CREDENTIALS);
        files.sort_by_key(|file: &HostFile| file.path.starts_with(&own));
        let placed = place(&files)?;
        let kubelets = [assets::KUBELET_CLIENT, assets::KUBELET_SERVING];
        self.forget_requests(|name| !kubelets.contains(&name) && !asked.contains(name))?;
        Ok(placed)
    }

    /// Asks for a certificate: its request, and why an answer that is there is none.
    pub(super) fn put_request(
        &self,
        name: &str,
        request: &str,
        refused: Option<&str>,
    ) -> Result<(), KeysError> {
        let dir = self.locate(path::CERTIFICATE_REQUESTS);
        let file = |end: &str, text: &str| HostFile {
            path: dir.join(format!("{name}.{end}")),
            content: text.as_bytes().to_vec(),
            mode: 0o400,
            owner: None,
        };
        let refused = refused.map(|why| file("refused", &format!("{why}\n")));
        place(&[file("csr", request)].into_iter().chain(refused).collect::<Vec<_>>())?;
        Ok(())
    }

    /// Removes requests that nobody has to answer any more, with their answers.
    pub(super) fn forget_requests(&self, which: impl Fn(&str) -> bool) -> Result<(), KeysError> {
        for path in host::fs::list(&self.locate(path::CERTIFICATE_REQUESTS))? {
            if path.file_stem().and_then(|name| name.to_str()).is_some_and(&which) {
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
