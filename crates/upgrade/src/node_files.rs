//! This node's files: which ones an install changes, and how they come back.

use host::place::HostFile;
use node::Root;
use node::plan::{Action, Plan};
use node::units::Units;

use crate::before::{Before, StateDir};
use crate::error::UpgradeError;
use crate::target::Target;

/// The units in the order in which they are restarted.
const UNITS: [&str; 2] = ["containerd.service", names::path::KUBELET_UNIT];

/// The files that an install writes or replaces.
pub(crate) fn touched(plan: &Plan) -> Vec<String> {
    let path = |action: &Action| match action {
        Action::InstallProgram { path, .. } | Action::WriteFile { path, .. } => Some(path.clone()),
        _ => None,
    };
    plan.actions.iter().filter_map(path).collect()
}

/// The control plane's files that are not as the target has them, where they lie for us.
pub(crate) fn changed(target: &Target) -> Vec<HostFile> {
    let mut files = target.tree.node_files();
    for file in &mut files {
        file.path = target.root.path(&file.path);
    }
    files.retain(|file| !file.has_content());
    files
}

/// Puts the files back and restarts the units among them. Says whether there was anything to put back.
pub(crate) fn put_back(state: &StateDir, root: &Root, before: &Before) -> Result<bool, UpgradeError> {
    for saved in &before.files {
        state.restore_file(saved)?;
    }
    let is_saved = |unit: &&&str| {
        let file = root.path(names::path::UNITS).join(unit);
        before.files.iter().any(|saved| saved.path == file)
    };
    let restart: Vec<&str> = UNITS.iter().filter(is_saved).copied().collect();
    if !restart.is_empty() {
        let units = Units::of(root);
        let failed = |unit: &str| {
            let unit = unit.to_owned();
            move |source| UpgradeError::Unit { unit, source }
        };
        units.daemon_reload().map_err(failed("the units"))?;
        for unit in restart {
            units.restart(unit).map_err(failed(unit))?;
        }
    }
    Ok(!before.files.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_files_are_saved_and_units_are_not() {
        let program =
            Action::InstallProgram { name: "kubelet".into(), path: "/b/kubelet".into(), replaces: true };
        let plan = Plan { actions: vec![program, Action::ReloadUnits, Action::AwaitKubelet] };
        assert_eq!(touched(&plan), ["/b/kubelet"]);
    }

    #[test]
    fn every_saved_file_is_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let (state, root) = (StateDir::new(dir.path().join("upgrade")), Root::below(dir.path()));
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut before = Before::new("v1.36.3".parse().unwrap(), "v1.37.2".parse().unwrap(), now);
        assert!(!put_back(&state, &root, &before).unwrap());
        let files = ["a", "b", "c"].map(|name| dir.path().join(name));
        for file in &files {
            host::fs::write(file, b"old", 0o644).unwrap();
            state.save_file(&mut before, file).unwrap();
            host::fs::write(file, b"new", 0o644).unwrap();
        }
        assert!(put_back(&state, &root, &before).unwrap());
        for file in &files {
            assert_eq!(host::fs::read(file).unwrap(), b"old");
        }
    }
}
