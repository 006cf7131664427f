//! The name of a generation.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The length of a name; more for those after the millionth.
pub(crate) const ID_LENGTH: usize = 6 + 1 + 12;

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
