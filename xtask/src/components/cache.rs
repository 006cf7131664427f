//! The cache: where built programs lie, and how they appear there.
//!
//! ```text
//! <cache>/groups/<group>-<key>/<program>            one build or download each, by content key
//! <cache>/programs/<kubernetes>-<key>/<program>     hard links to those, versions.json, licences.json
//! <cache>/go/<version>/                             a fetched Go, where the machine's is too old
//! <cache>/roots/<release>-<key>/                    a Debian root file system for tests
//! <cache>/tmp/                                      what compilers need while they run
//! ```
//!
//! The folder itself is locked while one of these changes. Every name appears by a rename when its content is complete, so a run that was killed goes on
//! where it was, and the whole folder can be deleted at any time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
/// Held while the cache changes; other runs wait.
pub(crate) use host::lock::Lock;
use host::lock::Taken;
use licences::Licences;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// A folder that is still being filled; the next run removes it.
const UNFINISHED: &str = ".unfinished-";

/// The user's cache folder for this project: `$KUBESTRAP_CACHE`, or `kubestrap` in
/// `$XDG_CACHE_HOME`, or in `~/.cache`.
pub(crate) fn root() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    root_from(set("KUBESTRAP_CACHE"), set("XDG_CACHE_HOME"), set("HOME"))
        .context("neither KUBESTRAP_CACHE nor HOME is set: there is no place for the cache")
}

fn root_from(own: Option<PathBuf>, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    own.or_else(|| xdg.map(|d| d.join("kubestrap"))).or_else(|| home.map(|d| d.join(".cache/kubestrap")))
}

/// The SHA-256 of several parts, each with its length, so that no two lists of parts collide;
/// 16 hexadecimal digits of it.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut key = hex(&hash.finalize());
    key.truncate(16);
    key
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

/// `versions.json` of a programs folder.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Versions {
    /// The Kubernetes release, as in `v1.37.2`.
    pub(crate) kubernetes: String,
    /// The version of each program.
    pub(crate) programs: BTreeMap<String, String>,
    /// The tag of each image, by short image name.
    pub(crate) images: BTreeMap<String, String>,
    /// Where each program came from.
    pub(crate) origins: BTreeMap<String, String>,
}

impl Versions {
    fn json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

/// The cache at one place.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in a folder, which need not exist yet.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Waits until no other run changes the cache; `waiting` is called once if there is one.
    pub(crate) fn lock(&self, waiting: impl FnOnce()) -> Result<Lock> {
        host::fs::create_dir_all(&self.root, 0o755)?;
        if let Taken::Ours(lock) = host::lock::take(&self.root)? {
            return Ok(lock);
        }
        waiting();
        Ok(host::lock::wait(&self.root)?)
    }

    /// An empty folder for compilers. A killed one leaves up to a gigabyte behind, which goes with
    /// the next call; only for who holds the lock.
    pub(crate) fn scratch(&self, _lock: &Lock) -> Result<PathBuf> {
        let dir = self.root.join("tmp");
        host::fs::remove_dir_all(&dir)?;
        host::fs::create_dir_all(&dir, 0o755)?;
        Ok(dir)
    }

    /// The folder of a fetched Go.
    pub(crate) fn go(&self, version: &str) -> PathBuf {
        self.root.join("go").join(version)
    }

    /// The folder of one group's programs.
    pub(crate) fn group(&self, name: &str, key: &str) -> PathBuf {
        self.root.join("groups").join(format!("{name}-{key}"))
    }

    /// The folder of all programs of one Kubernetes release.
    pub(crate) fn programs(&self, kubernetes: &str, key: &str) -> PathBuf {
        self.root.join("programs").join(format!("{kubernetes}-{key}"))
    }

    /// Makes a programs folder out of complete groups' folders.
    pub(crate) fn assemble(
        &self,
        target: &Path,
        groups: &[&Path],
        versions: &Versions,
        licences: &Licences,
    ) -> Result<()> {
        let programs = self.root.join("programs");
        host::fs::create_dir_all(&programs, 0o755)?;
        for old in host::fs::list(&programs)? {
            if old.file_name().is_some_and(|n| n.to_string_lossy().starts_with(UNFINISHED)) {
                host::fs::remove_dir_all(&old)?;
            }
        }
        let temp = programs.join(format!("{UNFINISHED}{}", std::process::id()));
        host::fs::create_dir_all(&temp, 0o755)?;
        for name in versions.programs.keys() {
            let source = groups.iter().map(|g| g.join(name)).find(|p| p.is_file());
            let source = source.with_context(|| format!("no group has a program {name}"))?;
            let link = temp.join(name);
            std::fs::hard_link(&source, &link).or_else(|_| host::fs::copy(&source, &link, 0o755))?;
        }
        host::fs::write(&temp.join(licences::FILE), &serde_json::to_vec(licences)?, 0o644)?;
        host::fs::write(&temp.join("versions.json"), &versions.json()?, 0o644)?;
        host::fs::remove_dir_all(target)?;
        Ok(host::fs::rename(&temp, target)?)
    }
}

/// Whether a programs folder has everything that `versions` names.
pub(crate) fn is_complete(dir: &Path, versions: &Versions) -> bool {
    let listed = host::fs::read(&dir.join("versions.json")).ok();
    listed.is_some()
        && listed == versions.json().ok()
        && dir.join(licences::FILE).is_file()
        && versions.programs.keys().all(|p| dir.join(p).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_user_says_or_where_caches_are() {
        let p = |s: &str| Some(PathBuf::from(s));
        assert_eq!(root_from(p("/a"), p("/b"), p("/c")), p("/a"));
        assert_eq!(root_from(None, p("/b"), p("/c")), p("/b/kubestrap"));
        assert_eq!(root_from(None, None, p("/c")), p("/c/.cache/kubestrap"));
        assert_eq!(root_from(None, None, None), None);
    }

    #[test]
    fn a_key_depends_on_every_part_and_on_where_one_ends() {
        let of = |parts: &[&str]| key(parts.iter().map(|p| p.as_bytes()));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab", "c"]), of(&["ab", "d"]));
        assert_eq!(of(&["ab"]).len(), 16);
    }

    #[test]
    fn a_programs_folder_appears_whole_and_is_mended_when_a_file_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let group = cache.group("g", "1");
        host::fs::create_dir_all(&group, 0o755).unwrap();
        let versions = Versions {
            kubernetes: "v1".into(),
            programs: [("a".to_owned(), "v1".to_owned())].into(),
            images: BTreeMap::new(),
            origins: BTreeMap::new(),
        };
        let licences = Licences::default();
        let target = cache.programs("v1", "k");
        assert!(cache.assemble(&target, &[&group], &versions, &licences).is_err());
        assert!(!target.exists());

        host::fs::write(&group.join("a"), b"program", 0o755).unwrap();
        cache.assemble(&target, &[&group], &versions, &licences).unwrap();
        assert!(is_complete(&target, &versions));
        for file in ["a", licences::FILE] {
            host::fs::remove_file(&target.join(file)).unwrap();
            assert!(!is_complete(&target, &versions));
            cache.assemble(&target, &[&group], &versions, &licences).unwrap();
            assert!(is_complete(&target, &versions));
        }
        assert_eq!(host::fs::list(&dir.path().join("programs")).unwrap(), [target]);
    }
}
