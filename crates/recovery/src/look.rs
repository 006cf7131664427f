//! What there is: the node's member of etcd, what lies in its place, and the snapshot.

use std::path::{Path, PathBuf};

use assets::member;
use etcd::server;
use host::fs::FsError;
use names::path;
use node::Root;
use objects::pod;

use crate::authority;
use crate::error::RecoveryError;

/// This node's member, as its manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The URLs under which other members would reach it.
    pub peer_urls: Vec<String>,
    /// The directory of its data, as the host calls it.
    pub dir: PathBuf,
    /// User and group that it runs as; none for root.
    pub user: Option<(u32, u32)>,
    /// The image that it runs from.
    pub image: String,
    /// Its container.
    pub container: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The snapshot: whole, and of this cluster.
    pub snapshot: PathBuf,
    /// The member.
    pub member: Member,
    /// Whether something lies in the place of its data.
    pub is_taken: bool,
}

/// Looks at the node of that name and at the snapshot.
///
/// # Errors
/// [`RecoveryError`] when this snapshot cannot become this node's data.
pub fn look(
    root: &Root,
    static_pods: &Path,
    node_name: &str,
    snapshot: &Path,
) -> Result<Found, RecoveryError> {
    let member = member(root, &static_pods.join(path::ETCD_FILE), node_name)?;
    etcd::check(snapshot)?;
    is_of_this_cluster(root, snapshot)?;
    let is_taken = root.path(&member.dir).join(DATA).symlink_metadata().is_ok();
    Ok(Found { snapshot: snapshot.to_owned(), member, is_taken })
}

/// What etcd keeps in the directory of its data (server/storage/datadir).
pub(crate) const DATA: &str = "member";

/// The member of a manifest.
///
/// # Errors
/// [`RecoveryError`] when this host has none, or one that no snapshot can be restored for.
pub(crate) fn member(root: &Root, manifest: &Path, node_name: &str) -> Result<Member, RecoveryError> {
    let text = match host::fs::read_small_text(&root.path(manifest), member::LARGEST) {
        Err(error) if error.is_not_found() => {
            return Err(RecoveryError::NoEtcd { path: manifest.to_owned() });
        }
        other => other?,
    };
    let unfit = |why: String| RecoveryError::Manifest { path: manifest.to_owned(), why };
    let object = member::pod(&text).map_err(unfit)?;
    let container = server::container(&object).ok_or_else(|| unfit("no container is an etcd".to_owned()))?;
    if pod::flag(container, "--wal-dir").is_some() {
        return Err(unfit("its log is apart from its data (--wal-dir): restore it by hand".to_owned()));
    }
    let members = server::initial_members(&object);
    if members.len() > 1 {
        return Err(RecoveryError::Others { members });
    }
    let peer_urls = server::peer_urls(&object);
    if peer_urls.is_empty() {
        return Err(unfit("it does not say --initial-advertise-peer-urls".to_owned()));
    }
    Ok(Member {
        // Without one it is etcd's own (`DefaultName` in server/embed/config.go); the variable of ours is the node's name.
        name: match pod::flag(container, "--name") {
            Some(name) if name.starts_with("$(") => node_name.to_owned(),
            name => name.unwrap_or("default").to_owned(),
        },
        peer_urls,
        dir: server::places(&object)
            .data
            .ok_or_else(|| unfit("its data is in no directory of the host".to_owned()))?,
        user: pod::user(&object),
        image: container["image"].as_str().unwrap_or_default().to_owned(),
        container: objects::text(&container["name"]).to_owned(),
    })
}

/// Refuses a snapshot that has not this cluster's authority in it.
fn is_of_this_cluster(root: &Root, snapshot: &Path) -> Result<(), RecoveryError> {
    let ca = Path::new(path::CA_CERTIFICATE);
    let certificate = host::fs::read_small_text(&root.path(ca), member::LARGEST)?;
    let file = host::fs::open_regular(snapshot)?;
    let failed = |source| FsError { verb: "read", path: snapshot.to_owned(), source };
    if authority::has(file, &certificate).map_err(failed)? {
        return Ok(());
    }
    Err(RecoveryError::OtherCluster { path: snapshot.to_owned(), ca: ca.to_owned() })
}
