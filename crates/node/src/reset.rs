//! Undoes an install: no pod, no unit, no file of ours is left. Small on purpose: what `up` made.

use std::path::{Path, PathBuf};

use cri::{Cri, CriError, Filter};
use host::command::{Command, CommandError};
use host::fs::FsError;
use names::path;
use serde::Serialize;

use crate::{Root, containerd, units};

/// Interfaces that the bridge plugin and flannel make.
const INTERFACES: [&str; 2] = ["cni0", "flannel.1"];

/// Why a host could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The init system did not do as told.
    #[error("cannot stop {unit}")]
    Unit {
        /// The unit.
        unit: String,
        /// What `systemctl` said.
        source: CommandError,
    },
    /// Pods could not be removed.
    #[error("cannot remove the node's pods")]
    Pods(#[source] CriError),
    /// Something is mounted and cannot be unmounted.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// A network interface could not be removed.
    #[error("cannot remove the network interface {name}")]
    Interface {
        /// Its name.
        name: String,
        /// What `ip` said.
        source: CommandError,
    },
    /// A file or directory could not be removed.
    #[error("cannot remove the node's files")]
    File(#[source] FsError),
}

/// One step of a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// Remove static pods, so that nobody starts them again.
    ClearDir {
        /// The directory whose entries go.
        path: String,
    },
    /// Stop a unit and keep it from being started at boot.
    StopUnit {
        /// The unit.
        unit: String,
    },
    /// Stop and remove all pods through the container runtime.
    RemovePods,
    /// Unmount all that is mounted below a directory.
    Unmount {
        /// The directory.
        path: String,
    },
    /// Remove a file or a directory with all it holds.
    Remove {
        /// Its path.
        path: String,
    },
    /// Remove a network interface that the pods' network made.
    RemoveInterface {
        /// Its name.
        name: String,
    },
    /// Make the init system forget removed unit files.
    ReloadUnits,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClearDir { path } => write!(f, "empty {path}"),
            Self::StopUnit { unit } => write!(f, "stop {unit}"),
            Self::RemovePods => f.write_str("remove all pods"),
            Self::Unmount { path } => write!(f, "unmount everything below {path}"),
            Self::Remove { path } => write!(f, "remove {path}"),
            Self::RemoveInterface { name } => write!(f, "remove network interface {name}"),
            Self::ReloadUnits => f.write_str("reload unit files"),
        }
    }
}

/// What a reset leaves alone.
#[derive(Clone, Debug, Default)]
pub struct ResetOptions {
    /// Keep etcd's data in this directory; without it the directory named here goes too.
    pub keep_etcd: bool,
    /// The directory of etcd's data.
    pub etcd_data_dir: String,
    /// Whether the host had its own containerd before: it stays then.
    pub existing_containerd: bool,
}

/// What a reset of this host would do, in order. Only what exists is named.
pub fn plan(root: &Root, options: &ResetOptions) -> Vec<Action> {
    let ours = |unit: &str| {
        std::fs::read_to_string(root.path(path::UNITS).join(unit))
            .is_ok_and(|t| t.starts_with(containerd::OURS))
    };
    let (kubelet, containerd) =
        (ours("kubelet.service"), ours("containerd.service") && !options.existing_containerd);
    let mut actions = Vec::new();
    if host::fs::list(&root.path(path::STATIC_PODS)).is_ok_and(|entries| !entries.is_empty()) {
        actions.push(Action::ClearDir { path: path::STATIC_PODS.to_owned() });
    }
    if kubelet {
        actions.push(Action::StopUnit { unit: "kubelet.service".to_owned() });
    }
    if root.path(path::CRI_SOCKET).exists() && (kubelet || containerd) {
        actions.push(Action::RemovePods);
    }
    if containerd {
        actions.push(Action::StopUnit { unit: "containerd.service".to_owned() });
    }
    for dir in [path::KUBELET, path::CONTAINERD_STATE, "/run/netns"] {
        if has_mounts(&root.path(dir)) {
            actions.push(Action::Unmount { path: dir.to_owned() });
        }
    }
    if kubelet && root.is_host() {
        let there = |name: &&str| Path::new("/sys/class/net").join(name).exists();
        let interfaces = INTERFACES.into_iter().filter(there);
        actions.extend(interfaces.map(|name| Action::RemoveInterface { name: name.to_owned() }));
    }
    let removed = removed_paths(options, kubelet, containerd);
    actions.extend(removed.into_iter().filter(|p| root.path(p).exists()).map(|path| Action::Remove { path }));
    if kubelet || containerd {
        actions.push(Action::ReloadUnits);
    }
    actions
}

fn removed_paths(options: &ResetOptions, kubelet: bool, containerd: bool) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    if containerd {
        paths.extend(
            [path::CONTAINERD_ROOT, path::CONTAINERD_STATE, path::CONTAINERD_CONFIG].map(str::to_owned),
        );
        paths.extend(containerd::PROGRAMS.map(|p| format!("{}/{p}", path::PROGRAMS)));
        paths.push(format!("{}/containerd.service", path::UNITS));
    }
    if kubelet {
        let files = [
            path::KUBELET,
            path::KUBERNETES,
            path::FLANNEL_CNI_CONFIG,
            path::FLANNEL_STATE,
            path::CNI_STATE,
            path::CNI_PLUGINS,
            path::POD_LOGS,
            path::CONTAINER_LOGS,
            path::SYSCTL_FILE,
            path::MODULES_FILE,
        ];
        paths.extend(files.map(str::to_owned));
        paths.push(format!("{}/kubelet", path::PROGRAMS));
        paths.push(format!("{}/kubelet.service", path::UNITS));
    }
    if !options.keep_etcd && !options.etcd_data_dir.is_empty() {
        paths.push(options.etcd_data_dir.clone());
    }
    paths
}

/// Does what a plan says.
///
/// # Errors
/// [`ResetError`]; a reset that is run again goes on with what is left.
pub async fn execute(
    root: &Root,
    actions: &[Action],
    mut progress: impl FnMut(&Action),
) -> Result<(), ResetError> {
    for action in actions {
        progress(action);
        match action {
            Action::RemovePods => {
                remove_pods(&root.path(path::CRI_SOCKET)).await.map_err(ResetError::Pods)?;
            }
            other => change(root, other)?,
        }
    }
    Ok(())
}

fn change(root: &Root, action: &Action) -> Result<(), ResetError> {
    match action {
        Action::ClearDir { path } => {
            for entry in host::fs::list(&root.path(path)).map_err(ResetError::File)? {
                host::fs::remove_file(&entry).map_err(ResetError::File)?;
            }
            Ok(())
        }
        Action::StopUnit { unit } => {
            units::disable_now(unit).map_err(|source| ResetError::Unit { unit: unit.clone(), source })
        }
        Action::RemoveInterface { name } => Command::new("ip")
            .args(["link", "delete", name])
            .run()
            .map(drop)
            .map_err(|source| ResetError::Interface { name: name.clone(), source }),
        Action::Unmount { path } => unmount_below(&root.path(path)),
        Action::Remove { path } => {
            let path = root.path(path);
            if path.is_dir() && !path.is_symlink() {
                return host::fs::remove_dir_all(&path).map_err(ResetError::File);
            }
            host::fs::remove_file(&path).map(drop).map_err(ResetError::File)
        }
        Action::ReloadUnits => {
            units::daemon_reload().map_err(|source| ResetError::Unit { unit: "(all)".to_owned(), source })
        }
        Action::RemovePods => Ok(()),
    }
}

async fn remove_pods(socket: &Path) -> Result<(), CriError> {
    let runtime = Cri::connect(socket).await?;
    for pod in runtime.sandboxes(Filter::all()).await? {
        runtime.stop_pod(&pod.id).await?;
        runtime.remove_pod(&pod.id).await?;
    }
    Ok(())
}

/// Mount points below a directory, innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let point = |line: &str| Some(PathBuf::from(unescape(line.split_ascii_whitespace().nth(1)?)));
    let mut points: Vec<PathBuf> =
        table.lines().filter_map(point).filter(|p| p.starts_with(dir) && p != dir).collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    points
}

/// The kernel writes blanks in paths as octal numbers (proc(5)).
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

fn has_mounts(dir: &Path) -> bool {
    !mounts_below(dir).is_empty()
}

fn unmount_below(dir: &Path) -> Result<(), ResetError> {
    for path in mounts_below(dir) {
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH)
            .map_err(|error| ResetError::Unmount { path, source: error.into() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kubestrap_made_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        assert_eq!(plan(&root, &ResetOptions::default()), []);
        for path in
            ["/etc/systemd/system", "/etc/kubernetes/manifests", "/var/lib/containerd", "/var/lib/etcd"]
        {
            host::fs::create_dir_all(&root.path(path), 0o755).unwrap();
        }
        let unit = |name: &str, text: &str| {
            host::fs::write(&root.path(path::UNITS).join(name), text.as_bytes(), 0o644).unwrap();
        };
        unit("kubelet.service", "# Written by kubestrap; …\n");
        unit("containerd.service", "[Unit]\nDescription=somebody else's\n");
        host::fs::write(&root.path("/etc/kubernetes/manifests/etcd.yaml"), b"x", 0o600).unwrap();

        let options =
            ResetOptions { keep_etcd: true, etcd_data_dir: "/var/lib/etcd".to_owned(), ..Default::default() };
        let shown: Vec<String> = plan(&root, &options).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "empty /etc/kubernetes/manifests",
                "stop kubelet.service",
                "remove /etc/kubernetes",
                "remove /etc/systemd/system/kubelet.service",
                "reload unit files",
            ]
        );
        let all = plan(&root, &ResetOptions { keep_etcd: false, ..options });
        assert!(all.contains(&Action::Remove { path: "/var/lib/etcd".to_owned() }));
    }
}
