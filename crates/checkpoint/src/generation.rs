//! One generation on disk: what its `generation.json` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::Checkpoint;
use crate::component::{Component, Parent, SourcePod};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::id::GenerationId;
use crate::tree::{Entry, Kind};

/// The complete static pod manifest within a generation. It is written as JSON, which is YAML that no parser
/// reads in another way.
pub(crate) const MANIFEST: &str = "pod.yaml";
/// What a generation is and which files belong to it.
pub(crate) const RECORD: &str = "generation.json";
/// The version of [`RECORD`].
const VERSION: u32 = 1;

/// A generation that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// What it is a copy of.
    pub component: Component,
    /// Its name.
    pub id: GenerationId,
    /// Of manifest and files.
    pub digest: Digest,
    /// True for the one that is known to work.
    pub good: bool,
    /// When it was written.
    pub made: Timestamp,
    /// The image id of each container by name, as they ran then.
    pub images: BTreeMap<String, String>,
    /// Where it is.
    pub dir: PathBuf,
    /// The pod that it is a copy of.
    pub source: SourcePod,
}

impl Generation {
    /// Its manifest, as a kubelet gets it.
    ///
    /// # Errors
    /// When the file is missing or no JSON.
    pub fn manifest(&self) -> Result<Value, StoreError> {
        let path = self.dir.join(MANIFEST);
        let bytes = host::fs::read(&path)?;
        serde_json::from_slice(&bytes).map_err(|source| StoreError::Json { path, source })
    }
}

/// What `generation.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    version: u32,
    namespace: String,
    name: String,
    pub(crate) digest: Digest,
    made: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source_uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    parent: Option<Parent>,
    images: BTreeMap<String, String>,
    /// Of each volume every file and directory by its path, so that a damaged one can be named.
    pub(crate) volumes: BTreeMap<String, BTreeMap<String, RecordedEntry>>,
}

/// A file or directory of a copied volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedEntry {
    mode: u32,
    uid: u32,
    gid: u32,
    /// Of a file's content; a directory has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    content: Option<Digest>,
}

impl RecordedEntry {
    pub(crate) fn of(entry: &Entry) -> Self {
        let content = match &entry.kind {
            Kind::Dir => None,
            Kind::File(content) => Some(Digest::of(content)),
        };
        Self { mode: entry.mode, uid: entry.uid, gid: entry.gid, content }
    }

    /// What is not as it was recorded; `None` when all is.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        let owner = |e: &Self| format!("{}:{}", e.uid, e.gid);
        if self.content != found.content {
            Some("its content is not what was written".to_owned())
        } else if self.mode != found.mode {
            Some(format!("its mode is {:o}, and it was written with {:o}", found.mode, self.mode))
        } else if owner(self) != owner(found) {
            Some(format!("it belongs to {}, and it was written for {}", owner(found), owner(self)))
        } else {
            None
        }
    }
}

impl Record {
    /// The same, as a copy of another pod; whose parent is not known has the one that was known before.
    pub(crate) fn of_source(self, source: SourcePod) -> Self {
        let SourcePod { uid: source_uid, revision, parent } = source;
        Self { source_uid, revision, parent: parent.or(self.parent), ..self }
    }

    pub(crate) fn of(checkpoint: &Checkpoint, made: Timestamp) -> Self {
        let entries = |tree: &crate::tree::Tree| {
            tree.entries().iter().map(|entry| (entry.path.clone(), RecordedEntry::of(entry))).collect()
        };
        let SourcePod { uid: source_uid, revision, parent } = checkpoint.source.clone();
        Self {
            version: VERSION,
            namespace: checkpoint.component.namespace.clone(),
            name: checkpoint.component.name.clone(),
            digest: checkpoint.digest.clone(),
            made,
            source_uid,
            revision,
            parent,
            images: checkpoint.images.clone(),
            volumes: checkpoint.files.iter().map(|(name, tree)| (name.clone(), entries(tree))).collect(),
        }
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(RECORD);
        let bytes = host::fs::read(&path)?;
        let record: Self = match serde_json::from_slice(&bytes) {
            Ok(record) => record,
            Err(source) => return Err(StoreError::Json { path, source }),
        };
        if record.version == VERSION {
            Ok(record)
        } else {
            Err(StoreError::Version { path, version: record.version })
        }
    }

    pub(crate) fn into_generation(self, id: GenerationId, dir: PathBuf, good: bool) -> Generation {
        Generation {
            component: Component { namespace: self.namespace, name: self.name },
            id,
            digest: self.digest,
            good,
            made: self.made,
            images: self.images,
            dir,
            source: SourcePod { uid: self.source_uid, revision: self.revision, parent: self.parent },
        }
    }
}
