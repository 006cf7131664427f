//! What lies on the node's disk for one component.

use std::fmt;

/// The name of a generation: its directory's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GenerationId(pub String);

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of a pod's spec and of all its files: equal ones behave alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub String);

/// One whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub id: GenerationId,
    pub digest: Digest,
}

/// All of one component. Only whole generations that pass verification are named here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// Oldest first.
    pub generations: Vec<Generation>,
    /// The last known good one.
    pub good: Option<GenerationId>,
    /// Of which generation a static pod is in place; it need not be among `generations`.
    pub placed: Option<GenerationId>,
}
