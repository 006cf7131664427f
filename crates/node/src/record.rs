//! What an install found on a host before it changed anything, kept on the host: the one thing about a node that cannot
//! be seen any more once it is a node, and so what an uninstall goes by.
//!
//! It is written before the first change and only grows: what was noted once is how the host was. An uninstall removes it
//! last. Pure but for [`Record::read`] and [`Record::write`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use host::fs::FsError;
use names::path;
use serde::{Deserialize, Serialize};

use crate::Root;
use crate::content::sha256_hex;

/// The version of the file's form.
const VERSION: u32 = 1;

/// Larger files are none that an install writes, in bytes.
const LARGEST: u64 = 4 << 20;

/// A file that was there before lies beside ours under its name and this.
pub const KEPT: &str = ".before-kubestrap";

/// Where a file of the host's waits while ours lies in its place.
pub fn kept(path: &str) -> String {
    format!("{path}{KEPT}")
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error("cannot read what was installed here")]
    File(#[source] FsError),
    /// It is no record.
    #[error("{} is malformed", path::INSTALLED)]
    Malformed(#[source] serde_json::Error),
    /// A newer kubestrap wrote it.
    #[error("{} has version {found}, and this kubestrap knows {VERSION}", path::INSTALLED)]
    Version {
        /// Its version.
        found: u32,
    },
}

/// A file or a program that an install puts on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    /// Whether another one was there, which is kept.
    pub kept: bool,
    /// The digests that it had; without any, whatever lies there is the node's, as what runs here writes it again.
    pub digests: BTreeSet<String>,
}

/// A directory that an install made, or whose mode it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirBefore {
    /// The mode that it had; none when it was not there.
    pub before: Option<u32>,
    /// The mode that the install gave it.
    pub set: u32,
}

/// A kernel setting that an install changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SysctlBefore {
    /// The value that it had.
    pub before: String,
    /// The value that the install gave it.
    pub set: String,
}

/// What the init system did with a unit of that name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitBefore {
    /// It ran.
    pub active: bool,
    /// It was started at boot.
    pub enabled: bool,
}

/// All that an install changes on a host, and how it was before. By path or by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    version: u32,
    /// Files and programs.
    pub files: BTreeMap<String, Placed>,
    /// Directories.
    pub dirs: BTreeMap<String, DirBefore>,
    /// Directories that the node's programs fill, each with what was in it; none when it was not there.
    pub trees: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Kernel settings.
    pub sysctls: BTreeMap<String, SysctlBefore>,
    /// Units.
    pub units: BTreeMap<String, UnitBefore>,
    /// Network interfaces that were not there.
    pub interfaces: BTreeSet<String>,
}

impl Record {
    /// The record of this host; none when nothing was installed.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn read(root: &Root) -> Result<Option<Self>, RecordError> {
        let text = match host::fs::read_to_string(&root.path(path::INSTALLED)) {
            Err(error) if error.is_not_found() => return Ok(None),
            text => text.map_err(RecordError::File)?,
        };
        let record: Self = serde_json::from_str(&text).map_err(RecordError::Malformed)?;
        if record.version != VERSION {
            return Err(RecordError::Version { found: record.version });
        }
        Ok(Some(record))
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`FsError`]; the one that was there is intact then.
    pub fn write(&self, root: &Root) -> Result<(), FsError> {
        if !root.path(path::STATE).exists() {
            host::fs::create_dir_all(&root.path(path::STATE), 0o755)?;
        }
        // Strings and numbers always can be written.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        host::fs::write(&root.path(path::INSTALLED), format!("{text}\n").as_bytes(), 0o644)
    }

    /// The files that an install has placed and that are other ones now, or gone. Programs are passed over: they are too
    /// large to be read each time.
    pub fn changed(&self, at: impl Fn(&str) -> PathBuf) -> Vec<String> {
        let is_program = |file: &str| {
            [path::PROGRAMS, path::CNI_PLUGINS].iter().any(|dir| Path::new(file).starts_with(dir))
        };
        let is_another = |placed: &Placed, file: &str| {
            let found = host::fs::read_small(&at(file), LARGEST);
            !found.is_ok_and(|found| placed.digests.contains(&sha256_hex(&found)))
        };
        let placed =
            self.files.iter().filter(|(file, placed)| !is_program(file) && !placed.digests.is_empty());
        placed.filter(|(file, placed)| is_another(placed, file)).map(|(file, _)| file.clone()).collect()
    }

    /// A record of nothing.
    pub(crate) fn new() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// Whether what lies there is what an install put there, or what runs on the node made of it.
    /// `marked` says that its text names kubestrap.
    pub(crate) fn is_ours(&self, path: &str, digest: &str, marked: bool) -> bool {
        let digests = self.files.get(path).map(|placed| &placed.digests);
        digests.is_some_and(|digests| digests.is_empty() || marked || digests.contains(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_other_ones_than_were_placed_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let placed = |texts: &[&str]| Placed {
            kept: false,
            digests: texts.iter().map(|text| sha256_hex(text.as_bytes())).collect(),
        };
        let files =
            [("/same", &["old", "a"][..]), ("/other", &["b"]), ("/gone", &["c"]), ("/rewritten", &[])];
        let files = files.map(|(path, texts)| (path.to_owned(), placed(texts))).into();
        for (path, text) in [("/same", "a"), ("/other", "x"), ("/rewritten", "y")] {
            host::fs::write(&root.path(path), text.as_bytes(), 0o644).unwrap();
        }
        let record = Record { files, ..Record::new() };
        assert_eq!(record.changed(|path| root.path(path)), ["/gone", "/other"]);
    }

    #[test]
    fn a_record_is_read_back_and_one_of_another_form_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert!(Record::read(&root).unwrap().is_none());
        let placed = Placed { kept: true, digests: ["d".to_owned()].into() };
        let files = [("/opt/cni/bin/bridge".to_owned(), placed)].into();
        let trees =
            [("/etc/kubernetes".to_owned(), None), ("/var/lib/cni".to_owned(), Some([].into()))].into();
        let record = Record { files, trees, ..Record::new() };
        record.write(&root).unwrap();
        assert_eq!(Record::read(&root).unwrap(), Some(record));
        let record = Record::read(&root).unwrap().unwrap();
        assert_eq!(record.changed(|path| root.path(path)), Vec::<String>::new(), "programs are passed over");
        host::fs::write(&root.path(path::INSTALLED), br#"{"version":1}"#, 0o644).unwrap();
        assert!(matches!(Record::read(&root), Err(RecordError::Malformed(_))));
        Record { version: 2, ..Record::default() }.write(&root).unwrap();
        assert!(matches!(Record::read(&root), Err(RecordError::Version { found: 2 })));
    }
}
