//! The difference between a node as it shall be and as it is, as a list of actions. Pure.
//!
//! The order is such that an install killed after any action goes on from there: programs and
//! files come before the units that use them, and a unit is restarted whenever its running
//! process was started with something else than what is on disk.

use std::fmt;

use serde::Serialize;

use crate::content::Content;
use crate::desired::{Desired, Dir};
use crate::kernel::Sysctl;
use crate::kubelet;
use crate::observe::{Observed, UnitState};
use crate::units::Unit;

/// One step of an install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Remove a temporary file that a killed install left.
    RemoveFile {
        /// Its path.
        path: String,
    },
    /// Create a directory, or set its mode.
    CreateDir {
        /// Its path.
        path: String,
        /// Its mode, in octal digits.
        #[serde(serialize_with = "octal")]
        mode: u32,
    },
    /// Take a program out of the bundle.
    InstallProgram {
        /// Its name in the bundle.
        name: String,
        /// Where it goes.
        path: String,
        /// Whether another file of that name lies there now.
        replaces: bool,
    },
    /// Write a file.
    WriteFile {
        /// Its path.
        path: String,
        /// Its mode, in octal digits.
        #[serde(serialize_with = "octal")]
        mode: u32,
        /// Whether a file with other content or mode lies there now.
        replaces: bool,
        /// What it will hold.
        content: Content,
    },
    /// Point a symbolic link at a file.
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// Load a kernel module; that it cannot be loaded is a warning only.
    LoadModule {
        /// Its name.
        name: String,
    },
    /// Set a kernel setting at once.
    SetSysctl {
        /// The setting and its value.
        #[serde(flatten)]
        sysctl: Sysctl,
    },
    /// Make the init system read changed unit files.
    ReloadUnits,
    /// Have a unit started at every boot.
    EnableUnit {
        /// The unit.
        unit: String,
    },
    /// Start a unit, or start it again.
    RestartUnit {
        /// The unit.
        unit: String,
        /// Why.
        because: Because,
    },
    /// Wait until the container runtime answers.
    AwaitRuntime,
    /// Wait until the kubelet answers that it is healthy.
    AwaitKubelet,
}

/// Why a unit is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Because {
    /// It does not run.
    NotRunning,
    /// It was started with another configuration or program.
    InputsChanged,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn octal<S: serde::Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{mode:04o}"))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |replaces: &bool, new, old| if *replaces { old } else { new };
        match self {
            Self::RemoveFile { path } => write!(f, "remove {path}"),
            Self::CreateDir { path, mode } => write!(f, "create {path} (mode {mode:04o})"),
            Self::InstallProgram { path, replaces, .. } => {
                write!(f, "{} {path}", verb(replaces, "install", "replace"))
            }
            Self::WriteFile { path, replaces, .. } => {
                write!(f, "{} {path}", verb(replaces, "write", "rewrite"))
            }
            Self::Link { path, target } => write!(f, "link {path} to {target}"),
            Self::LoadModule { name } => write!(f, "load kernel module {name}"),
            Self::SetSysctl { sysctl } => write!(f, "set {} = {}", sysctl.key, sysctl.value),
            Self::ReloadUnits => f.write_str("reload unit files"),
            Self::EnableUnit { unit } => write!(f, "start {unit} at boot"),
            Self::RestartUnit { unit, because: Because::NotRunning } => write!(f, "start {unit}"),
            Self::RestartUnit { unit, because: Because::InputsChanged } => {
                write!(f, "restart {unit}: its configuration or program changed")
            }
            Self::AwaitRuntime => f.write_str("wait for containerd"),
            Self::AwaitKubelet => f.write_str("wait for the kubelet"),
        }
    }
}

/// What an install would do, in order. Serialised, it shows all but secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps.
    pub actions: Vec<Action>,
}

impl Plan {
    /// True when the node is as it shall be.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// What leads from `observed` to `desired`.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let leftovers = observed.leftovers.iter().map(|path| Action::RemoveFile { path: path.clone() });
    let mut actions: Vec<Action> = leftovers.collect();
    actions.extend(dirs(desired, observed));
    actions.extend(programs(desired, observed));
    actions.extend(files(desired, observed));
    actions.extend(client_certificate(desired, observed));
    actions.extend(kernel(desired, observed));
    actions.extend(units(desired, observed));
    Plan { actions }
}

/// Directories that are missing, and those that others may look into and should not. Else the mode
/// of an existing one is its administrator's choice.
fn dirs(desired: &Desired, observed: &Observed) -> Vec<Action> {
    const OTHERS: u32 = 0o007;
    let fine = |dir: &Dir| {
        observed.files.get(&dir.path).is_some_and(|found| dir.mode & OTHERS != 0 || found.mode & OTHERS == 0)
    };
    let missing = desired.dirs.iter().filter(|dir| !fine(dir));
    missing.map(|dir| Action::CreateDir { path: dir.path.clone(), mode: dir.mode }).collect()
}

fn programs(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    for program in &desired.programs {
        let found = observed.files.get(&program.path);
        if found.is_some_and(|f| f.digest == program.digest && f.mode & 0o111 == 0o111) {
            continue;
        }
        let (name, path) = (program.name.clone(), program.path.clone());
        actions.push(Action::InstallProgram { name, path, replaces: found.is_some() });
    }
    actions
}

fn files(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    for file in &desired.files {
        let found = observed.files.get(&file.path);
        if found.is_some_and(|f| f.digest == file.content.digest() && f.mode == file.mode) {
            continue;
        }
        let (path, content) = (file.path.clone(), file.content.clone());
        actions.push(Action::WriteFile { path, mode: file.mode, replaces: found.is_some(), content });
    }
    actions
}

fn client_certificate(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let Some(content) = desired.client_pem.clone().filter(|_| !observed.client_certificate) else {
        return Vec::new();
    };
    let target = kubelet::client_pem_path(&content.digest());
    let write = Action::WriteFile { path: target.clone(), mode: 0o600, replaces: false, content };
    vec![write, Action::Link { path: names::path::KUBELET_CLIENT_CERTIFICATE.to_owned(), target }]
}

fn kernel(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let modules = desired.modules.iter().filter(|name| !observed.modules.contains(*name));
    // A setting that the kernel does not have cannot be set; for limits, more than wanted is fine.
    let unset = desired
        .sysctls
        .iter()
        .filter(|s| observed.sysctls.get(&s.key).is_some_and(|now| !reaches(now, &s.value)));
    let modules = modules.map(|name| Action::LoadModule { name: name.clone() });
    modules.chain(unset.map(|sysctl| Action::SetSysctl { sysctl: sysctl.clone() })).collect()
}

fn reaches(now: &str, wanted: &str) -> bool {
    match (now.parse::<u64>(), wanted.parse::<u64>()) {
        (Ok(now), Ok(wanted)) => now >= wanted,
        _ => now == wanted,
    }
}

fn units(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let none = UnitState::default();
    let state = |unit: &Unit| observed.units.get(unit.name).unwrap_or(&none);
    let mut actions = Vec::new();
    for unit in &desired.units {
        let state = state(unit);
        if !state.enabled {
            actions.push(Action::EnableUnit { unit: unit.name.to_owned() });
        }
        if let Some(because) = restart(unit, state) {
            actions.push(Action::RestartUnit { unit: unit.name.to_owned(), because });
            let kubelet = unit.name == "kubelet.service";
            actions.push(if kubelet { Action::AwaitKubelet } else { Action::AwaitRuntime });
        }
    }
    if !actions.is_empty() {
        actions.insert(0, Action::ReloadUnits);
    }
    actions
}

fn restart(unit: &Unit, state: &UnitState) -> Option<Because> {
    match &state.running_inputs {
        Some(inputs) if *inputs == unit.inputs => None,
        Some(_) => Some(Because::InputsChanged),
        None if state.active => Some(Because::InputsChanged),
        None => Some(Because::NotRunning),
    }
}
