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

impl Disk {
    pub(super) fn get(&self, id: &GenerationId) -> Option<&Generation> {
        self.generations.iter().find(|g| g.id == *id)
    }

    /// The newest one with this digest.
    pub(super) fn with_digest(&self, digest: &Digest) -> Option<&Generation> {
        self.generations.iter().rev().find(|g| g.digest == *digest)
    }

    /// The last known good one's digest.
    pub(super) fn good_digest(&self) -> Option<&Digest> {
        self.get(self.good.as_ref()?).map(|g| &g.digest)
    }

    /// In the order in which they are worth a try: the good one, then from the newest to the oldest.
    pub(super) fn by_worth(&self) -> Vec<&Generation> {
        let is_good = |g: &&Generation| self.good.as_ref() == Some(&g.id);
        let (mut all, others): (Vec<_>, Vec<_>) = self.generations.iter().rev().partition(is_good);
        all.extend(others);
        all
    }
}
