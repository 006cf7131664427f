//! A kubelet's certificates: issued where the CA's key is, asked for where it is not.

use jiff::Timestamp;
use pki::{CertificateInfo, Identity, Leaf, Terms};

use crate::credentials::authorities_of_node;
use crate::error::RenderError;
use crate::on_node::config_of;
use crate::requests::{self, Asked, KUBELET_CLIENT, KUBELET_SERVING, Wanted};
use crate::tree::AssetTree;

/// Which of a kubelet's certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeletCertificate {
    /// By which it is a client of the API.
    Client,
    /// By which it serves logs.
    Serving,
}

impl KubeletCertificate {
    /// What it is called in requests.
    pub fn request(self) -> &'static str {
        match self {
            Self::Client => KUBELET_CLIENT,
            Self::Serving => KUBELET_SERVING,
        }
    }

    /// What it says, where `now` is what it says now; none when it is not this node's.
    fn leaf(self, node: &str, now: &CertificateInfo) -> Option<Leaf> {
        let leaf = match self {
            Self::Client => Leaf::kubelet(node),
            Self::Serving => Leaf::kubelet_serving(node, now.names.clone()),
        };
        (now.common_name.as_deref() == Some(leaf.common_name.as_str())).then_some(leaf)
    }
}

/// What becomes of a kubelet's certificate.
#[derive(Debug)]
pub enum KubeletRenewal {
    /// It will do, or its user renews it.
    NotNeeded,
    /// This is the next one, for the same key.
    Renewed(Identity),
    /// The CA's key is elsewhere.
    Asked(Asked),
}

/// A kubelet's certificate anew, for the same key, where the one in `pem` (with its key) has ended, or begins later
/// since a clock was wrong: its user cannot ask for another one any more. Where the CA's key is kept elsewhere nobody answers
/// a kubelet, and its certificate is asked for with a third of its life left.
///
/// # Errors
/// [`RenderError`], also when the CA's key is not among the files of the node and should be.
pub fn kubelet_renewed(
    node_files: &AssetTree,
    node: &str,
    which: KubeletCertificate,
    pem: &str,
    now: Timestamp,
) -> Result<KubeletRenewal, RenderError> {
    let config = config_of(node_files)?;
    let info = pki::inspect(pem)?;
    let Some(leaf) = which.leaf(node, &info) else { return Ok(KubeletRenewal::NotNeeded) };
    let authority = authorities_of_node(&config, node_files)?.cluster;
    let (left, life) = (info.not_after.duration_since(now), info.not_after.duration_since(info.not_before));
    let valid = info.not_before <= now && now < info.not_after;
    if config.authority_keys_are_offline() {
        if valid && left > life / 3 {
            return Ok(KubeletRenewal::NotNeeded);
        }
        let wanted = Wanted { leaf: &leaf, authority: &authority };
        // Both are in one file.
        let current = Identity { cert_pem: pem.to_owned(), key_pem: pem.to_owned() };
        return Ok(KubeletRenewal::Asked(requests::ask(
            node_files,
            which.request(),
            &wanted,
            &current,
            now,
        )?));
    }
    // A kubelet whose client certificate is valid asks for the other one by itself.
    if valid || which == KubeletCertificate::Serving {
        return Ok(KubeletRenewal::NotNeeded);
    }
    Ok(KubeletRenewal::Renewed(authority.renew(&leaf, pem, Terms::of_leaves(&config, now))?))
}
