//! A kubelet's client certificate, issued where the CA's key is.

use jiff::Timestamp;
use pki::{Authority, CertificateProblem, Leaf, Terms};

use crate::error::RenderError;
use crate::on_node::config_of;
use crate::tree::AssetTree;

/// Certificate and key of a kubelet in one text, anew for the same key, where the certificate has ended, or begins later
/// since a clock was wrong: its user cannot ask for another one any more. `None` where there is nothing to be done, and where it is not this node's kubelet's.
///
/// # Errors
/// [`RenderError`], also when the CA's key is not among the files of the node.
pub fn kubelet_renewed(
    node_files: &AssetTree,
    node: &str,
    pem: &str,
    now: Timestamp,
) -> Result<Option<String>, RenderError> {
    let leaf = Leaf::kubelet(node);
    let dates = pki::check_dates(pem, now);
    let invalid =
        matches!(dates, Err(CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. }));
    if !invalid || pki::inspect(pem)?.common_name.as_deref() != Some(leaf.common_name.as_str()) {
        return Ok(None);
    }
    let config = config_of(node_files)?;
    let file = |path: &str| node_files.text(path).ok_or_else(|| RenderError::Gone { path: path.to_owned() });
    let ca = Authority::from_pem(file("tls/ca.crt")?, file("tls/ca.key")?)?;
    let terms = Terms {
        algorithm: config.certificates.key_algorithm,
        validity: config.certificates.leaf_validity.as_duration(),
        now,
    };
    let renewed = ca.renew(&leaf, pem, terms)?;
    Ok(Some(format!("{}\n{}\n", renewed.cert_pem.trim_end(), renewed.key_pem.trim_end())))
}
