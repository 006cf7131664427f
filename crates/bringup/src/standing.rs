//! Does the control plane of this host run as pods of its own API already? Asked of the disk, the runtime and the API.

use names::object::TEMPORARY_PREFIX;

use crate::context::Context;
use crate::event::Reporter;
use crate::observe::{observe, restorable};
use crate::options::Options;

/// Whether the control plane is self-hosted here: it may be down, but it is no bring-up that has not come to its end. What
/// cannot be asked is not.
pub async fn is_self_hosted(options: &Options) -> bool {
    // Static pods of the temporary control plane are there until the pivot, whatever else is there by then.
    if has_temporary_pods(options) {
        return false;
    }
    if restorable(options) {
        return true;
    }
    let reporter = Reporter::new(&|_| {});
    let Ok(context) = Context::new(options, &reporter).await else { return false };
    observe(&context).await.is_ok_and(|observed| observed.self_hosted())
}

fn has_temporary_pods(options: &Options) -> bool {
    let files = host::fs::list(&options.manifest_dir).unwrap_or_default();
    let mut names = files.iter().filter_map(|file| file.file_name()?.to_str());
    names.any(|name| name.starts_with(TEMPORARY_PREFIX))
}
