//! Who gets the traffic when several are Ready.

use objects::Origin;

use super::{Instance, Machine};

/// Above all revisions.
const COPY: u64 = 1 << 32;
/// Above the copy.
const PROVEN: u64 = 2 << 32;

impl Machine {
    /// Rule R5. Who of the Ready instances should get the traffic: the one with the highest number.
    ///
    /// Without a copy the newest revision, else: a proven instance of the API, the copy, an
    /// unproven one. The temporary control plane comes last.
    pub fn rank(&self, instance: &Instance) -> u64 {
        let revision = 1 + instance.revision.min(COPY - 2);
        match &instance.origin {
            Origin::Temporary | Origin::Static => 0,
            Origin::Checkpoint { .. } if self.ends(instance) => 0,
            Origin::Checkpoint { .. } => COPY,
            Origin::Api if self.copy_serving().is_some() && self.proven(instance) => PROVEN + revision,
            Origin::Api => revision,
        }
    }
}
