//! The asset directory as a value: paths, contents, modes. Written in two phases, so that neither a
//! full disk nor a kill in the middle costs a file that was there before.
//!
//! ```text
//! tree ──► <dir>/.rendering/… (all of it, synced)  ──rename each──► <dir>/…
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use host::fs::{FsError, NewFile};
use serde::Serialize;
use similar::TextDiff;

/// The resolved configuration in an asset directory: the sign that `render` made it.
pub const CONFIG_FILE: &str = "kubestrap.yaml";
/// Where a render writes before it puts files in their places.
const STAGING: &str = ".rendering";
/// What names of private keys end with.
pub(crate) const KEY_SUFFIX: &str = ".key";
/// Mode of files that hold private keys or tokens.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of all other files.
pub(crate) const PUBLIC: u32 = 0o644;
/// Mode of directories: the asset directory is the cluster's root of trust.
const DIRECTORY: u32 = 0o700;

/// One file of an asset directory.
#[derive(Clone, PartialEq, Eq)]
pub struct AssetFile {
    /// What it says.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

impl AssetFile {
    /// Whether only its owner may read it: it holds a key or a token.
    pub fn is_private(&self) -> bool {
        self.mode.trailing_zeros() >= 6
    }
}

impl fmt::Debug for AssetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetFile({} bytes, {:o})", self.content.len(), self.mode)
    }
}

/// The files of an asset directory by their path in it (`tls/ca.crt`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssetTree {
    files: BTreeMap<String, AssetFile>,
}

/// An asset directory that could not be read, compared or written.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It holds files and none that says that kubestrap made it.
    #[error("{} is not empty and was not made by kubestrap (it has no {CONFIG_FILE})", dir.display())]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system said no.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl AssetTree {
    /// Adds a file that anybody may read.
    pub(crate) fn public(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), AssetFile { content: content.into(), mode: PUBLIC });
    }

    /// Adds a file that holds a key or a token.
    pub(crate) fn private(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), AssetFile { content: content.into(), mode: PRIVATE });
    }

    /// Adds all files of another tree.
    pub(crate) fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
    }

    /// Adds a file as it is.
    pub(crate) fn insert(&mut self, path: &str, file: AssetFile) {
        self.files.insert(path.to_owned(), file);
    }

    /// A file by its path.
    pub fn get(&self, path: &str) -> Option<&AssetFile> {
        self.files.get(path)
    }

    /// A file's content as text; `None` when it is missing or not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(|file| std::str::from_utf8(&file.content).ok())
    }

    /// All files, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AssetFile)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads what an earlier render wrote; `None` when the directory is missing or empty.
    ///
    /// # Errors
    /// [`TreeError::NotOurs`] when it holds files of somebody else only.
    pub fn read(dir: &Path) -> Result<Option<Self>, TreeError> {
        let mut tree = Self::default();
        tree.read_into(dir, "")?;
        if tree.get(CONFIG_FILE).is_some() {
            return Ok(Some(tree));
        }
        if tree.is_empty() { Ok(None) } else { Err(TreeError::NotOurs { dir: dir.to_owned() }) }
    }

    fn read_into(&mut self, dir: &Path, prefix: &str) -> Result<(), FsError> {
        for path in host::fs::list(dir)? {
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let inner = format!("{prefix}{name}");
            if path.is_dir() {
                self.read_into(&path, &format!("{inner}/"))?;
            } else {
                self.files.insert(inner, AssetFile { content: host::fs::read(&path)?, mode: mode_of(&path) });
            }
        }
        Ok(())
    }

    /// Writes the tree, as far as it differs. Files that it does not have stay, but for those that an
    /// earlier render with another config made.
    ///
    /// # Errors
    /// [`TreeError`]; what was there before is intact then: nothing is replaced before everything
    /// is on the disk.
    pub fn write(&self, dir: &Path) -> Result<(), TreeError> {
        let old = Self::read(dir)?.unwrap_or_default();
        host::fs::create_dir_all(dir, DIRECTORY)?;
        let staging = dir.join(STAGING);
        host::fs::remove_dir_all(&staging)?;
        let result = self.stage(&staging, &old).and_then(|staged| self.put_in_place(dir, &staged, &old));
        let cleaned = host::fs::remove_dir_all(&staging);
        result?;
        Ok(cleaned?)
    }

    /// Writes what differs; returns where each file lies, and its path in the tree.
    fn stage(&self, staging: &Path, old: &Self) -> Result<Vec<(PathBuf, String)>, FsError> {
        let differing = self.files.iter().filter(|(path, file)| old.files.get(*path) != Some(file));
        let staged: Vec<(PathBuf, &String, &AssetFile)> =
            differing.map(|(path, file)| (staging.join(path), path, file)).collect();
        for (path, ..) in &staged {
            host::fs::create_dir_all(path.parent().unwrap_or(staging), DIRECTORY)?;
        }
        let files: Vec<NewFile<'_>> = staged
            .iter()
            .map(|(path, _, file)| NewFile { path, content: &file.content, mode: file.mode, owner: None })
            .collect();
        host::fs::write_new(&files)?;
        Ok(staged.into_iter().map(|(from, path, _)| (from, path.clone())).collect())
    }

    fn put_in_place(&self, dir: &Path, staged: &[(PathBuf, String)], old: &Self) -> Result<(), FsError> {
        let target = |path: &str| dir.join(path);
        for (_, path) in staged {
            host::fs::create_dir_all(target(path).parent().unwrap_or(dir), DIRECTORY)?;
        }
        // First of all the file that makes the directory ours: after a kill the same command goes on.
        // Then keys before their certificates: an authority's certificate without a key is an error.
        let mut staged: Vec<&(PathBuf, String)> = staged.iter().collect();
        staged.sort_by_key(|(_, path)| (path != CONFIG_FILE, !path.ends_with(KEY_SUFFIX)));
        let pairs: Vec<_> = staged.iter().map(|(from, path)| (from.clone(), target(path))).collect();
        let (config, rest) =
            pairs.split_at(pairs.iter().filter(|(_, to)| *to == target(CONFIG_FILE)).count());
        host::fs::rename_all(config)?;
        host::fs::rename_all(rest)?;
        for path in old.files.keys().filter(|path| self.is_stale(path)) {
            host::fs::remove_file(&target(path))?;
        }
        Ok(())
    }

    /// Whether a file that we could have made is none of this tree's.
    fn is_stale(&self, path: &str) -> bool {
        crate::paths::OPTIONAL.contains(&path) && !self.files.contains_key(path)
    }

    /// What [`write`](Self::write) would change.
    ///
    /// # Errors
    /// [`TreeError`] when the directory is not ours or cannot be read.
    pub fn diff(&self, dir: &Path) -> Result<Vec<Change>, TreeError> {
        let old = Self::read(dir)?.unwrap_or_default();
        let changed = self.files.iter().filter(|(path, file)| old.files.get(*path) != Some(file));
        let mut changes: Vec<Change> =
            changed.map(|(path, new)| Change::of(path, old.files.get(path), Some(new))).collect();
        let stale = old.files.iter().filter(|(path, _)| self.is_stale(path));
        changes.extend(stale.map(|(path, file)| Change::of(path, Some(file), None)));
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).map_or(0, |m| m.permissions().mode() & 0o7777)
}

/// What a render would do to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// It gets another content or mode.
    Change,
    /// It goes.
    Remove,
}

/// One file that a render would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The file's path in the asset directory.
    pub path: String,
    /// What happens to it.
    pub kind: ChangeKind,
    /// The change as a unified diff; `None` for files that hold keys or tokens.
    pub diff: Option<String>,
}

impl Change {
    fn of(path: &str, old: Option<&AssetFile>, new: Option<&AssetFile>) -> Self {
        let kind = match (old, new) {
            (None, _) => ChangeKind::Add,
            (_, None) => ChangeKind::Remove,
            _ => ChangeKind::Change,
        };
        let secret = old.into_iter().chain(new).any(AssetFile::is_private);
        let text = |file: Option<&AssetFile>| {
            file.map_or_else(String::new, |f| String::from_utf8_lossy(&f.content).into_owned())
        };
        let diff = (!secret).then(|| {
            let (old, new) = (text(old), text(new));
            TextDiff::from_lines(&old, &new).unified_diff().context_radius(3).header(path, path).to_string()
        });
        Self { path: path.to_owned(), kind, diff }
    }
}
