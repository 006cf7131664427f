//! The kubelet's certificates: for each a link to a file with certificate and key, which the kubelet moves when it renews
//! them.

use std::fs;
use std::path::Path;

use host::fs::FsError;
use jiff::Timestamp;
use names::path;

use crate::Root;
use crate::content::sha256_hex;

/// The link to the certificate by which the kubelet is a client of the API.
pub const CLIENT: &str = path::KUBELET_CLIENT_CERTIFICATE;
/// The link to the one by which it serves logs.
pub const SERVING: &str = path::KUBELET_SERVING_CERTIFICATE;
/// How both links' names end.
const CURRENT: &str = "-current.pem";

/// A file name for a certificate that we bring, different for each content: `digest` is
/// that of the file.
pub(crate) fn file(link: &str, digest: &str) -> String {
    let name = link.strip_suffix(CURRENT).unwrap_or(link);
    format!("{name}-{}.pem", digest.get(..16).unwrap_or(digest))
}

/// True when a client certificate (with its key) will do: it is valid at `now`, for this node,
/// and this CA signed it.
fn is_good(pem: &str, ca: &str, node: &str, now: Timestamp) -> bool {
    let name = format!("{}{node}", names::user::NODE_PREFIX);
    let ours = pki::inspect(pem).is_ok_and(|info| info.common_name.as_deref() == Some(name.as_str()));
    ours && pki::check_dates(pem, now).is_ok()
        && pki::check_chain(pem, ca).is_ok()
        && pki::check_key(pem, pem).is_ok()
}

/// Certificate and key as one text.
pub fn text(certificate: &str, key: &str) -> String {
    format!("{}\n{}\n", certificate.trim_end(), key.trim_end())
}

/// The one that is in use below a root; none when there is none, or it cannot be read.
pub fn read(root: &Root, link: &str) -> Option<String> {
    // The link is absolute, so it is followed by hand: below a root that is not `/` it leads elsewhere.
    let target = fs::read_link(root.path(link)).ok()?;
    let target =
        if target.is_absolute() { root.path(target) } else { root.path(path::KUBELET_PKI).join(target) };
    fs::read_to_string(target).ok()
}

/// Whether a node of that name has a client certificate below a root that will do, as its CA has signed it.
pub fn is_there(root: &Root, ca: &str, node: &str, now: Timestamp) -> bool {
    read(root, CLIENT).is_some_and(|pem| is_good(&pem, ca, node, now))
}

/// Has another one be in use below a root: a kubelet that runs reads it when it begins again.
///
/// # Errors
/// [`FsError`]; the one before is in use then.
pub fn put(root: &Root, link: &str, text: &str) -> Result<(), FsError> {
    let file = file(link, &sha256_hex(text.as_bytes()));
    host::fs::write(&root.path(&file), text.as_bytes(), 0o600)?;
    host::fs::symlink(Path::new(&file), &root.path(link))
}
