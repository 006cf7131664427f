//! A snapshot of what this node's etcd has.

use std::path::{Path, PathBuf};

use etcd::Tool;
use names::path;
use node::Root;

use crate::error::RecoveryError;
use crate::look::member;
use crate::tools;

/// Takes a snapshot of this node's etcd into a new file of a directory.
///
/// # Errors
/// [`RecoveryError`]; under the file's name is only what is whole and on the disk.
pub fn back_up(
    root: &Root,
    static_pods: &Path,
    node_name: &str,
    dir: &Path,
    file: &str,
) -> Result<PathBuf, RecoveryError> {
    let member = member(root, &static_pods.join(path::ETCD_FILE), node_name)?;
    tools::with(root, &member.image, etcd::ETCDCTL, |program| {
        let (endpoint, tls) = (etcd::local_endpoint(), root.path(path::KUBE_APISERVER_KEYS));
        Ok(Tool { program, endpoint: &endpoint, tls: &tls }.snapshot(dir, file)?)
    })
}
