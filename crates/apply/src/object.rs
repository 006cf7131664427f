//! An object to be applied.

use serde_json::Value;

/// An object to be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The object as its manifest has it.
    pub value: Value,
    /// Where it is from, for people: `manifests/kube-proxy.yaml:12`.
    pub source: String,
}

impl Object {
    /// An object and where it is from.
    pub fn new(value: Value, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }
}
