//! Who gets the traffic when several are Ready.

use super::{Instance, Machine, Source};

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
        match &instance.source {
            Source::Temporary => 0,
            Source::Copy { .. } if self.ends(instance) => 0,
            Source::Copy { .. } => COPY,
            Source::Api if self.copy_serving().is_some() && self.proven(instance) => PROVEN + revision,
            Source::Api => revision,
        }
    }
}
