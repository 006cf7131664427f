//! An etcd that is not brought up here: does it answer, and with the certificate that the asset
//! directory expects? Asked before anything is started, since an apiserver without its etcd says
//! little and only after a while.

use std::path::Path;

use ::assets::AssetDir;
use etcd::{Etcd, Problem};
use names::path::BOOTSTRAP_SECRETS;

/// Asks every endpoint of an etcd that the asset directory does not bring along: its URL, and why it cannot be used.
/// Empty when the directory brings one.
pub async fn external_etcd(dir: &AssetDir) -> Vec<(String, Option<Problem>)> {
    if !dir.static_pods().is_empty() {
        return Vec::new();
    }
    let read = |path: &Path| read(dir, path);
    let mut pods = dir.bootstrap_pods().iter();
    match pods.find_map(|pod| Etcd::of_apiserver(&pod.object.value, &read)) {
        Some(etcd) => etcd.lacks().await,
        None => Vec::new(),
    }
}

/// A file that the temporary apiserver would read, found in `tls/` before it is staged.
fn read(dir: &AssetDir, path: &Path) -> Result<String, String> {
    let inner = path.strip_prefix(BOOTSTRAP_SECRETS).ok().and_then(Path::to_str);
    let inner = inner.ok_or("it is not one of the asset directory's files")?;
    let text = dir.tls(inner).map_err(|error| error.to_string())?;
    text.ok_or_else(|| format!("tls/{inner} is not in the asset directory"))
}
