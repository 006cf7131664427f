//! Which source is tested, by its content: what has passed for it need not be run again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use host::command::Command;

use crate::build;
use crate::components::{self, key};

/// What the cases depend on: everything but pages.
const MATTERS: [&str; 8] =
    ["crates", "xtask", "e2e", "components", ".cargo", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// How many states of the source are remembered.
const REMEMBERED: usize = 20;

/// A state of the source.
pub(super) struct Source {
    key: String,
}

impl Source {
    /// The checkout as it is now, committed or not.
    pub(super) fn here() -> Result<Self> {
        let files = Command::new("git")
            .current_dir(build::root())
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"])
            .args(MATTERS);
        let files = files.run().context("the source's files")?.stdout;
        let mut names: Vec<_> = files.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        let mut parts = Vec::new();
        for name in names {
            let path = build::root().join(String::from_utf8_lossy(name).as_ref());
            // One that is listed and not there was deleted, and not committed yet.
            if let Ok(content) = std::fs::read(&path) {
                parts.extend([name.to_vec(), content]);
            }
        }
        Ok(Self { key: key(parts.iter().map(Vec::as_slice)) })
    }

    /// What has passed for it so far.
    pub(super) fn passed(&self, forget: bool) -> Result<Passed> {
        let dir = components::cache_root()?.join("passed");
        host::fs::create_dir_all(&dir, 0o755)?;
        let file = dir.join(&self.key);
        if forget {
            host::fs::remove_file(&file)?;
        }
        forget_the_oldest(&dir)?;
        let names = std::fs::read_to_string(&file).unwrap_or_default();
        Ok(Passed { file, names: names.lines().map(str::to_owned).collect() })
    }
}

/// The names of cases, a line each, in a file.
pub(super) struct Passed {
    file: PathBuf,
    names: Vec<String>,
}

impl Passed {
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|passed| passed == name)
    }
}

fn forget_the_oldest(dir: &Path) -> Result<()> {
    let changed = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut files = host::fs::list(dir)?;
    files.sort_by_key(|path| std::cmp::Reverse(changed(path)));
    for file in files.iter().skip(REMEMBERED) {
        host::fs::remove_file(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_source_has_the_same_key() {
        assert_eq!(Source::here().unwrap().key, Source::here().unwrap().key);
    }

    #[test]
    fn only_the_newest_states_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..REMEMBERED + 3 {
            host::fs::write(&dir.path().join(number.to_string()), b"", 0o644).unwrap();
        }
        forget_the_oldest(dir.path()).unwrap();
        assert_eq!(host::fs::list(dir.path()).unwrap().len(), REMEMBERED);
    }
}
