//! What of a node is not as it shall be: the parts of the difference that a plan and a record are both made of. Pure.

use crate::desired::{Desired, Dir};
use crate::kernel::Sysctl;
use crate::observe::{Found, Observed};

/// Every file and program: its path, its digest, and whether it is there already as it shall be.
pub(crate) fn placed<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a str, String, bool)> + 'a {
    let is = |path: &str, fine: &dyn Fn(&Found) -> bool| observed.files.get(path).is_some_and(fine);
    let programs = desired.programs.iter().map(move |program| {
        let fine = |f: &Found| f.digest == program.digest && f.mode & 0o111 == 0o111;
        (program.path.as_str(), program.digest.clone(), is(&program.path, &fine))
    });
    let files = desired.files.iter().map(move |file| {
        let digest = file.content.digest();
        let fine = is(&file.path, &|f: &Found| f.digest == digest && f.mode == file.mode);
        (file.path.as_str(), digest, fine)
    });
    programs.chain(files)
}

/// Directories that are missing, and those that others may look into and should not. Else the mode
/// of an existing one is its administrator's choice.
pub(crate) fn wrong_dirs<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a Dir> + 'a {
    const OTHERS: u32 = 0o007;
    let fine = |dir: &Dir| {
        observed.files.get(&dir.path).is_some_and(|found| dir.mode & OTHERS != 0 || found.mode & OTHERS == 0)
    };
    desired.dirs.iter().filter(move |dir| !fine(dir))
}

/// Settings that have another value. One that the kernel does not have cannot be set; for limits, more than wanted is
/// fine.
pub(crate) fn unset<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
) -> impl Iterator<Item = &'a Sysctl> + 'a {
    let other = |s: &&Sysctl| observed.sysctls.get(&s.key).is_some_and(|now| !reaches(now, &s.value));
    desired.sysctls.iter().filter(other)
}

fn reaches(now: &str, wanted: &str) -> bool {
    match (now.parse::<u64>(), wanted.parse::<u64>()) {
        (Ok(now), Ok(wanted)) => now >= wanted,
        _ => now == wanted,
    }
}
