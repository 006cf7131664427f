//! A kubelet's client certificate, issued where the CA's key is.

use jiff::Timestamp;
use pki::{Authority, CertificateProblem, Identity, Leaf, Terms};

use crate::error::RenderError;
use crate::on_node::config_of;
use crate::tree::AssetTree;

/// A kubelet's client certificate anew, for the same key, where the one in `pem` (with its key) has ended, or begins later
/// since a clock was wrong: its user cannot ask for another one any more. `None` where there is nothing to be done, and where
/// it is not this node's kubelet's.
///
/// # Errors
/// [`RenderError`], also when the CA's key is not among the files of the node.
pub fn kubelet_renewed(
    node_files: &AssetTree,
    node: &str,
    pem: &str,
    now: Timestamp,
) -> Result<Option<Identity>, RenderError> {
    let leaf = Leaf::kubelet(node);
    let dates = pki::check_dates(pem, now);
    let invalid =
        matches!(dates, Err(CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. }));
    if !invalid || pki::inspect(pem)?.common_name.as_deref() != Some(leaf.common_name.as_str()) {
        return Ok(None);
    }
    let file = |path: &str| node_files.text(path).ok_or_else(|| RenderError::Gone { path: path.to_owned() });
    let ca = Authority::from_pem(file("tls/ca.crt")?, file("tls/ca.key")?)?;
    Ok(Some(ca.renew(&leaf, pem, Terms::of_leaves(&config_of(node_files)?, now))?))
}
