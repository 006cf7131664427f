//! What an install notes before it changes anything: from the same value that it is planned from. Pure.

use crate::compare;
use crate::desired::Desired;
use crate::observe::{Observed, UnitState};
use crate::record::{DirBefore, Placed, Record, SysctlBefore, UnitBefore};

/// What was noted before, and all that an install of `desired` would change now.
///
/// On a node that an earlier kubestrap made, which kept no record, everything counts as its own.
pub fn extended(desired: &Desired, observed: &Observed) -> Record {
    let nothing = Observed::default();
    let before = if observed.unrecorded { &nothing } else { observed };
    let mut record = observed.record.as_ref().map_or_else(Record::new, Clone::clone);
    files(&mut record, desired, before);
    if observed.unrecorded {
        adopted(&mut record, observed);
    }
    dirs(&mut record, desired, before);
    for setting in compare::unset(desired, before) {
        let now = before.sysctls.get(&setting.key).cloned().unwrap_or_default();
        let noted = SysctlBefore { before: now, set: setting.value.clone() };
        record.sysctls.entry(setting.key.clone()).or_insert(noted);
    }
    for unit in &desired.units {
        let UnitState { active, enabled, .. } = before.units.get(unit.name).cloned().unwrap_or_default();
        record.units.entry(unit.name.to_owned()).or_insert(UnitBefore { active, enabled });
    }
    let new = desired.interfaces.iter().filter(|name| !before.interfaces.contains(*name));
    record.interfaces.extend(new.cloned());
    record
}

fn files(record: &mut Record, desired: &Desired, before: &Observed) {
    for (path, digest, fine) in compare::placed(desired, before) {
        if let Some(placed) = record.files.get_mut(path) {
            placed.digests.insert(digest);
        } else if !fine {
            let kept = before.files.contains_key(path);
            record.files.insert(path.to_owned(), Placed { kept, digests: [digest].into() });
        }
        // Else the host's own is as ours would be, and stays the host's.
    }
    for path in &desired.rewritten {
        if let Some(placed) = record.files.get_mut(path) {
            placed.digests.clear();
        } else if !before.files.contains_key(path) {
            record.files.insert(path.clone(), Placed::default());
        }
    }
}

fn adopted(record: &mut Record, observed: &Observed) {
    for (path, placed) in record.files.iter_mut().filter(|(_, placed)| !placed.digests.is_empty()) {
        placed.digests.extend(observed.files.get(path).map(|found| found.digest.clone()));
    }
}

fn dirs(record: &mut Record, desired: &Desired, before: &Observed) {
    for dir in compare::wrong_dirs(desired, before) {
        let noted = DirBefore { before: before.files.get(&dir.path).map(|f| f.mode), set: dir.mode };
        record.dirs.entry(dir.path.clone()).or_insert(noted);
    }
    for path in &desired.trees {
        record.trees.entry(path.clone()).or_insert_with(|| before.trees.get(path).cloned());
    }
}
