//! A node becomes the host again that it was: looks at what there is of all that its install noted, and undoes it as
//! [`crate::plan::uninstall`] says.
//!
//! What nobody noted is nobody's to take: a host without a record is told apart by [`Host`].

mod rules;

use std::path::{Path, PathBuf};

use cri::{CriError, Filter};
use host::command::{Command, CommandError};
use host::fs::FsError;
use names::path;

use crate::observe::{self, SET_ASIDE, is_marked};
use crate::plan::{Remains, Runtime, Stay, Undo, is_below};
use crate::record::{Record, RecordError};
use crate::units::Units;
use crate::{Root, kernel, units};

/// Why something of a node is still there.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The init system did not do as told.
    #[error("cannot handle unit {unit}")]
    Unit {
        /// The unit, or `(all)`.
        unit: String,
        /// What `systemctl` said.
        source: CommandError,
    },
    /// Pods could not be removed.
    #[error("cannot remove the node's pods")]
    Pods(#[source] CriError),
    /// Something is mounted and cannot be unmounted.
    #[error("cannot unmount {path}")]
    Unmount {
        /// The mount point.
        path: String,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// Removing a directory would remove what is mounted in it.
    #[error("{path} is not removed: {mount} is mounted there")]
    StillMounted {
        /// The directory.
        path: String,
        /// The first mount point in it.
        mount: String,
    },
    /// A network interface could not be removed.
    #[error("cannot remove the network interface {name}")]
    Interface {
        /// Its name.
        name: String,
        /// What `ip` said.
        source: CommandError,
    },
    /// Packet rules could not be removed.
    #[error("cannot remove the packet rules of Kubernetes")]
    Rules(#[source] CommandError),
    /// A kernel setting could not be set.
    #[error("cannot set {key}")]
    Sysctl {
        /// The setting.
        key: String,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// A file or directory could not be removed or moved.
    #[error("cannot remove the node's files")]
    File(#[source] FsError),
    /// Nothing was removed that what still runs has open.
    #[error("{count} more steps were left out, as something of the node still runs")]
    LeftOut {
        /// How many.
        count: usize,
    },
}

/// What a host is to an uninstall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A node that kubestrap made, or what an uninstall that was killed has left of one.
    Ours(Box<Record>),
    /// Nothing of a node is here.
    Bare,
    /// A node that kubestrap made which noted nothing.
    Unrecorded,
    /// Somebody else's node, known by this file.
    Foreign(String),
}

/// Whose node this host is.
///
/// # Errors
/// [`RecordError`] when there is a record and it cannot be used.
pub fn whose(root: &Root) -> Result<Host, RecordError> {
    if let Some(record) = Record::read(root)? {
        return Ok(Host::Ours(Box::new(record)));
    }
    if is_marked(&root.path(units::path(path::KUBELET_UNIT))) {
        return Ok(Host::Unrecorded);
    }
    let signs =
        [path::KUBELET_KUBECONFIG, path::KUBELET_CONFIG, path::CA_CERTIFICATE, path::ADMIN_KUBECONFIG];
    let sign = signs.into_iter().find(|sign| root.path(sign).exists());
    Ok(sign.map_or(Host::Bare, |sign| Host::Foreign(sign.to_owned())))
}

/// Looks at all that a record names. `assets` is what of the asset directory goes too, in that order. Changes nothing.
pub async fn look(root: &Root, record: &Record, assets: Vec<String>) -> Remains {
    let files = || record.files.keys().map(String::as_str);
    let trees = record.trees.keys().chain(record.dirs.keys());
    let mut remains = Remains {
        files: observe::found(root, files().chain(record.dirs.keys().map(String::as_str))),
        kept: observe::kept(root, files()),
        leftovers: observe::leftovers(root, files()),
        trees: observe::trees(root, trees),
        own: own(root, assets),
        users: users(root),
        mounts: mounts(root).into_iter().collect(),
        units: observe::unit_states(root, record.units.keys().map(String::as_str)),
        interfaces: observe::interfaces(root, record.interfaces.iter()),
        rules: rules::look(root),
        runtime: runtime(root).await,
        ..Remains::default()
    };
    for key in record.sysctls.keys() {
        remains.sysctls.extend(kernel::current(root, key).map(|value| (key.clone(), value)));
    }
    remains
}

/// What kubestrap made for itself, all of it with keys.
fn own(root: &Root, assets: Vec<String>) -> Vec<String> {
    let own = assets.into_iter().chain([path::CHECKPOINTS, path::UPGRADE].map(str::to_owned));
    own.filter(|path| root.path(path).exists()).collect()
}

fn users(root: &Root) -> Vec<Stay> {
    let all = [
        (path::BACKUPS, "snapshots of etcd are yours to remove"),
        (path::SANDBOXES, "sandboxes are removed with `kubestrap sandbox delete`"),
    ];
    let there = all.into_iter().filter(|(dir, _)| root.path(dir).exists());
    let there = there.map(|(what, why)| Stay { what: what.to_owned(), why: why.to_owned() });
    there.chain(set_aside(root)).collect()
}

/// What containerd had kept and could not use.
fn set_aside(root: &Root) -> Vec<Stay> {
    let Some((dir, name)) = path::CONTAINERD_ROOT.rsplit_once('/') else { return Vec::new() };
    let entries = host::fs::list(&root.path(dir)).unwrap_or_default();
    let names = entries.iter().filter_map(|entry| entry.file_name()?.to_str());
    let aside = names.filter(|entry| entry.starts_with(&format!("{name}{SET_ASIDE}")));
    let why = "containerd could not use it; what pods had in it is yours to look for and to remove";
    aside.map(|entry| Stay { what: format!("{dir}/{entry}"), why: why.to_owned() }).collect()
}

async fn runtime(root: &Root) -> Runtime {
    let socket = root.path(path::CRI_SOCKET);
    let ask = async { root.machine().runtime(socket).await?.sandboxes(Filter::all()).await };
    if let Ok(pods) = ask.await {
        return Runtime::Answers { pods: pods.len() };
    }
    let tasks = host::fs::list(&root.path(path::CONTAINERD_TASKS));
    if tasks.is_ok_and(|tasks| !tasks.is_empty()) { Runtime::Silent } else { Runtime::Absent }
}

/// Every mount point below the root, as paths of the node; in the order of their names, so what is in another one comes
/// after it.
fn mounts(root: &Root) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let top = root.path("/");
    let point = |line: &str| {
        let path = PathBuf::from(unescape(line.split_ascii_whitespace().nth(1)?));
        Some(format!("/{}", path.strip_prefix(&top).ok()?.display()))
    };
    let mut mounts: Vec<String> = table.lines().filter_map(point).collect();
    mounts.sort();
    mounts
}

/// The kernel writes blanks in paths as octal numbers (proc(5)).
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

/// Does what a plan says: every step is tried, and all that failed is returned. When something could not be stopped
/// nothing is removed that it uses; the record stays as long as anything failed.
///
/// `progress` gets each step just before it is done.
pub async fn execute(root: &Root, plan: &[Undo], mut progress: impl FnMut(&Undo)) -> Vec<ResetError> {
    let mut errors = Vec::new();
    for (done, action) in plan.iter().enumerate() {
        if matches!(action, Undo::Forget { .. }) && !errors.is_empty() {
            return errors;
        }
        tracing::debug!(%action, "reset");
        progress(action);
        let result = match action {
            Undo::RemovePods => remove_pods(root).await.map_err(ResetError::Pods),
            other => change(root, other),
        };
        let Err(error) = result else { continue };
        errors.push(error);
        if matches!(action, Undo::StopUnit { .. } | Undo::StartUnit { .. } | Undo::RemovePods) {
            errors.push(ResetError::LeftOut { count: plan.len() - done - 1 });
            return errors;
        }
    }
    errors
}

fn change(root: &Root, action: &Undo) -> Result<(), ResetError> {
    match action {
        Undo::StopUnit { unit } => Units::of(root).disable_now(unit).map_err(unit_error(unit)),
        Undo::StartUnit { unit } => Units::of(root).start(unit).map_err(unit_error(unit)),
        Undo::EnableUnit { unit } => Units::of(root).enable(unit).map_err(unit_error(unit)),
        Undo::ReloadUnits => Units::of(root).daemon_reload().map_err(unit_error("(all)")),
        Undo::Unmount { path } => unmount_below(root, path),
        Undo::RemoveInterface { name } => remove_interface(root, name),
        Undo::RemoveRules { program } => rules::remove(root, program).map_err(ResetError::Rules),
        Undo::Remove { path } => remove(root, path),
        Undo::Forget { path } => {
            host::fs::remove_file(&root.path(path)).map_err(ResetError::File)?;
            remove_empty(&root.path(path::STATE))
        }
        Undo::PutBack { path, kept } => {
            host::fs::rename(&root.path(kept), &root.path(path)).map_err(ResetError::File)
        }
        Undo::SetSysctl { sysctl } => {
            kernel::set(root, sysctl).map_err(|source| ResetError::Sysctl { key: sysctl.key.clone(), source })
        }
        Undo::RemoveDir { path } => remove_empty(&root.path(path)),
        Undo::SetMode { path, mode } => host::fs::set_mode(&root.path(path), *mode).map_err(ResetError::File),
        // Done by `execute`.
        Undo::RemovePods => Ok(()),
    }
}

fn unit_error(unit: &str) -> impl Fn(CommandError) -> ResetError + '_ {
    move |source| ResetError::Unit { unit: unit.to_owned(), source }
}

async fn remove_pods(root: &Root) -> Result<(), CriError> {
    let runtime = root.machine().runtime(root.path(path::CRI_SOCKET)).await?;
    for pod in runtime.sandboxes(Filter::all()).await? {
        runtime.stop_pod(&pod.id).await?;
        runtime.remove_pod(&pod.id).await?;
    }
    Ok(())
}

fn remove_interface(root: &Root, name: &str) -> Result<(), ResetError> {
    if observe::interfaces(root, [name.to_owned()].iter()).is_empty() {
        return Ok(());
    }
    let removed = root.machine().run(Command::new("ip").args(["link", "delete", name]));
    removed.map(drop).map_err(|source| ResetError::Interface { name: name.to_owned(), source })
}

/// Innermost first.
fn unmount_below(root: &Root, dir: &str) -> Result<(), ResetError> {
    let mounts = mounts(root);
    for mount in mounts.iter().rev().filter(|mount| is_below(mount, dir)) {
        let unmounted = rustix::mount::unmount(root.path(mount), rustix::mount::UnmountFlags::DETACH);
        unmounted.map_err(|error| ResetError::Unmount { path: mount.clone(), source: error.into() })?;
    }
    Ok(())
}

/// Removes a path with all it holds. What is mounted there is somebody's data: it is never reached through here.
fn remove(root: &Root, path: &str) -> Result<(), ResetError> {
    let mounts = mounts(root);
    if let Some(mount) = mounts.iter().find(|mount| is_below(mount, path)) {
        return Err(ResetError::StillMounted { path: path.to_owned(), mount: mount.clone() });
    }
    let is_mount = mounts.iter().any(|mount| mount == path);
    let path = root.path(path);
    if !path.is_dir() || path.is_symlink() {
        return host::fs::remove_file(&path).map(drop).map_err(ResetError::File);
    }
    if !is_mount {
        return host::fs::remove_dir_all(&path).map_err(ResetError::File);
    }
    // A disk of its own stays where its owner mounted it.
    for entry in host::fs::list(&path).map_err(ResetError::File)? {
        if entry.is_dir() && !entry.is_symlink() {
            host::fs::remove_dir_all(&entry).map_err(ResetError::File)?;
        } else {
            host::fs::remove_file(&entry).map_err(ResetError::File)?;
        }
    }
    Ok(())
}

/// A directory that somebody has put something into meanwhile stays.
fn remove_empty(dir: &Path) -> Result<(), ResetError> {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match std::fs::remove_dir(dir) {
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotFound) => Ok(()),
        result => result.map_err(|source| {
            ResetError::File(FsError { verb: "remove directory", path: dir.to_owned(), source })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(root: &Root, path: &str, text: &str) {
        let path = root.path(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
    }

    #[test]
    fn a_host_is_ours_by_its_record_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert_eq!(whose(&root).unwrap(), Host::Bare);
        // kubeadm's.
        written(&root, "/etc/kubernetes/kubelet.conf", "x");
        written(&root, "/etc/systemd/system/kubelet.service", "[Unit]\n");
        assert_eq!(whose(&root).unwrap(), Host::Foreign("/etc/kubernetes/kubelet.conf".to_owned()));
        written(&root, "/etc/systemd/system/kubelet.service", "# Written by kubestrap; a change…\n[Unit]\n");
        assert_eq!(whose(&root).unwrap(), Host::Unrecorded);
        Record::default().write(&root).unwrap();
        assert!(whose(&root).is_err(), "a record without a version");
    }

    #[tokio::test]
    async fn every_step_is_tried_and_the_record_stays_when_one_failed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        written(&root, "/a", "x");
        written(&root, path::INSTALLED, "{}");
        let kept = "/gone.before-kubestrap".to_owned();
        let plan = [
            Undo::PutBack { path: "/gone".to_owned(), kept },
            Undo::Remove { path: "/a".to_owned() },
            Undo::Forget { path: path::INSTALLED.to_owned() },
        ];
        let errors = execute(&root, &plan, |_| ()).await;
        assert!(matches!(errors.as_slice(), [ResetError::File(_)]), "{errors:?}");
        assert!(!root.path("/a").exists());
        assert!(root.path(path::INSTALLED).exists());
        assert!(execute(&root, &plan[1..], |_| ()).await.is_empty());
        assert!(!root.path(path::INSTALLED).exists());
    }

    #[tokio::test]
    async fn nothing_is_removed_under_what_could_not_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        written(&root, "/a", "x");
        let errors =
            execute(&root, &[Undo::RemovePods, Undo::Remove { path: "/a".to_owned() }], |_| ()).await;
        assert!(matches!(errors.as_slice(), [ResetError::Pods(_), ResetError::LeftOut { count: 1 }]));
        assert!(root.path("/a").exists());
    }
}
