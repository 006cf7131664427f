//! What the machine asks for.

use super::{Digest, GenerationId, Report};

/// One thing to do. All are idempotent: one whose result never came is asked for again at the next
/// observation. A step asks for at most one that changes something, and any number of reports; do
/// it at once and tell the result before the next observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a generation of this instance: [`super::Event::Written`].
    Write {
        /// [`super::Instance::pod`]
        pod: String,
        digest: Digest,
    },
    /// Let this generation be the last known good one: [`super::Event::Promoted`].
    Promote { generation: GenerationId },
    /// Delete these generations: [`super::Event::Pruned`].
    Prune { generations: Vec<GenerationId> },
    /// Put this generation's static pod there, in place of another one if there is one:
    /// [`super::Event::Placed`].
    Place { generation: GenerationId },
    /// Take the static pod away: [`super::Event::Removed`]. `at_once`: what runs of it ends now, for a kubelet that has
    /// not heard from the API ends nothing.
    Remove { at_once: bool },
    /// Take the static pod and all generations away: [`super::Event::Uninstalled`].
    Uninstall,
    /// Tell people.
    Report(Report),
}
