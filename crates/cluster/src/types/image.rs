use std::fmt;
use std::str::FromStr;

use super::{ParseError, text_type};

/// A registry, with a path when there is one, that images are pulled from: `registry.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRepository(String);

impl ImageRepository {
    /// Where the Kubernetes project publishes its images.
    pub const UPSTREAM: &'static str = "registry.k8s.io";

    /// The repository as text, with no slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the Kubernetes project's own.
    pub fn is_upstream(&self) -> bool {
        self.0 == Self::UPSTREAM
    }
}

impl Default for ImageRepository {
    fn default() -> Self {
        Self(Self::UPSTREAM.to_owned())
    }
}

impl fmt::Display for ImageRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageRepository {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (registry, path) = text.split_once('/').unwrap_or((text, ""));
        if is_registry(registry) && (path.is_empty() || is_path(path)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError::new("expected a registry such as registry.example.com/k8s", text))
        }
    }
}

text_type!(ImageRepository, r"^[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$", "registry.k8s.io");

/// A whole image reference with registry and tag or digest: `registry.k8s.io/pause:3.10.2`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference(String);

impl ImageReference {
    /// A reference that this crate put together itself.
    pub(crate) fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The reference as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (registry, rest) = text.split_once('/')?;
            let (named, digest) = match rest.split_once('@') {
                Some((named, digest)) => (named, Some(digest)),
                None => (rest, None),
            };
            let (path, tag) = match named.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (named, None),
            };
            let good = is_registry(registry)
                && is_path(path)
                && tag.is_none_or(is_tag)
                && digest.is_none_or(is_digest)
                && (tag.is_some() || digest.is_some());
            good.then(|| Self(text.to_owned()))
        };
        // Without a tag it would mean `latest`, which nobody wants of a control plane.
        parse().ok_or_else(|| {
            ParseError::new(
                "expected an image with registry and tag such as registry.k8s.io/pause:3.10.2",
                text,
            )
        })
    }
}

text_type!(ImageReference, r"^[^\s/]+/[^\s]+[:@][^\s]+$", "registry.k8s.io/pause:3.10.2");

/// The digest of an image's manifest, the same image wherever it comes from: `sha256:` and 64 hexadecimal digits,
/// lower-case ones as everywhere (opencontainers/go-digest, algorithm.go).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageDigest(String);

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageDigest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let good = is_digest(text).then(|| Self(text.to_owned()));
        good.ok_or_else(|| ParseError::new("expected sha256: and 64 hexadecimal digits", text))
    }
}

text_type!(
    ImageDigest,
    r"^sha256:[0-9a-f]{64}$",
    "sha256:0eb5bb48d996dbc2bfb5914e746e9b5d0c918735afa2ef7814713df95523f8f0"
);

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let host_char = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    !host.is_empty() && host.chars().all(host_char) && port.parse::<u16>().is_ok()
}

fn is_path(text: &str) -> bool {
    let part_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    text.split('/').all(|part| !part.is_empty() && part.chars().all(part_char))
}

fn is_tag(text: &str) -> bool {
    let tag_char = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(tag_char) && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}
