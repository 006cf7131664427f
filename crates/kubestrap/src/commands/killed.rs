//! What tests of a verb on fakes share that kill it: when, how that is told from a failure, and what is left.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;

use fakes::killed::Killed;
pub(super) use fakes::killed::ended;
use fakes::machine::Machine;

/// When a run is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill<S> {
    Never,
    /// Just before this step.
    Before(S),
    /// When it runs a program for the time of that number, from 0: the program has not run, or it has.
    AtProgram(usize, bool),
}

impl<S: Copy + PartialEq> Kill<S> {
    /// Has the machine's programs kill whoever runs them, where that is meant.
    pub(super) fn arm(self, machine: &Machine) {
        machine.kill_at(match self {
            Self::AtProgram(number, after) => Some((number, after)),
            Self::Never | Self::Before(_) => None,
        });
    }

    /// A step begins.
    pub(super) fn begins(self, step: S) {
        if self == Self::Before(step) {
            resume_unwind(Box::new(Killed));
        }
    }
}

/// A directory that goes with the test. All that is written is synced: a disk would take its time.
pub(super) fn dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Every file below a directory with its content, by its path below `top`.
pub(super) fn files(dir: &Path, top: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(dir, top, &mut files);
    files
}

fn collect(dir: &Path, top: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for path in host::fs::list(dir).unwrap_or_default() {
        if path.is_dir() && !path.is_symlink() {
            collect(&path, top, files);
        } else {
            let name = format!("/{}", path.strip_prefix(top).unwrap().display());
            files.insert(name, host::fs::read(&path).unwrap_or_default());
        }
    }
}
