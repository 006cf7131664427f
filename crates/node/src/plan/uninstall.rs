//! The way back: from a node, and the record of what its install found, to the host as it was. Pure.
//!
//! The order is such that an uninstall killed after any action goes on from there: first nobody starts anything any more,
//! then nothing runs, then all goes that it had, secrets first; the record, by which the rest is known, goes last.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use names::path;
use serde::Serialize;

use crate::kernel::Sysctl;
use crate::observe::{Found, UnitState};
use crate::record::{self, Record};
use crate::{containerd, units};

/// The units of a node, in the order in which they are stopped.
const UNITS: [&str; 2] = [path::KUBELET_UNIT, containerd::UNIT];

/// Why most things stay.
const WAS_HERE: &str = "it was here before kubestrap";

/// One step of an uninstall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Undo {
    /// Stop a unit and keep it from being started at boot.
    StopUnit {
        /// The unit.
        unit: String,
    },
    /// Start a unit.
    StartUnit {
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
    /// Remove a network interface that the pods' network made.
    RemoveInterface {
        /// Its name.
        name: String,
    },
    /// Remove the packet rules of kube-proxy, the kubelet and flannel.
    RemoveRules {
        /// The program that they are seen by.
        program: String,
    },
    /// Remove a file, or a directory with all it holds; of a mount point what it holds.
    Remove {
        /// Its path.
        path: String,
    },
    /// Put a file of the host's back where it was.
    PutBack {
        /// Its path.
        path: String,
        /// Where it waits.
        kept: String,
    },
    /// Set a kernel setting to what it was.
    SetSysctl {
        /// The setting and its value.
        #[serde(flatten)]
        sysctl: Sysctl,
    },
    /// Remove a directory that has nothing in it by then.
    RemoveDir {
        /// Its path.
        path: String,
    },
    /// Give a directory the mode that it had.
    SetMode {
        /// Its path.
        path: String,
        /// The mode, in octal digits.
        #[serde(serialize_with = "crate::content::octal")]
        mode: u32,
    },
    /// Make the init system forget removed unit files.
    ReloadUnits,
    /// Have a unit of the host's started at boot, as it was.
    EnableUnit {
        /// The unit.
        unit: String,
    },
    /// Remove the record, and its directory with it when nothing else is there: from then on nothing here is kubestrap's.
    Forget {
        /// Its path.
        path: String,
    },
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopUnit { unit } => write!(f, "stop {unit}"),
            Self::StartUnit { unit } => write!(f, "start {unit}"),
            Self::RemovePods => f.write_str("stop and remove all pods"),
            Self::Unmount { path } => write!(f, "unmount everything below {path}"),
            Self::RemoveInterface { name } => write!(f, "remove the network interface {name}"),
            Self::RemoveRules { program } => {
                write!(f, "remove the packet rules of kube-proxy, the kubelet and flannel by {program}")
            }
            Self::Remove { path } | Self::Forget { path } => write!(f, "remove {path}"),
            Self::PutBack { path, .. } => write!(f, "put back {path} as it was before the install"),
            Self::SetSysctl { sysctl } => write!(f, "set {} = {}", sysctl.key, sysctl.value),
            Self::RemoveDir { path } => write!(f, "remove the empty directory {path}"),
            Self::SetMode { path, mode } => write!(f, "set the mode of {path} to {mode:04o}"),
            Self::ReloadUnits => f.write_str("reload unit files"),
            Self::EnableUnit { unit } => write!(f, "start {unit} at boot"),
        }
    }
}

/// Something that an uninstall leaves, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stay {
    /// A path, or words.
    pub what: String,
    /// Why it stays, as a clause.
    pub why: String,
}

/// What an uninstall would do, in order, and what it would leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uninstall {
    /// The steps.
    pub actions: Vec<Undo>,
    /// What stays.
    pub stays: Vec<Stay>,
}

/// Whether pods may be running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// No container runtime answers, and none has anything running.
    #[default]
    Absent,
    /// It answers, and has so many pods.
    Answers {
        /// How many.
        pods: usize,
    },
    /// None answers, and containers of it run.
    Silent,
}

/// What there is of all that a record names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Files and programs, and directories with their modes.
    pub files: BTreeMap<String, Found>,
    /// Files of the host's that wait beside ours, by the path that is theirs.
    pub kept: BTreeSet<String>,
    /// Temporary files that a killed install left.
    pub leftovers: Vec<String>,
    /// Directories, each with the names in it.
    pub trees: BTreeMap<String, BTreeSet<String>>,
    /// Directories of kubestrap's own that exist and go whatever was in them.
    pub own: Vec<String>,
    /// Directories of kubestrap's own that exist and are the user's to remove, with the reason.
    pub users: Vec<Stay>,
    /// Kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// Units.
    pub units: BTreeMap<String, UnitState>,
    /// The container runtime.
    pub runtime: Runtime,
    /// Mount points.
    pub mounts: BTreeSet<String>,
    /// Network interfaces.
    pub interfaces: BTreeSet<String>,
    /// Programs by which packet rules of Kubernetes are seen.
    pub rules: Vec<String>,
}

/// What leads from a node back to the host that its install found.
pub fn uninstall(record: &Record, remains: &Remains) -> Uninstall {
    let mut undoing = Undoing { record, remains, plan: Uninstall::default() };
    undoing.stop();
    undoing.network();
    undoing.trees();
    undoing.files();
    undoing.settings();
    undoing.dirs();
    undoing.units();
    undoing.last();
    undoing.plan
}

struct Undoing<'a> {
    record: &'a Record,
    remains: &'a Remains,
    plan: Uninstall,
}

impl Undoing<'_> {
    fn push(&mut self, action: Undo) {
        self.plan.actions.push(action);
    }

    fn stays(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.plan.stays.push(Stay { what: what.into(), why: why.into() });
    }

    /// Whether the unit file that lies there is one that kubestrap wrote.
    fn has_unit(&self, unit: &str) -> bool {
        let path = units::path(unit);
        self.remains
            .files
            .get(&path)
            .is_some_and(|found| self.record.is_ours(&path, &found.digest, found.marked))
    }

    fn runs(&self, unit: &str) -> bool {
        self.has_unit(unit) && self.remains.units.get(unit).is_some_and(|state| state.active || state.enabled)
    }

    /// Whether the container runtime is one that an install brought.
    fn own_runtime(&self) -> bool {
        self.record.units.contains_key(UNITS[1])
    }

    fn stop(&mut self) {
        let [kubelet, containerd] = UNITS;
        let stop = |unit: &str| Undo::StopUnit { unit: unit.to_owned() };
        let kubelet_runs = self.runs(kubelet);
        if kubelet_runs {
            self.push(stop(kubelet));
        }
        match self.remains.runtime {
            Runtime::Silent => {
                if self.has_unit(containerd) {
                    self.push(Undo::StartUnit { unit: containerd.to_owned() });
                }
                self.push(Undo::RemovePods);
            }
            // As long as the kubelet runs there may be more of them in a moment.
            Runtime::Answers { pods } if pods > 0 || kubelet_runs => self.push(Undo::RemovePods),
            Runtime::Answers { .. } | Runtime::Absent => {}
        }
        if self.own_runtime() && (self.runs(containerd) || self.remains.runtime == Runtime::Silent) {
            self.push(stop(containerd));
        }
        if !self.own_runtime() {
            self.stays("the container runtime, with the images in it", WAS_HERE);
        }
        let outermost = self.record.trees.keys().filter(|tree| !self.is_in_tree(tree)).cloned();
        for path in outermost.collect::<Vec<_>>() {
            if self.remains.mounts.iter().any(|mount| is_below(mount, &path)) {
                self.push(Undo::Unmount { path });
            }
        }
    }

    fn is_in_tree(&self, path: &str) -> bool {
        self.record.trees.keys().any(|tree| is_below(path, tree))
    }

    fn network(&mut self) {
        for name in self.record.interfaces.intersection(&self.remains.interfaces) {
            self.push(Undo::RemoveInterface { name: name.clone() });
        }
        for program in &self.remains.rules {
            self.push(Undo::RemoveRules { program: program.clone() });
        }
    }

    /// True when a step before this one removes the path, or something above it.
    fn goes(&self, path: &str) -> bool {
        self.plan.actions.iter().any(|action| {
            matches!(action, Undo::Remove { path: gone } | Undo::RemoveDir { path: gone }
                if gone == path || is_below(path, gone))
        })
    }

    fn trees(&mut self) {
        for (tree, before) in &self.record.trees {
            let Some(entries) = self.remains.trees.get(tree).filter(|_| !self.goes(tree)) else { continue };
            let Some(before) = before else {
                self.push(Undo::Remove { path: tree.clone() });
                continue;
            };
            for entry in entries {
                let path = format!("{tree}/{entry}");
                if before.contains(entry) {
                    self.was_here(&path);
                } else if !self.is_kept(&path) {
                    self.push(Undo::Remove { path });
                }
            }
        }
        for path in &self.remains.own {
            self.push(Undo::Remove { path: path.clone() });
        }
        self.plan.stays.extend(self.remains.users.iter().cloned());
    }

    /// Says that something stays, unless there is more to say of it: it is a file that is put back, or a directory of
    /// which a part goes.
    fn was_here(&mut self, path: &str) {
        if !self.record.files.contains_key(path) && !self.record.trees.contains_key(path) {
            self.stays(path, WAS_HERE);
        }
    }

    fn is_kept(&self, path: &str) -> bool {
        path.strip_suffix(record::KEPT).is_some_and(|path| self.remains.kept.contains(path))
    }

    fn files(&mut self) {
        let leftovers = self.remains.leftovers.iter().map(|path| Undo::Remove { path: path.clone() });
        self.plan.actions.extend(leftovers);
        for (path, placed) in &self.record.files {
            if self.goes(path) {
                continue;
            }
            let found = self.remains.files.get(path);
            let is_ours = found.is_none_or(|found| self.record.is_ours(path, &found.digest, found.marked));
            match (self.remains.kept.contains(path), found) {
                (true, _) if is_ours => {
                    self.push(Undo::PutBack { path: path.clone(), kept: record::kept(path) });
                }
                // An uninstall before this one has put it back.
                (false, Some(_)) if placed.kept => self.stays(path, WAS_HERE),
                (false, Some(_)) if is_ours => self.push(Undo::Remove { path: path.clone() }),
                (_, None) => {}
                (_, Some(_)) => self.stays(path, "it is not what kubestrap put there"),
            }
        }
    }

    fn settings(&mut self) {
        for (key, setting) in &self.record.sysctls {
            if self.remains.sysctls.get(key) == Some(&setting.set) {
                let sysctl = Sysctl { key: key.clone(), value: setting.before.clone() };
                self.push(Undo::SetSysctl { sysctl });
            }
        }
    }

    /// Children first.
    fn dirs(&mut self) {
        for (path, dir) in self.record.dirs.iter().rev() {
            let Some(found) = self.remains.files.get(path).filter(|_| !self.goes(path)) else { continue };
            match dir.before {
                Some(mode) if found.mode == dir.set && mode != dir.set => {
                    self.push(Undo::SetMode { path: path.clone(), mode });
                }
                Some(_) => {}
                None => self.remove_if_empty(path),
            }
        }
    }

    fn remove_if_empty(&mut self, dir: &str) {
        let entries = self.remains.trees.get(dir).into_iter().flatten();
        let left: Vec<String> =
            entries.map(|entry| format!("{dir}/{entry}")).filter(|path| !self.goes(path)).collect();
        if left.is_empty() {
            self.push(Undo::RemoveDir { path: dir.to_owned() });
            return;
        }
        for path in left {
            let is_told = |what: &str| self.plan.stays.iter().any(|stay| stay.what == what);
            let is_handled = self.record.files.contains_key(&path)
                || self.record.dirs.contains_key(&path)
                || self.is_kept(&path)
                || is_told(&path);
            if !is_handled {
                self.stays(path, "kubestrap did not make it");
            }
        }
    }

    fn units(&mut self) {
        self.push(Undo::ReloadUnits);
        for (unit, before) in &self.record.units {
            if before.enabled {
                self.push(Undo::EnableUnit { unit: unit.clone() });
            }
            if before.active {
                self.push(Undo::StartUnit { unit: unit.clone() });
            }
        }
    }

    fn last(&mut self) {
        self.push(Undo::Forget { path: path::INSTALLED.to_owned() });
    }
}

/// Whether a path is below a directory, and is not that directory.
pub(crate) fn is_below(path: &str, dir: &str) -> bool {
    path != dir && Path::new(path).starts_with(dir)
}
