//! The folder of a case: all that it printed, and what its nodes knew when it failed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::background::lock;

/// What a case printed, itself and all that it started.
const OUTPUT: &str = "output.log";

/// The folder of the case that runs.
static CURRENT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A case's folder.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Where a case's folder is, whether or not it is there.
    pub(super) fn of(root: &Path, name: &str) -> Self {
        Self(root.join(name))
    }

    /// An empty one.
    pub(super) fn create(root: &Path, name: &str) -> Result<Self> {
        let folder = Self::of(root, name);
        host::fs::remove_dir_all(&folder.0)?;
        host::fs::create_dir_all(&folder.0, 0o755)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Its path, and what is in it.
    pub(super) fn described(&self) -> String {
        let mut names: Vec<_> = host::fs::list(&self.0).unwrap_or_default();
        names.sort();
        let names: Vec<_> =
            names.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        format!("{}: {}", self.0.display(), names.join(", "))
    }
}

/// Keeps something in the folder of the case that runs: a load's record, for instance. Each name has a number, so that none
/// takes another one's place. Without a case nothing is kept.
///
/// # Errors
/// When it cannot be written.
pub fn keep(name: &str, content: &[u8]) -> Result<()> {
    let Some(folder) = lock(&CURRENT).clone() else { return Ok(()) };
    let mut number = 1;
    while folder.join(format!("{number}-{name}")).exists() {
        number += 1;
    }
    Ok(host::fs::write(&folder.join(format!("{number}-{name}")), content, 0o644)?)
}

/// The terminal that the runner was started on: cases do not write to it.
pub(super) struct Terminal(File);

impl Terminal {
    /// Keeps a way to it.
    pub(super) fn keep() -> Result<Self> {
        Ok(Self(File::from(rustix::io::dup(rustix::stdio::stderr())?)))
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        let _ = writeln!(&self.0, "{line}");
    }

    /// Until what is returned goes, everything that is printed is in the folder.
    pub(super) fn capture<'a>(&'a self, folder: &Folder) -> Result<Captured<'a>> {
        let path = folder.0.join(OUTPUT);
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let stdout = File::from(rustix::io::dup(rustix::stdio::stdout())?);
        rustix::stdio::dup2_stdout(&file)?;
        rustix::stdio::dup2_stderr(&file)?;
        *lock(&CURRENT) = Some(folder.0.clone());
        Ok(Captured { terminal: self, stdout })
    }
}

/// See [`Terminal::capture`].
pub(super) struct Captured<'a> {
    terminal: &'a Terminal,
    stdout: File,
}

impl Drop for Captured<'_> {
    fn drop(&mut self) {
        *lock(&CURRENT) = None;
        let _ = std::io::stdout().flush();
        let _ = rustix::stdio::dup2_stdout(&self.stdout);
        let _ = rustix::stdio::dup2_stderr(&self.terminal.0);
    }
}
