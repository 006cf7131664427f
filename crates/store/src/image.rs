//! From an image's name to its layers: each one's blob, and what is unpacked of it.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::state::Store;

/// Larger manifests and configurations are none, in bytes (containerd takes 8 MiB, core/images/image.go).
const LARGEST: u64 = 8 << 20;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The digest of its blob.
    pub(crate) digest: String,
    /// The length of its blob in bytes.
    pub(crate) size: u64,
    /// By which what is unpacked of it is found: the digest of this layer and all below it
    /// (`ChainID` of opencontainers/image-spec, identity/chainid.go).
    pub(crate) chain: String,
}

/// What is known of an image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its layers, the lowest first; empty when its documents do not tell.
    pub(crate) layers: Vec<Layer>,
    /// The digest of a document of it that is not what its digest says: its manifest or its configuration.
    pub(crate) wrong: Option<String>,
}

impl Image {
    /// Reads the documents that this digest leads to. One that is not there is no damage: of an index of several
    /// platforms most are not.
    pub(crate) fn read(store: &Store, digest: &str) -> Self {
        let mut image = Self::default();
        if let Err(wrong) = image.follow(store, digest, 0) {
            image.wrong = Some(wrong);
        }
        image
    }

    /// The error is the digest of a document that is none.
    fn follow(&mut self, store: &Store, digest: &str, depth: usize) -> Result<(), String> {
        let Some(manifest) = document(store, digest)? else { return Ok(()) };
        let platforms = manifest["manifests"].as_array();
        if let Some(platforms) = platforms.filter(|_| depth == 0) {
            let digests = platforms.iter().filter_map(|platform| digest_in(&platform["digest"]));
            return match digests.into_iter().find(|digest| store.blob(digest).exists()) {
                Some(there) => self.follow(store, there, depth + 1),
                None => Ok(()),
            };
        }
        let config =
            digest_in(&manifest["config"]["digest"]).map(|digest| document(store, digest)).transpose()?;
        let diffs = config.flatten().map(|config| config["rootfs"]["diff_ids"].clone()).unwrap_or_default();
        let (Some(layers), Some(diffs)) = (manifest["layers"].as_array(), diffs.as_array()) else {
            return Ok(());
        };
        let mut chain = String::new();
        for (layer, diff) in layers.iter().zip(diffs) {
            let (Some(digest), Some(diff)) = (digest_in(&layer["digest"]), digest_in(diff)) else {
                return Ok(());
            };
            chain = if chain.is_empty() {
                diff.to_owned()
            } else {
                digest_of(format!("{chain} {diff}").as_bytes())
            };
            let size = layer["size"].as_u64().unwrap_or_default();
            self.layers.push(Layer { digest: digest.to_owned(), size, chain: chain.clone() });
        }
        Ok(())
    }
}

/// A digest by which a blob can be named: one of another form could lead elsewhere.
fn digest_in(field: &Value) -> Option<&str> {
    let digest = field.as_str()?;
    let digits = digest.strip_prefix("sha256:")?;
    (digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(digest)
}

fn document(store: &Store, digest: &str) -> Result<Option<Value>, String> {
    let path = store.blob(digest);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = host::fs::read_small(&path, LARGEST).map_err(|_| digest.to_owned())?;
    if digest_of(&bytes) != digest {
        return Err(digest.to_owned());
    }
    Ok(serde_json::from_slice(&bytes).ok())
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Bytes in lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
