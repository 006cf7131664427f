//! The digest of a checkpoint: the same for two pods of one revision with the same files, whatever
//! their names, nodes and times.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::tree::{Kind, Tree};

/// SHA-256 as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    /// Its first 12 digits, for names and messages.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// All its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_hash(hash: Sha256) -> Self {
        Self(format!("{:x}", hash.finalize()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of a checkpoint: its manifest, wherever its files lie, and the files of each volume.
pub(crate) fn digest_of(pod: &Value, files: &BTreeMap<String, Tree>) -> Digest {
    let mut hash = Sha256::new();
    add(&mut hash, canonical(pod).to_string().as_bytes());
    for (volume, tree) in files {
        add(&mut hash, volume.as_bytes());
        for entry in tree.entries() {
            add(&mut hash, entry.path.as_bytes());
            for number in [entry.mode, entry.uid, entry.gid] {
                hash.update(number.to_be_bytes());
            }
            match &entry.kind {
                Kind::Dir => hash.update([0]),
                Kind::File(content) => {
                    hash.update([1]);
                    add(&mut hash, content);
                }
            }
        }
    }
    Digest::from_hash(hash)
}

/// Adds a part with its length, so that no two lists of parts look the same.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// The same value with its keys in order, however the library keeps them.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            sorted.into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect()
        }
        Value::Array(values) => values.iter().map(canonical).collect(),
        other => other.clone(),
    }
}
