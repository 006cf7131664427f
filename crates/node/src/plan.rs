//! The difference between a node as it shall be and as it is, as a list of actions. Pure.
//!
//! The order is such that an install killed after any action goes on from there: programs and
//! files come before the units that use them, and a unit is restarted whenever its running
//! process was started with something else than what is on disk.

mod uninstall;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::content::Content;
use crate::desired::{Desired, Dir, File, Program};
use crate::kernel::Sysctl;
use crate::observe::{Found, Observed, SetAside, UnitState};
use crate::record::{self, Record};
use crate::units::Unit;
use crate::{compare, containerd, kubelet_certificate, note};

pub(crate) use uninstall::is_below;
pub use uninstall::{Remains, Runtime, Stay, Undo, Uninstall, uninstall};

/// One step of an install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    /// Note what will be changed and how it was, for an uninstall.
    Note {
        /// The path of the record.
        path: String,
        /// What it will hold.
        #[serde(skip)]
        record: Box<Record>,
    },
    /// Move a file of the host's aside, from where one of ours will lie.
    Keep {
        /// Its path.
        path: String,
        /// Where it waits for an uninstall.
        kept: String,
    },
    /// Remove a temporary file that a killed install left, or a damaged one that keeps the kubelet from starting.
    RemoveFile {
        /// Its path.
        path: String,
    },
    /// Create a directory, or set its mode.
    CreateDir {
        /// Its path.
        path: String,
        /// Its mode, in octal digits.
        #[serde(serialize_with = "crate::content::octal")]
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
        #[serde(serialize_with = "crate::content::octal")]
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
    /// Stop a unit.
    StopUnit {
        /// The unit.
        unit: String,
    },
    /// End what runs in containers: nobody could any more who has lost their names.
    EndContainers,
    /// Move away what containerd keeps and cannot use, or a file of ours that somebody replaced by one of theirs.
    SetAside {
        /// The directory or file.
        path: String,
        /// Where it goes.
        to: String,
        /// Why.
        why: String,
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
    /// It is the kubelet, and may have been started with a token that is good no more.
    Token,
}

impl Action {
    fn starts_kubelet(&self) -> bool {
        matches!(self, Self::RestartUnit { unit, .. } if unit == names::path::KUBELET_UNIT)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |replaces: &bool, new, old| if *replaces { old } else { new };
        match self {
            Self::Note { path, .. } => write!(f, "note in {path} what was here before"),
            Self::Keep { path, kept } => write!(f, "keep {path} as {kept}"),
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
            Self::StopUnit { unit } => write!(f, "stop {unit}"),
            Self::EndContainers => f.write_str("end what runs in containers"),
            Self::SetAside { path, to, why } => write!(f, "move {path} to {to}: {why}"),
            Self::RestartUnit { unit, because: Because::Token } => {
                write!(f, "restart {unit}: it asks for its certificate with the token that was given")
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

    /// What is done before the kubelet is started, and from there on; the second is empty when it is not.
    pub fn around_kubelet(&self) -> (Self, Self) {
        let at = self.actions.iter().position(Action::starts_kubelet).unwrap_or(self.actions.len());
        let (before, after) = self.actions.split_at(at);
        (Self { actions: before.to_vec() }, Self { actions: after.to_vec() })
    }

    /// Whether the kubelet is started, or started again.
    pub fn starts_kubelet(&self) -> bool {
        self.actions.iter().any(Action::starts_kubelet)
    }

    /// What is moved away, each with where to and why.
    pub fn set_aside(&self) -> impl Iterator<Item = String> {
        let told = |action: &Action| match action {
            Action::SetAside { path, to, why } => Some(format!("{why}; {path} was moved to {to}")),
            _ => None,
        };
        self.actions.iter().filter_map(told)
    }
}

/// What leads from `observed` to `desired`.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let record = note::extended(desired, observed);
    let kept = keep(desired, observed, &record);
    let mut actions = Vec::new();
    if observed.record.as_ref() != Some(&record) {
        // First of all: what is changed before it is noted cannot be told from what was there.
        actions.push(Action::Note { path: names::path::INSTALLED.to_owned(), record: Box::new(record) });
    }
    actions.extend(observed.leftovers.iter().map(|path| Action::RemoveFile { path: path.clone() }));
    let damaged = observed.damaged.iter().map(|name| format!("{}/{name}", names::path::KUBELET));
    actions.extend(damaged.map(|path| Action::RemoveFile { path }));
    actions.extend(dirs(desired, observed));
    actions.extend(kept);
    actions.extend(replaced(desired, observed));
    actions.extend(programs(desired, observed));
    actions.extend(files(desired, observed));
    actions.extend(client_certificate(desired, observed));
    actions.extend(kernel(desired, observed));
    actions.extend(units(desired, observed));
    Plan { actions }
}

fn dirs(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let create = |dir: &Dir| Action::CreateDir { path: dir.path.clone(), mode: dir.mode };
    compare::wrong_dirs(desired, observed).map(create).collect()
}

/// Files of the host's that have to make room. One that is noted as kept and does not wait was to be moved by an install
/// that was killed, or was put back by an uninstall; unless it is what an install before this one wrote, and the other one
/// was deleted meanwhile. (An install would have given one with the wanted content the wanted mode.)
fn keep(desired: &Desired, observed: &Observed, record: &Record) -> Vec<Action> {
    let was_placed = |path: &str, digest: &str, found: &Found| {
        let placed = observed.record.as_ref().and_then(|record| record.files.get(path));
        placed.is_some_and(|placed| {
            found.marked || found.digest != digest && placed.digests.contains(&found.digest)
        })
    };
    let mut actions = Vec::new();
    for (path, digest, _) in compare::placed(desired, observed).filter(|(.., fine)| !fine) {
        let is_theirs = record.files.get(path).is_some_and(|placed| placed.kept)
            && !observed.kept.contains(path)
            && observed.files.get(path).is_some_and(|found| !was_placed(path, &digest, found));
        if is_theirs {
            actions.push(Action::Keep { path: path.to_owned(), kept: record::kept(path) });
        }
    }
    actions
}

/// Files of ours in whose place somebody put one that does not even say that it was ours. What was changed below those
/// words is lost, as they say.
fn replaced(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let Some(record) = &observed.record else { return Vec::new() };
    let aside = |file: &File| {
        let ours = file.content.as_bytes().starts_with(containerd::OURS.as_bytes());
        let found = observed.files.get(&file.path).filter(|found| ours && !found.marked)?;
        let placed = record.files.get(&file.path)?;
        let is_theirs_of_before = placed.kept && !observed.kept.contains(&file.path);
        // By what is in it: the same one twice is kept once.
        let to = format!("{}.replaced-{}", file.path, found.digest.get(..8)?);
        let why = format!("{} is not what kubestrap wrote there", file.path);
        (!is_theirs_of_before && !placed.digests.contains(&found.digest)).then(|| Action::SetAside {
            path: file.path.clone(),
            to,
            why,
        })
    };
    desired.files.iter().filter_map(aside).collect()
}

fn programs(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let fine: BTreeSet<&str> = fine(desired, observed);
    let wrong = desired.programs.iter().filter(|program| !fine.contains(program.path.as_str()));
    let install = |program: &Program| {
        let replaces = observed.files.contains_key(&program.path);
        Action::InstallProgram { name: program.name.clone(), path: program.path.clone(), replaces }
    };
    wrong.map(install).collect()
}

fn files(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let fine: BTreeSet<&str> = fine(desired, observed);
    let wrong = desired.files.iter().filter(|file| !fine.contains(file.path.as_str()));
    let write = |file: &File| {
        let (path, content) = (file.path.clone(), file.content.clone());
        let replaces = observed.files.contains_key(&path);
        Action::WriteFile { path, mode: file.mode, replaces, content }
    };
    wrong.map(write).collect()
}

/// The files and programs that are as they shall be.
fn fine<'a>(desired: &'a Desired, observed: &'a Observed) -> BTreeSet<&'a str> {
    compare::placed(desired, observed).filter(|(.., fine)| *fine).map(|(path, ..)| path).collect()
}

fn client_certificate(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let Some(content) = desired.client_pem.clone().filter(|_| !observed.client_certificate) else {
        return Vec::new();
    };
    let target = kubelet_certificate::file(kubelet_certificate::CLIENT, &content.digest());
    let write = Action::WriteFile { path: target.clone(), mode: 0o600, replaces: false, content };
    vec![write, Action::Link { path: names::path::KUBELET_CLIENT_CERTIFICATE.to_owned(), target }]
}

fn kernel(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let modules = desired.modules.iter().filter(|name| !observed.modules.contains(*name));
    let modules = modules.map(|name| Action::LoadModule { name: name.clone() });
    let set = |sysctl: &Sysctl| Action::SetSysctl { sysctl: sysctl.clone() };
    modules.chain(compare::unset(desired, observed).map(set)).collect()
}

fn units(desired: &Desired, observed: &Observed) -> Vec<Action> {
    let none = UnitState::default();
    let state = |unit: &Unit| observed.units.get(unit.name).unwrap_or(&none);
    let wrong: BTreeSet<&str> =
        compare::placed(desired, observed).filter(|(.., fine)| !fine).map(|(path, ..)| path).collect();
    let other_certificate = desired.client_pem.is_some() && !observed.client_certificate;
    let mut actions = Vec::new();
    for unit in &desired.units {
        let found = state(unit);
        let state = if observed.store.is_some() { &none } else { found };
        if !found.enabled {
            actions.push(Action::EnableUnit { unit: unit.name.to_owned() });
        }
        let kubelet = unit.name == names::path::KUBELET_UNIT;
        let reads_another =
            kubelet && other_certificate || unit.reads.iter().any(|file| wrong.contains(file.as_str()));
        // With which token it runs cannot be seen.
        let token = (kubelet && desired.asks && state.running_inputs.is_some()).then_some(Because::Token);
        if let Some(because) = restart(unit, state, reads_another).or(token) {
            actions.push(Action::RestartUnit { unit: unit.name.to_owned(), because });
            actions.push(if kubelet { Action::AwaitKubelet } else { Action::AwaitRuntime });
        }
    }
    if !actions.is_empty() {
        actions.insert(0, Action::ReloadUnits);
    }
    set_aside(observed).into_iter().chain(actions).collect()
}

/// Nothing runs from what is moved. Its units are started again afterwards, like those that do not run.
fn set_aside(observed: &Observed) -> Vec<Action> {
    let Some(SetAside { why, to }) = observed.store.clone() else { return Vec::new() };
    let stop = |unit: &str| Action::StopUnit { unit: unit.to_owned() };
    let path = names::path::CONTAINERD_ROOT.to_owned();
    vec![
        stop(names::path::KUBELET_UNIT),
        stop(containerd::UNIT),
        Action::EndContainers,
        Action::SetAside { path, to, why },
    ]
}

/// `reads_another` says that a file that it reads will be another one.
fn restart(unit: &Unit, state: &UnitState, reads_another: bool) -> Option<Because> {
    match &state.running_inputs {
        Some(inputs) if *inputs == unit.inputs && state.newer.is_none() && !reads_another => None,
        Some(_) => Some(Because::InputsChanged),
        None if state.active => Some(Because::InputsChanged),
        None => Some(Because::NotRunning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node shall be that joins.
    fn wanted() -> Desired {
        let facts = crate::Facts::example("a");
        let cluster = cluster::ClusterConfig::default();
        let token = crate::NodeCredentials::Bootstrap("users: []\n".to_owned());
        let node =
            crate::NodeConfig::new(&cluster, "a", facts.addresses.preferred.clone(), "ca", token, "pause");
        crate::desired::desired(&facts, &node, &[]).unwrap()
    }

    #[test]
    fn what_containerd_cannot_use_is_moved_away_and_the_kubelet_waits_for_the_images() {
        let desired = wanted();
        let running = |unit: &Unit| {
            let inputs = Some(unit.inputs.clone());
            (
                unit.name.to_owned(),
                UnitState { running_inputs: inputs, newer: None, active: true, enabled: true },
            )
        };
        let store = Some(SetAside { why: "meta.db: it is gone".to_owned(), to: "/aside".to_owned() });
        let units = desired.units.iter().map(running).collect();
        let plan = plan(&desired, &Observed { store, units, ..Observed::default() });
        assert_eq!(
            plan.set_aside().collect::<Vec<_>>(),
            ["meta.db: it is gone; /var/lib/containerd was moved to /aside"]
        );
        let (before, after) = plan.around_kubelet();
        let last = |plan: &Plan, count: usize| {
            let actions = &plan.actions[plan.actions.len() - count..];
            actions.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            last(&before, 7),
            [
                "stop kubelet.service",
                "stop containerd.service",
                "end what runs in containers",
                "move /var/lib/containerd to /aside: meta.db: it is gone",
                "reload unit files",
                "start containerd.service",
                "wait for containerd",
            ]
        );
        assert_eq!(last(&after, after.actions.len()), ["start kubelet.service", "wait for the kubelet"]);
        let none = Plan::default();
        assert_eq!(none.around_kubelet(), (none.clone(), none.clone()));
    }

    #[test]
    fn a_damaged_file_of_the_kubelet_s_goes_before_the_kubelet_is_started() {
        let desired = wanted();
        let observed = Observed { damaged: vec!["cpu_manager_state".to_owned()], ..Observed::default() };
        let lines: Vec<String> = plan(&desired, &observed).actions.iter().map(ToString::to_string).collect();
        let at = |line: &str| lines.iter().position(|l| l == line).unwrap();
        assert!(at("remove /var/lib/kubelet/cpu_manager_state") < at("start kubelet.service"));
    }
}
