//! One generation on disk: what its `generation.json` says.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::Checkpoint;
use crate::component::Component;
use crate::digest::Digest;
use crate::store::StoreError;
use crate::tree::{Entry, Kind};

/// The complete static pod manifest within a generation. It is written as JSON, which is YAML that no parser
/// reads in another way.
pub(crate) const MANIFEST: &str = "pod.yaml";
/// What a generation is and which files belong to it.
pub(crate) const RECORD: &str = "generation.json";
/// The version of [`RECORD`].
const VERSION: u32 = 1;

/// The name of a generation's directory: a number that grows, and the first digits of the digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationId {
    sequence: u64,
    digest: String,
}

impl GenerationId {
    pub(crate) fn new(sequence: u64, digest: &Digest) -> Self {
        Self { sequence, digest: digest.short().to_owned() }
    }

    /// The number: a later generation of the same component has a larger one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The first digits of the digest.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}-{}", self.sequence, self.digest)
    }
}

/// It is not the name of a generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a generation")]
pub struct NoGenerationId(String);

impl FromStr for GenerationId {
    type Err = NoGenerationId;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (sequence, digest) = name.split_once('-')?;
            let id = Self { sequence: sequence.parse().ok()?, digest: digest.to_owned() };
            // One name for each: no leading plus, no missing zero, no path.
            let hex = digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            (hex && id.to_string() == name).then_some(id)
        };
        parse().ok_or_else(|| NoGenerationId(name.to_owned()))
    }
}

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
    /// The revision of the pod that it was made from.
    pub revision: Option<String>,
    /// The UID of the pod that it was made from.
    pub source_uid: Option<String>,
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
    pub(crate) fn of(checkpoint: &Checkpoint, made: Timestamp) -> Self {
        let entries = |tree: &crate::tree::Tree| {
            tree.entries().iter().map(|entry| (entry.path.clone(), RecordedEntry::of(entry))).collect()
        };
        Self {
            version: VERSION,
            namespace: checkpoint.component.namespace.clone(),
            name: checkpoint.component.name.clone(),
            digest: checkpoint.digest.clone(),
            made,
            source_uid: checkpoint.source_uid.clone(),
            revision: checkpoint.revision.clone(),
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
            revision: self.revision,
            source_uid: self.source_uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generations_lead_back_and_nothing_else_does() {
        let id = GenerationId::new(7, &Digest::of(b"x"));
        assert_eq!(id.to_string(), "000007-2d711642b726");
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        assert!(GenerationId::new(1_000_000, &Digest::of(b"x")) > id);
        for name in
            ["", "7-2d711642b726", "+00007-2d711642b726", "000007-2d71164", "000007-../../../../x", "good"]
        {
            assert!(name.parse::<GenerationId>().is_err(), "{name}");
        }
    }
}
