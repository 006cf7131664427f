//! The cases that have passed for one state of the source: a run that was stopped goes on with the others.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The names of cases that have passed, a line each, in a file that is named after the source's content.
#[derive(Debug)]
pub(super) struct Passed {
    file: Option<PathBuf>,
    names: BTreeSet<String>,
}

impl Passed {
    /// Those in a file, which need not exist; without one each case is run.
    pub(super) fn read(file: Option<PathBuf>) -> Result<Self> {
        let text = file.as_deref().map(read_if_there).transpose()?.flatten().unwrap_or_default();
        Ok(Self { file, names: text.lines().map(str::to_owned).collect() })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn add(&mut self, name: &str) -> Result<()> {
        self.names.insert(name.to_owned());
        if let Some(file) = &self.file {
            let lines = self.names.iter().fold(String::new(), |lines, name| lines + name + "\n");
            host::fs::write(file, lines.as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

/// The text of a file that may be missing.
fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
