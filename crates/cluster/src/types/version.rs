use std::fmt;
use std::str::FromStr;

use super::{ParseError, text_type};

/// A Kubernetes release, `v1.37.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    minor: u16,
    patch: u16,
}

impl KubernetesVersion {
    /// What a cluster gets when its config names no version.
    pub const DEFAULT: Self = Self { minor: 37, patch: 2 };
    /// The minors whose components and flags kubestrap knows.
    pub const SUPPORTED_MINORS: [u16; 2] = [36, 37];

    /// How many minors a kubelet and a kube-proxy may be older than the apiserver
    /// (kubernetes.io/releases/version-skew-policy).
    pub const NODE_SKEW: u16 = 3;

    /// Whether a kubelet of that version works with an apiserver of this one: it is never newer.
    pub fn allows_kubelet(self, kubelet: Self) -> bool {
        kubelet.minor <= self.minor && self.minor - kubelet.minor <= Self::NODE_SKEW
    }

    /// The minor: 37 of v1.37.2.
    pub fn minor(self) -> u16 {
        self.minor
    }

    /// The patch level: 2 of v1.37.2.
    pub fn patch(self) -> u16 {
        self.patch
    }

    /// Whether kubestrap knows this minor.
    pub fn is_supported(self) -> bool {
        Self::SUPPORTED_MINORS.contains(&self.minor)
    }
}

impl Default for KubernetesVersion {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1.{}.{}", self.minor, self.patch)
    }
}

impl FromStr for KubernetesVersion {
    type Err = ParseError;

    /// Takes `v1.37.2` and `1.37.2`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (minor, patch) = text.trim_start_matches('v').strip_prefix("1.")?.split_once('.')?;
            Some(Self { minor: number(minor)?, patch: number(patch)? })
        };
        parse().ok_or_else(|| ParseError::new("expected a Kubernetes version such as v1.37.2", text))
    }
}

/// Digits only: `u16::from_str` would take a sign too.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

text_type!(KubernetesVersion, r"^v?1\.[0-9]+\.[0-9]+$", "v1.37.2");
