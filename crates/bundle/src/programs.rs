//! The programs folder that a bundle is made from: static executables and `versions.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use licences::Licences;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{BundleError, Result, elf};

const VERSIONS: &str = "versions.json";

/// The name of our own program, which is not in the folder.
pub(crate) const KUBESTRAP: &str = "kubestrap";

/// `versions.json`: what the folder's builder says of it. Other keys are the builder's own.
#[derive(Debug, Deserialize)]
struct Versions {
    kubernetes: String,
    programs: BTreeMap<String, String>,
    #[serde(default)]
    images: BTreeMap<String, String>,
    /// Where each program came from.
    #[serde(default)]
    origins: BTreeMap<String, String>,
}

/// A programs folder that has all that was asked for.
#[derive(Debug)]
pub(crate) struct Programs {
    dir: PathBuf,
    kubestrap: PathBuf,
    versions: Versions,
    licences: Licences,
}

impl Programs {
    /// Reads a folder and checks that every one of `needed` is there, with its version and the
    /// licences of what it is made of, and can run alone in an image. `kubestrap` is the path of our own program.
    ///
    /// # Errors
    /// [`BundleError::MissingPrograms`] with everything that is missing, or
    /// [`BundleError::Unfit`] for the first program that cannot run.
    pub(crate) fn open(dir: &Path, kubestrap: &Path, needed: &[&str]) -> Result<Self> {
        let versions: Versions = read(&dir.join(VERSIONS))?;
        let listed = dir.join(licences::FILE);
        if !listed.is_file() {
            let names = vec![licences::FILE.to_owned()];
            return Err(BundleError::MissingPrograms { dir: dir.to_owned(), names });
        }
        let licences = read_licences(&listed)?.only_of(needed);
        let programs = Self { dir: dir.to_owned(), kubestrap: kubestrap.to_owned(), versions, licences };
        let mut names = Vec::new();
        for name in needed.iter().filter(|name| **name != KUBESTRAP) {
            if !programs.path(name).is_file() {
                names.push((*name).to_owned());
            }
            if !programs.versions.programs.contains_key(*name) {
                names.push(format!("{name} in {VERSIONS}"));
            }
            if !programs.licences.tell_of(name) {
                names.push(format!("{name} in {}", licences::FILE));
            }
        }
        if !names.is_empty() {
            return Err(BundleError::MissingPrograms { dir: dir.to_owned(), names });
        }
        needed.iter().try_for_each(|name| elf::require_static(&programs.path(name)))?;
        Ok(programs)
    }

    /// The Kubernetes release, with its `v`.
    pub(crate) fn kubernetes(&self) -> &str {
        &self.versions.kubernetes
    }

    /// Those of what the needed programs are made of.
    pub(crate) fn licences(&self) -> &Licences {
        &self.licences
    }

    /// Where a program lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name == KUBESTRAP { self.kubestrap.clone() } else { self.dir.join(name) }
    }

    /// A program's version, with its `v`.
    pub(crate) fn version(&self, name: &str) -> &str {
        // Our own: all of our crates share one version.
        let ours = concat!("v", env!("CARGO_PKG_VERSION"));
        if name == KUBESTRAP { ours } else { self.versions.programs.get(name).map_or("", String::as_str) }
    }

    /// The program that lies there.
    pub(crate) fn name_of<'a>(&self, path: &'a Path) -> Option<&'a str> {
        if path == self.kubestrap {
            return Some(KUBESTRAP);
        }
        path.strip_prefix(&self.dir).ok()?.to_str()
    }

    /// Where a program came from, as the folder's builder says. Our own is the one that was given.
    pub(crate) fn origin(&self, name: &str) -> Option<&str> {
        self.versions.origins.get(name).map(String::as_str)
    }

    /// An image's tag: what the folder says, or else the version of its main program.
    pub(crate) fn tag(&self, image: &str, program: &str) -> &str {
        self.versions.images.get(image).map_or_else(|| self.version(program), String::as_str)
    }
}

/// A list that has all texts that it names.
///
/// # Errors
/// [`BundleError::Document`], or [`BundleError::Unfit`] for one that lacks some.
pub(crate) fn read_licences(path: &Path) -> Result<Licences> {
    let list: Licences = read(path)?;
    match list.lost() {
        None => Ok(list),
        Some(text) => {
            let reason = format!("it names a text {text} that it does not have");
            Err(BundleError::Unfit { path: path.to_owned(), reason })
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = host::fs::read(path)?;
    serde_json::from_slice(&text).map_err(|source| BundleError::Document { path: path.to_owned(), source })
}
