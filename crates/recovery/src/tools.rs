//! etcd's tools, out of the image that the member runs from.

use std::path::Path;

use names::path;
use node::Root;
use node::programs::Programs;

use crate::error::RecoveryError;

/// Has a tool at hand for some work; nothing of it is left.
pub(crate) fn with<T>(
    root: &Root,
    image: &str,
    tool: &str,
    work: impl FnOnce(&Path) -> Result<T, RecoveryError>,
) -> Result<T, RecoveryError> {
    let programs = Programs::new(root, None, root.path(path::RECOVERY));
    let done = programs.get(image, tool).map_err(RecoveryError::from).and_then(|program| work(&program));
    programs.clean()?;
    done
}
