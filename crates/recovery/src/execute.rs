//! Does it. Whoever is killed here is run again: what was unpacked is unpacked anew, and what ended stays ended until the
//! kubelet runs.

use std::path::{Path, PathBuf};

use cri::{ContainerState, Cri, Filter};
use etcd::{Fresh, Identity, data};
use host::fs::FsError;
use jiff::Timestamp;
use names::{component, label, object, path};
use node::Root;
use node::units::Units;

use crate::error::RecoveryError;
use crate::look::{DATA, Found, Member};
use crate::plan::{Plan, Step};
use crate::tools;

/// What is different now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Who the member is now.
    pub identity: Identity,
    /// Where what was there is kept.
    pub kept: Option<PathBuf>,
}

/// Does what is planned, and tells of each step before it begins.
///
/// # Errors
/// [`RecoveryError`]. Until the exchange the data that was there is in its place, and is served again.
pub async fn execute(
    root: &Root,
    found: &Found,
    plan: &Plan,
    told: &(dyn Fn(&Step) + Sync),
) -> Result<Done, RecoveryError> {
    let done = exchanged(root, found, plan, told).await;
    // Of a snapshot that found no room nothing shall take it from etcd.
    let left = host::fs::remove_dir_all(&root.path(&plan.unpacked));
    told(&Step::Start);
    let started = Units::of(root).restart(path::KUBELET_UNIT);
    let done = done?;
    left?;
    started?;
    Ok(done)
}

/// All of it while the kubelet is stopped.
async fn exchanged(
    root: &Root,
    found: &Found,
    plan: &Plan,
    told: &(dyn Fn(&Step) + Sync),
) -> Result<Done, RecoveryError> {
    let Plan { unpacked, to, kept } = plan;
    told(&Step::End);
    end(root, &found.member).await?;
    told(&Step::Unpack);
    let identity = unpack(root, found, unpacked)?;
    told(&Step::Exchange);
    exchange(root, &unpacked.join(DATA), to, kept.as_deref())?;
    data::remember(&root.path(path::ETCD_MEMBER_ID), identity, &found.member.dir, None)?;
    Ok(Done { identity, kept: kept.clone() })
}

/// Makes the snapshot the data of a member that nobody was before, for etcd's user, and on the disk.
fn unpack(root: &Root, found: &Found, dir: &Path) -> Result<Identity, RecoveryError> {
    let Found { snapshot, member, .. } = found;
    let place = root.path(dir);
    host::fs::remove_dir_all(&place)?;
    tools::with(root, &member.image, etcd::ETCDUTL, |program| {
        let token = format!("kubestrap-{}", Timestamp::now().as_nanosecond());
        let fresh = Fresh { name: &member.name, peer_urls: &member.peer_urls, token: &token, dir: &place };
        root.machine().run(etcd::unpack(program, snapshot, &fresh)).map(drop)?;
        Ok(())
    })?;
    settle(&place, member.user)?;
    let unpacked = |source| RecoveryError::Unpacked { dir: dir.to_owned(), source };
    etcd::identity(&place).map_err(|error| unpacked(Some(error)))?.ok_or_else(|| unpacked(None))
}

/// Gives a directory and all that is in it to a user, and has it on the disk.
fn settle(dir: &Path, user: Option<(u32, u32)>) -> Result<(), FsError> {
    for path in host::fs::list(dir)? {
        if path.is_dir() {
            settle(&path, user)?;
        } else {
            own(&path, user)?;
            host::fs::sync_file(&path)?;
        }
    }
    own(dir, user)?;
    host::fs::sync_dir(dir)
}

fn own(path: &Path, user: Option<(u32, u32)>) -> Result<(), FsError> {
    user.map_or(Ok(()), |(uid, gid)| host::fs::chown(path, uid, gid))
}

/// An API server keeps in memory what etcd has said; one that goes on would show some of what was before. etcd's
/// directory is its user's: nobody of that user is left who could put something else where root writes next.
async fn end(root: &Root, member: &Member) -> Result<(), RecoveryError> {
    Units::of(root).stop(path::KUBELET_UNIT)?;
    let runtime = root.machine().runtime(root.path(path::CRI_SOCKET)).await?;
    for pod in pods(&runtime, member).await? {
        runtime.stop_pod(&pod).await?;
    }
    Ok(())
}

/// The sandboxes of this etcd and of the API servers. Their names are enough to go by: what is ended in vain starts again.
async fn pods(runtime: &Cri, member: &Member) -> Result<Vec<String>, RecoveryError> {
    let ours = Filter::all().label(label::POD_NAMESPACE, object::KUBE_SYSTEM);
    let mut pods: Vec<String> = runtime
        .containers(ours)
        .await?
        .into_iter()
        .filter(|c| c.state == ContainerState::Running)
        .filter(|c| c.name == member.container || c.name == component::KUBE_APISERVER)
        .map(|c| c.pod_id)
        .collect();
    pods.sort();
    pods.dedup();
    Ok(pods)
}

/// In between the node remembers no member, so that whichever data lies there is served after a power cut.
fn exchange(root: &Root, from: &Path, to: &Path, kept: Option<&Path>) -> Result<(), RecoveryError> {
    host::fs::remove_file(&root.path(path::ETCD_MEMBER_ID))?;
    if let Some(kept) = kept {
        host::fs::rename(&root.path(to), &root.path(kept))?;
    }
    Ok(host::fs::rename(&root.path(from), &root.path(to))?)
}
