//! Whose node this is: what an asset directory would write over is all that a node has of its own cluster, the authorities'
//! keys among it.

use std::path::Path;

use names::path::{AUTHORITIES, CA_CERTIFICATE};

use crate::assets;
use crate::error::StartError;
use crate::options::Options;

/// Where a node has its cluster's CA: as its kubelet trusts it, and as its guardian signs by it.
fn places() -> [String; 2] {
    [CA_CERTIFICATE.to_owned(), format!("{AUTHORITIES}/ca.crt")]
}

/// Refuses a directory of another cluster than the one that this host is a node of. A host that is none yet, and a
/// directory without a CA, are taken as they come.
///
/// # Errors
/// [`StartError::OtherCluster`]; [`StartError::Fs`] when what is there cannot be read.
pub(crate) fn check(options: &Options) -> Result<(), StartError> {
    let Some(ours) = assets::dir(options)?.tls("ca.crt")? else { return Ok(()) };
    for place in places() {
        let found = match host::fs::read_to_string(&options.on_node(Path::new(&place))) {
            Err(error) if error.is_not_found() => continue,
            found => found?,
        };
        if !share(&ours, &found) {
            return Err(StartError::OtherCluster { dir: options.asset_dir.clone(), place });
        }
    }
    Ok(())
}

/// Either may be a bundle with one more in it, while one authority takes over from another.
fn share(one: &str, other: &str) -> bool {
    one.contains(other.trim()) || other.contains(one.trim())
}
