//! What there is already of a [`Desired`] node: read from files, the kernel and processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::Root;
use crate::desired::{Desired, ProgramFile};
use crate::record::{self, Record};
use crate::units::Units;
use crate::{containerd, kernel, kubelet_certificate, kubelet_state, units};
use store::hex;

/// How exactly it is known when a process started ([`host::proc::ProcessId::started_at`]). What is written within that time
/// after its start counts as read.
const START: Duration = Duration::from_millis(30);

/// A file or directory that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its permission bits.
    pub mode: u32,
    /// The SHA-256 of its content; empty for a directory, and for a link that leads nowhere.
    pub digest: String,
    /// True when its text says that kubestrap wrote it.
    pub marked: bool,
}

/// What stands between the name of containerd's directory and the time when it was set aside.
pub(crate) const SET_ASIDE: &str = ".damaged-";

/// What containerd keeps, which it cannot use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// What is wrong with it, as a clause that names the file.
    pub why: String,
    /// Where it goes.
    pub to: String,
}

/// A unit as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// The digest of inputs that the running process carries; `None` when it does not run, or
    /// was started by somebody else.
    pub running_inputs: Option<String>,
    /// A file that its running process reads when it starts, and that was written or put there after that.
    pub newer: Option<String>,
    /// True when the init system calls it active.
    pub active: bool,
    /// True when it is started at boot.
    pub enabled: bool,
}

/// The node as it is, as far as a [`Desired`] asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Files, programs and directories that exist, by path.
    pub files: BTreeMap<String, Found>,
    /// Temporary files that a killed install left beside its files.
    pub leftovers: Vec<String>,
    /// Files in which the kubelet kept its state, damaged, by their names.
    pub damaged: Vec<String>,
    /// What containerd keeps cannot be used: why, and where it waits once it is set aside.
    pub store: Option<SetAside>,
    /// True when the kubelet has a client certificate of the right CA that is still valid.
    pub client_certificate: bool,
    /// Modules that are loaded or built in.
    pub modules: BTreeSet<String>,
    /// Values of kernel settings; settings that the kernel does not know are missing.
    pub sysctls: BTreeMap<String, String>,
    /// Units by name.
    pub units: BTreeMap<String, UnitState>,
    /// What is in the directories that a node's programs fill; those that do not exist are missing.
    pub trees: BTreeMap<String, BTreeSet<String>>,
    /// Files of the host's that wait beside ours, by the path that is theirs.
    pub kept: BTreeSet<String>,
    /// Network interfaces that there are of those that the pods' network makes.
    pub interfaces: BTreeSet<String>,
    /// What an earlier install noted.
    pub record: Option<Record>,
    /// True for a node that a kubestrap made which noted nothing.
    pub unrecorded: bool,
}

/// Looks at everything that `desired` names. What cannot be read counts as missing: writing it
/// will say why.
pub fn observe(root: &Root, desired: &Desired) -> Observed {
    let dirs = desired.dirs.iter().map(|d| d.path.as_str());
    let files = desired.files.iter().map(|f| f.path.as_str());
    let programs = desired.programs.iter().map(|p| p.path.as_str());
    let rewritten = desired.rewritten.iter().map(String::as_str);
    let placed: Vec<&str> = files.chain(programs).collect();
    // What cannot be read is as good as none: the next install notes it anew.
    let record = Record::read(root).ok().flatten();
    let mut observed = Observed {
        files: found(root, dirs.chain(placed.iter().copied()).chain(rewritten)),
        leftovers: leftovers(root, placed.iter().copied()),
        damaged: kubelet_state::damaged(&root.path(names::path::KUBELET)),
        store: desired
            .units
            .iter()
            .any(|unit| unit.name == containerd::UNIT)
            .then(|| unusable(root))
            .flatten(),
        client_certificate: kubelet_certificate::is_there(root, &desired.ca, &desired.node, Timestamp::now()),
        trees: trees(root, desired.trees.iter()),
        kept: kept(root, placed.iter().copied()),
        modules: desired.modules.iter().filter(|m| kernel::has_module(root, m)).cloned().collect(),
        units: desired
            .units
            .iter()
            .map(|unit| (unit.name.to_owned(), unit_state(root, unit.name, &unit.reads)))
            .collect(),
        interfaces: interfaces(root, desired.interfaces.iter()),
        unrecorded: record.is_none() && is_marked(&root.path(units::path(names::path::KUBELET_UNIT))),
        record,
        ..Observed::default()
    };
    for sysctl in &desired.sysctls {
        if let Some(value) = kernel::current(root, &sysctl.key) {
            observed.sysctls.insert(sysctl.key.clone(), value);
        }
    }
    observed
}

/// What cannot be read is not judged: containerd says what it makes of it.
fn unusable(root: &Root) -> Option<SetAside> {
    let dir = names::path::CONTAINERD_ROOT;
    match store::look(&root.path(dir), Path::new(dir)) {
        Ok(store::Standing::Damaged(damage)) => {
            let now = host::words::stamp(Timestamp::now());
            Some(SetAside { why: damage.to_string(), to: format!("{dir}{SET_ASIDE}{now}") })
        }
        _ => None,
    }
}

/// Those of these files and directories that exist.
pub(crate) fn found<'a>(root: &Root, paths: impl Iterator<Item = &'a str>) -> BTreeMap<String, Found> {
    paths.filter_map(|path| Some((path.to_owned(), look(&root.path(path))?))).collect()
}

/// Those of these directories that exist, each with the names in it.
pub(crate) fn trees<'a>(
    root: &Root,
    paths: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let names = |dir: PathBuf| {
        let entries = dir.is_dir().then(|| host::fs::list(&dir).unwrap_or_default())?;
        Some(entries.into_iter().filter_map(name).collect())
    };
    paths.filter_map(|path| Some((path.clone(), names(root.path(path))?))).collect()
}

/// Those of these paths whose own file waits beside ours.
pub(crate) fn kept<'a>(root: &Root, paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let waits = |path: &&str| root.path(record::kept(path)).symlink_metadata().is_ok();
    paths.filter(waits).map(str::to_owned).collect()
}

/// Those of these network interfaces that there are.
pub(crate) fn interfaces<'a>(root: &Root, names: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    names.filter(|name| root.path("/sys/class/net").join(name).exists()).cloned().collect()
}

/// How the init system has these units.
pub(crate) fn unit_states<'a>(
    root: &Root,
    names: impl Iterator<Item = &'a str>,
) -> BTreeMap<String, UnitState> {
    names.map(|name| (name.to_owned(), unit_state(root, name, &[]))).collect()
}

fn unit_state(root: &Root, unit: &str, reads: &[String]) -> UnitState {
    let units = Units::of(root);
    let started = units.inputs(unit);
    let since = started.as_ref().and_then(|started| started.at);
    let newer = since.and_then(|since| reads.iter().find(|file| is_newer(&root.path(file), since)));
    UnitState {
        running_inputs: started.map(|started| started.value),
        newer: newer.cloned(),
        active: units.is_active(unit),
        enabled: units.is_enabled(unit),
    }
}

/// Whether a file became what it is after that moment. By the time of its inode's last change, which the kernel sets
/// whatever a copy or an archive says when the file was written. One in the future says nothing: the clock was set back.
fn is_newer(path: &Path, since: SystemTime) -> bool {
    let changed = fs::symlink_metadata(path).ok().and_then(|found| {
        let seconds = Duration::from_secs(found.ctime().try_into().ok()?);
        UNIX_EPOCH.checked_add(seconds + Duration::from_nanos(found.ctime_nsec().try_into().ok()?))
    });
    changed.is_some_and(|changed| changed > since + START && changed <= SystemTime::now())
}

/// True for a file that says that kubestrap wrote it.
pub(crate) fn is_marked(path: &Path) -> bool {
    let mut start = vec![0; containerd::OURS.len()];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == containerd::OURS.as_bytes()
}

/// The programs on which a running unit depends, as they lie on this host.
pub(crate) fn programs(root: &Root) -> Vec<ProgramFile> {
    let names = containerd::PROGRAMS.into_iter().chain(["kubelet"]);
    let found = names.filter_map(|name| {
        let digest = digest_of(&root.path(names::path::PROGRAMS).join(name))?;
        Some(ProgramFile { name: name.to_owned(), digest })
    });
    found.collect()
}

fn look(path: &Path) -> Option<Found> {
    let Ok(metadata) = fs::metadata(path) else {
        let is_link = path.symlink_metadata().is_ok();
        return is_link.then(|| Found { mode: 0, digest: String::new(), marked: false });
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_dir() {
        return Some(Found { mode, digest: String::new(), marked: false });
    }
    Some(Found { mode, digest: digest_of(path)?, marked: is_marked(path) })
}

/// Files named `.<name>.<pid>….tmp`, as atomic writes name them, beside files of ours and of
/// processes that are gone.
pub(crate) fn leftovers<'a>(root: &Root, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    for (dir, name) in paths.filter_map(|path| path.rsplit_once('/')) {
        let entries = host::fs::list(&root.path(dir)).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| entry.file_name()?.to_str());
        found.extend(names.filter(|entry| is_leftover(entry, name)).map(|entry| format!("{dir}/{entry}")));
    }
    found
}

fn is_leftover(entry: &str, name: &str) -> bool {
    let middle = entry.strip_prefix('.').and_then(|rest| rest.strip_prefix(name));
    let numbers = middle.and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp"));
    let Some(Ok(pid)) = numbers.map(|n| n.split('.').next().unwrap_or_default().parse::<u32>()) else {
        return false;
    };
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn digest_of(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_files_of_dead_processes_are_left_over() {
        assert!(is_leftover(".ctr.4194999.tmp", "ctr"));
        assert!(is_leftover(".kubelet.service.4194999.3.tmp", "kubelet.service"));
        let me = std::process::id();
        for entry in
            [&format!(".ctr.{me}.tmp"), ".ctr.tmp", ".ctr.x.tmp", "ctr.1.tmp", ".ctr-2.4194999.tmp", "ctr"]
        {
            assert!(!is_leftover(entry, "ctr"), "{entry}");
        }
    }
}
