//! What was there before an upgrade changed it, on disk, for the step back: objects whole, files and
//! programs of this node. Written before the first change; what is in it is never written over, so that
//! after a kill it is still the state before the first run. It goes when a run has ended, one way or the
//! other.
//!
//! ```text
//! /var/lib/kubestrap/upgrade/    0700: keys are in it
//!   before.json                  objects, and which files there were
//!   files/<n>                    those files
//!   assets/                      the asset directory as it shall be: keys are made once
//!   programs/                    programs that are asked for their flags; may be deleted
//! ```

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cluster::KubernetesVersion;
use host::fs::FsError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::UpgradeError;
use crate::observed::UnfinishedState;
use crate::part::Part;

/// The version of the file's format.
const FORMAT: u32 = 1;

/// The directory of an upgrade's state.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Before {
    format: u32,
    pub(crate) began: Timestamp,
    pub(crate) from: KubernetesVersion,
    pub(crate) to: KubernetesVersion,
    pub(crate) snapshot: Option<PathBuf>,
    pub(crate) objects: Vec<SavedObject>,
    pub(crate) files: Vec<SavedFile>,
    /// This run has made the node unschedulable.
    #[serde(default)]
    pub(crate) cordoned: bool,
}

/// An object as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SavedObject {
    pub(crate) part: Part,
    /// Its path in the API.
    pub(crate) path: String,
    /// Itself; none when it was not there.
    pub(crate) live: Option<Value>,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SavedFile {
    /// Where it belongs.
    pub(crate) path: PathBuf,
    /// The copy in `files/` and its mode; none when it was not there.
    pub(crate) copy: Option<(String, u32)>,
    /// Its user and group.
    #[serde(default)]
    pub(crate) owner: Option<(u32, u32)>,
}

impl Before {
    pub(crate) fn new(from: KubernetesVersion, to: KubernetesVersion, began: Timestamp) -> Self {
        let (objects, files) = (Vec::new(), Vec::new());
        Self { format: FORMAT, began, from, to, snapshot: None, objects, files, cordoned: false }
    }

    /// Takes an object in, unless it is known already.
    pub(crate) fn add_object(&mut self, part: Part, path: String, live: Option<Value>) {
        if self.object(&path).is_none() {
            self.objects.push(SavedObject { part, path, live });
        }
    }

    pub(crate) fn object(&self, path: &str) -> Option<&SavedObject> {
        self.objects.iter().find(|saved| saved.path == path)
    }

    pub(crate) fn state(&self) -> UnfinishedState {
        UnfinishedState { began: self.began, from: self.from, to: self.to }
    }
}

impl StateDir {
    /// A directory for the state of upgrades.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// Where the new asset directory is kept until it takes its place.
    pub fn assets(&self) -> PathBuf {
        self.0.join("assets")
    }

    /// Whether a run did not end.
    pub fn is_unfinished(&self) -> bool {
        self.file().exists()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("before.json")
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }

    fn copies(&self) -> PathBuf {
        self.0.join("files")
    }

    pub(crate) fn create(&self) -> Result<(), FsError> {
        host::fs::create_dir_all(&self.0, 0o700)
    }

    /// What a run that did not end has saved.
    pub(crate) fn read(&self) -> Result<Option<Before>, UpgradeError> {
        let path = self.file();
        let bytes = match host::fs::read(&path) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let unusable = |reason: String| UpgradeError::Unfinished { path: path.clone(), reason };
        let before: Before = serde_json::from_slice(&bytes).map_err(|e| unusable(e.to_string()))?;
        if before.format != FORMAT {
            return Err(unusable(format!("it has format {}, and {FORMAT} is known", before.format)));
        }
        Ok(Some(before))
    }

    pub(crate) fn write(&self, before: &Before) -> Result<(), UpgradeError> {
        self.create()?;
        let text = serde_json::to_vec(before)
            .map_err(|e| UpgradeError::Unfinished { path: self.file(), reason: e.to_string() })?;
        Ok(host::fs::write(&self.file(), &text, 0o600)?)
    }

    /// Copies a file of this node, unless it was saved before. [`StateDir::write`] makes it count.
    pub(crate) fn save_file(&self, before: &mut Before, path: &Path) -> Result<(), FsError> {
        if before.files.iter().any(|saved| saved.path == path) {
            return Ok(());
        }
        let mut saved = SavedFile { path: path.to_owned(), copy: None, owner: None };
        if let Some(metadata) = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file) {
            host::fs::create_dir_all(&self.copies(), 0o700)?;
            let name = before.files.len().to_string();
            host::fs::copy(path, &self.copies().join(&name), 0o600)?;
            saved.copy = Some((name, metadata.mode() & 0o7777));
            saved.owner = Some((metadata.uid(), metadata.gid()));
        }
        before.files.push(saved);
        Ok(())
    }

    /// Puts a file back; says whether it was another one.
    pub(crate) fn restore_file(&self, saved: &SavedFile) -> Result<bool, FsError> {
        let Some((name, mode)) = &saved.copy else { return host::fs::remove_file(&saved.path) };
        let copy = self.copies().join(name);
        if same(&copy, &saved.path) {
            return Ok(false);
        }
        host::fs::copy_owned(&copy, &saved.path, *mode, saved.owner)?;
        Ok(true)
    }

    /// Forgets everything: the run has ended.
    pub(crate) fn remove(&self) -> Result<(), FsError> {
        // First what makes the rest count.
        host::fs::remove_file(&self.file())?;
        host::fs::remove_dir_all(&self.0)
    }
}

fn same(a: &Path, b: &Path) -> bool {
    let length = |path: &Path| std::fs::metadata(path).map(|m| m.len()).ok();
    length(a) == length(b) && matches!((host::fs::read(a), host::fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn before() -> Before {
        let version = |text: &str| text.parse().unwrap();
        Before::new(version("v1.36.3"), version("v1.37.2"), "2026-11-22T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn what_was_saved_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("upgrade"));
        let mut saved = before();
        saved.add_object(Part::KubeApiserver, "/a".into(), Some(json!({"image": "old"})));
        saved.add_object(Part::KubeApiserver, "/b".into(), None);
        state.write(&saved).unwrap();
        // The next run sees the half-upgraded cluster.
        let mut again = state.read().unwrap().unwrap();
        again.add_object(Part::KubeApiserver, "/a".into(), Some(json!({"image": "new"})));
        again.add_object(Part::KubeApiserver, "/b".into(), Some(json!({})));
        assert_eq!(again, saved);
    }

    #[test]
    fn files_come_back_with_content_and_mode_and_new_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("upgrade"));
        let (program, fresh) = (dir.path().join("kubelet"), dir.path().join("fresh"));
        host::fs::write(&program, b"old", 0o755).unwrap();
        let mut saved = before();
        state.save_file(&mut saved, &program).unwrap();
        state.save_file(&mut saved, &fresh).unwrap();
        host::fs::write(&program, b"new", 0o700).unwrap();
        host::fs::write(&fresh, b"new", 0o644).unwrap();
        state.save_file(&mut saved, &program).unwrap();
        assert_eq!(saved.files.len(), 2);
        let changed: Vec<_> = saved.files.iter().map(|f| state.restore_file(f).unwrap()).collect();
        assert_eq!(changed, [true, true]);
        assert_eq!(host::fs::read(&program).unwrap(), b"old");
        assert_eq!(std::fs::metadata(&program).unwrap().mode() & 0o7777, 0o755);
        assert!(!fresh.exists());
        assert!(!state.restore_file(&saved.files[0]).unwrap());
    }

    #[test]
    fn an_unknown_format_is_refused_and_nothing_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        assert_eq!(state.read().unwrap(), None);
        let text = serde_json::to_string(&before()).unwrap().replace("\"format\":1", "\"format\":9");
        host::fs::write(&state.file(), text.as_bytes(), 0o600).unwrap();
        assert!(state.read().unwrap_err().to_string().ends_with("it has format 9, and 1 is known"));
    }
}
