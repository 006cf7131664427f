//! Who may read and write what: a component runs as a user of its own, which no right of root's helps, and keys are for
//! nobody else. `chmod -R` and `chown -R` change that at once, and what runs has its files open already: it shows at the
//! next start.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ::checks::{Check, Name, kind};
use names::path;
use objects::{items, pod, text};
use serde_json::Value;

use crate::files::{self, Files};

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

/// Where keys, tokens and snapshots of a node lie. Checkpoints have their rights recorded: other ones are damage.
const PRIVATE: [&str; 5] = [path::KUBERNETES, path::KUBELET_PKI, path::ASSETS, path::BACKUPS, path::UPGRADE];

/// What a file has in it that is for few: a key in PEM form, one inside a kubeconfig, a token, keys of encryption.
const SECRETS: [&str; 4] =
    ["PRIVATE KEY-----", "client-key-data:", "token:", "kind: EncryptionConfiguration"];

/// Flags by which a component is told where to write: etcd its data (server/embed/config.go of etcd-io/etcd),
/// kube-apiserver its log (staging/src/k8s.io/apiserver/pkg/server/options/audit.go).
const WRITTEN: [&str; 3] = ["--data-dir", "--wal-dir", "--audit-log-path"];

/// More than so many files are not named one by one.
const NAMED: usize = 4;

/// A user as the kernel takes it when a file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    groups: Vec<u32>,
}

impl User {
    /// As whom a container runs; none for root, and where the image says it.
    fn of(pod: &Value, container: &Value) -> Option<Self> {
        let of_pod = &pod["spec"]["securityContext"];
        let number = |name: &str| {
            let own = container["securityContext"][name].as_u64();
            own.or_else(|| of_pod[name].as_u64()).and_then(|id| u32::try_from(id).ok())
        };
        let uid = number("runAsUser").filter(|uid| *uid != 0)?;
        let further = items(&of_pod["supplementalGroups"]).iter().filter_map(Value::as_u64);
        let further = further.filter_map(|id| u32::try_from(id).ok());
        // Without a group it has root's (`runAsGroup` in k8s.io/api/core/v1).
        Some(Self { uid, groups: number("runAsGroup").or(Some(0)).into_iter().chain(further).collect() })
    }

    fn may(&self, wanted: u32, metadata: &Metadata) -> bool {
        let shift = if metadata.uid() == self.uid {
            6
        } else if self.groups.contains(&metadata.gid()) {
            3
        } else {
            0
        };
        (metadata.mode() >> shift) & wanted == wanted
    }

    /// What keeps it from a path below `base`, which is a mount of its own: what is above that is of no matter. A path
    /// that is not there keeps nobody from anything.
    fn kept_from(&self, files: &Files, base: &Path, path: &Path, wanted: u32) -> Option<String> {
        let way: Vec<&Path> = path.ancestors().take_while(|step| step.starts_with(base)).collect();
        for step in way.into_iter().rev() {
            let metadata = files.path(step).metadata().ok()?;
            let is_goal = step == path;
            let needed = match (is_goal, metadata.is_dir()) {
                (true, true) => wanted | SEARCH,
                (true, false) => wanted,
                (false, _) => SEARCH,
            };
            if !self.may(needed, &metadata) {
                let what = if wanted & WRITE == 0 { "read" } else { "write" };
                let lies =
                    if is_goal { String::new() } else { format!(", which is below {}", step.display()) };
                let whose =
                    format!("{}:{}, mode {:04o}", metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
                return Some(format!(
                    "{}{lies} ({whose}): user {} may not {what} it",
                    path.display(),
                    self.uid
                ));
            }
        }
        None
    }
}

/// A path of the host that a container uses.
struct Use {
    base: PathBuf,
    path: PathBuf,
    wanted: u32,
}

/// Whether a component's user gets at what its pod names of the host: keys, what flags name, what it writes to.
pub(crate) fn of_pod(name: impl Into<Name>, files: &Files, pod: &Value) -> Check {
    let (mut fatal, mut minor, mut roots) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let renews = files.exists(path::AUTHORITIES).unwrap_or(false);
    for container in pod::containers(pod) {
        let Some(user) = User::of(pod, container) else { continue };
        for Use { base, path, wanted } in uses(files, pod, container) {
            let Some(problem) = user.kept_from(files, &base, &path, wanted) else { continue };
            if renews && assets::has_keys(&base.to_string_lossy()) {
                minor.insert(problem);
                continue;
            }
            fatal.insert(problem);
            let group = user.groups.first().copied().unwrap_or_default();
            roots.insert(format!(
                "chown -R {}:{group} {root} && chmod -R u+rwX {root}",
                user.uid,
                root = base.display()
            ));
        }
    }
    let remedy = if fatal.is_empty() {
        "the guardian puts this right within a minute, and before it starts a copy; if it does not, its log says why: \
         kubectl -n kube-system logs -l k8s-app=kubestrap-guardian"
            .to_owned()
    } else {
        roots.into_iter().collect::<Vec<_>>().join("; ")
    };
    let ok = "its user may read and write what it needs of this host";
    Check::of_problems(name, &few(fatal), &few(minor), ok, &remedy)
}

/// What a container uses of the host: what its flags name, all of the control plane's keys that it mounts, and all that
/// lies where etcd has its data.
fn uses(files: &Files, pod: &Value, container: &Value) -> Vec<Use> {
    let mut uses = Vec::new();
    for mount in items(&container["volumeMounts"]) {
        let mounted_at = text(&mount["mountPath"]);
        let Some(base) = pod::on_host(pod, container, mounted_at) else { continue };
        let mut add = |path: PathBuf, wanted| uses.push(Use { base: base.clone(), path, wanted });
        for (flag, value) in pod::words(container).filter_map(|word| word.split_once('=')) {
            let lies = Path::new(value).starts_with(mounted_at);
            let Some(path) = pod::on_host(pod, container, value).filter(|_| lies) else { continue };
            if !WRITTEN.contains(&flag) {
                add(path, READ);
                continue;
            }
            for below in below(files, &path) {
                add(below, READ | WRITE);
            }
            // Where it is to be made, or put aside.
            path.parent()
                .filter(|dir| dir.starts_with(&base))
                .into_iter()
                .for_each(|dir| add(dir.to_owned(), WRITE));
            add(path, READ | WRITE);
        }
        assets::files_of(&base.to_string_lossy()).for_each(|path| add(path, READ));
    }
    uses
}

/// All files below a directory of the node.
fn below(files: &Files, dir: &Path) -> Vec<PathBuf> {
    let ours = files.path(dir);
    let tree = files::tree(&ours).into_iter();
    tree.filter_map(|path| Some(dir.join(path.strip_prefix(&ours).ok()?))).collect()
}

/// Whether anybody on the host may read what is for few; `data` is where etcd has its own.
pub(crate) fn private(files: &Files, data: Option<&Path>) -> Check {
    let mut open = Vec::new();
    let mut roots = Vec::new();
    let dirs = PRIVATE.iter().map(Path::new).chain(data);
    for dir in dirs.filter(|dir| everybody_gets_to(files, dir)) {
        let found: Vec<PathBuf> = open_below(files, dir);
        if !found.is_empty() {
            roots.push(dir.display().to_string());
        }
        open.extend(found.into_iter().map(|path| path.display().to_string()));
    }
    let whose = |path: String| format!("everybody on this host may read {path}");
    let minor: Vec<String> = few(open.into_iter().map(whose).collect());
    let remedy = format!(
        "chmod -R o-rwx {}; whoever has an account on this host may have read them before",
        roots.join(" ")
    );
    Check::of_problems(
        &kind::PRIVATE_FILES,
        &[],
        &minor,
        "nobody but those whom they are for may read keys",
        &remedy,
    )
}

fn everybody_gets_to(files: &Files, dir: &Path) -> bool {
    dir.ancestors().all(|step| is_open(&files.path(step), SEARCH))
}

fn is_open(path: &Path, wanted: u32) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.mode() & wanted == wanted)
}

/// What everybody may read below a directory that everybody gets to.
fn open_below(files: &Files, dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for ours in host::fs::list(&files.path(&dir)).unwrap_or_default() {
            let Some(path) = ours.file_name().map(|name| dir.join(name)) else { continue };
            if ours.is_symlink() {
                continue;
            }
            if ours.is_dir() {
                dirs.extend(is_open(&ours, SEARCH).then_some(path));
            } else if is_open(&ours, READ) && is_private(&ours, &path) {
                open.push(path);
            }
        }
    }
    open.sort();
    open
}

/// Keys and tokens are known by what is in them; snapshots and etcd's own files are no text and have everything.
fn is_private(ours: &Path, path: &Path) -> bool {
    match files::small_text(ours) {
        Ok(text) => SECRETS.iter().any(|secret| text.contains(secret)),
        Err(_) => !path.starts_with(path::KUBERNETES),
    }
}

/// The first of them, and how many more there are.
fn few(all: BTreeSet<String>) -> Vec<String> {
    let more = all.len().saturating_sub(NAMED);
    let mut few: Vec<String> = all.into_iter().take(NAMED).collect();
    if more > 0 {
        few.push(format!("and {more} more"));
    }
    few
}

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
