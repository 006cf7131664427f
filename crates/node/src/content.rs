//! A file's content inside a plan: readable where an operator may read it, a digest where not.

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// What a planned file will hold. Serialised as text, or as its digest when it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    text: String,
    secret: bool,
}

impl Content {
    /// Content that anybody may see.
    pub fn public(text: impl Into<String>) -> Self {
        Self { text: text.into(), secret: false }
    }

    /// Content that no plan, log or error shows.
    pub fn secret(text: impl Into<String>) -> Self {
        Self { text: text.into(), secret: true }
    }

    /// The bytes of the file.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The SHA-256 of the bytes, in lower-case hexadecimal digits.
    pub fn digest(&self) -> String {
        sha256_hex(self.as_bytes())
    }

    fn shown(&self) -> String {
        if self.secret { format!("<secret, sha256:{}>", self.digest()) } else { self.text.clone() }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// The SHA-256 of some bytes, in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    store::hex(&Sha256::digest(bytes))
}

/// A mode as people write it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_as_its_digest_only() {
        let shown = serde_json::to_string(&Content::secret("hunter2")).unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(&sha256_hex(b"hunter2")), "{shown}");
        assert_eq!(format!("{:?}", Content::public("a")), "a");
    }
}
