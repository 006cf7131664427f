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
use crate::look::{Found, Member};
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
/// [`RecoveryError`]; until the exchange the data that was there is in its place.
pub async fn execute(
    root: &Root,
    found: &Found,
    plan: &Plan,
    told: &(dyn Fn(&Step) + Sync),
) -> Result<Done, RecoveryError> {
    let mut done = None;
    for step in &plan.steps {
        told(step);
        match step {
            Step::Unpack { snapshot, dir } => done = Some(unpack(root, &found.member, snapshot, dir)?),
            Step::End => end(root, &found.member).await?,
            Step::Exchange { from, to, kept } => exchange(root, from, to, kept.as_deref())?,
            Step::Start => Units::of(root).restart(path::KUBELET_UNIT)?,
        }
        if let (Step::Exchange { from, .. }, Some(identity)) = (step, done) {
            host::fs::remove_dir_all(&root.path(from.parent().unwrap_or(from)))?;
            data::remember(&root.path(path::ETCD_MEMBER_ID), identity, &found.member.dir, None)?;
        }
    }
    let kept = plan.steps.iter().find_map(|step| match step {
        Step::Exchange { kept, .. } => kept.clone(),
        _ => None,
    });
    let identity =
        done.ok_or_else(|| RecoveryError::Unpacked { dir: found.member.dir.clone(), source: None })?;
    Ok(Done { identity, kept })
}

/// Makes the snapshot the data of a member that nobody was before, for etcd's user, and on the disk.
fn unpack(root: &Root, member: &Member, snapshot: &Path, dir: &Path) -> Result<Identity, RecoveryError> {
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
            let sync = std::fs::File::open(&path).and_then(|file| file.sync_all());
            sync.map_err(|source| FsError { verb: "sync", path: path.clone(), source })?;
        }
    }
    own(dir, user)?;
    host::fs::sync_dir(dir)
}

fn own(path: &Path, user: Option<(u32, u32)>) -> Result<(), FsError> {
    user.map_or(Ok(()), |(uid, gid)| host::fs::chown(path, uid, gid))
}

/// An API server keeps in memory what etcd has said; one that goes on would show some of what was before.
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
