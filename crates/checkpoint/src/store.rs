//! Generations on disk: written whole or not at all, and one of them known to work.
//!
//! ```text
//! <root>/kube-system_kube-apiserver/
//!     000001-3f2a…/pod.yaml  generation.json  files/<volume>/…
//!     000002-77c0…/…
//!     good -> 000001-3f2a…        replaced by one rename
//!     .new-…  .gone-…             half written, half removed: nobody reads them, sweep removes them
//! ```
//!
//! A generation gets its name when all of it is on disk. One process writes (the guardian); any may read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use host::fs::FsError;
use jiff::Timestamp;

use crate::build::Checkpoint;
use crate::check;
use crate::component::{Component, SourcePod};
use crate::error::{Problem, StoreError};
use crate::fault;
use crate::generation::{Generation, Record};
use crate::id::GenerationId;
use crate::writing::{self, DIR_MODE};

/// Leads to the generation that is known to work.
const GOOD: &str = "good";
/// Begins the names of what is not whole: generations that are being written, or removed.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// How many generations are kept at least.
pub const KEPT: usize = 3;
/// The directory of all generations.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Where the host's kubelet finds it.
    host_path: PathBuf,
}

impl Store {
    /// Opens the store, and makes it where there is none.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        make_dir(root)?;
        // The kubelet made it, where it is a host path of the guardian's pod.
        host::fs::create_dir_all(root, DIR_MODE)?;
        Ok(Self::view(root, root))
    }

    /// A store to look at, seen elsewhere than the host's kubelet sees it. Nothing is made.
    pub fn view(root: &Path, host_path: &Path) -> Self {
        Self { root: root.to_owned(), host_path: host_path.to_owned() }
    }

    /// Removes what a killed process left half written or half removed; returns what it was.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut swept = sweep_dir(&self.root)?;
        for component in self.components()? {
            swept.extend(sweep_dir(&self.dir(&component))?);
        }
        Ok(swept)
    }

    /// Every component that has a directory.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn components(&self) -> Result<Vec<Component>, StoreError> {
        let names = host::fs::list(&self.root)?;
        Ok(names.iter().filter_map(|path| Component::from_dir_name(name_of(path))).collect())
    }

    /// All generations of a component, the newest last. Those that cannot be read are left out; see
    /// [`Store::damaged`].
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn generations(&self, component: &Component) -> Result<Vec<Generation>, StoreError> {
        let good = self.good_id(component)?;
        let load = |id: &GenerationId| self.load(component, id, good.as_ref() == Some(id)).ok();
        Ok(self.ids(component)?.iter().filter_map(load).collect())
    }

    /// The generation that is known to work.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn good(&self, component: &Component) -> Result<Option<Generation>, StoreError> {
        self.good_id(component)?.map(|id| self.load(component, &id, true)).transpose()
    }

    /// Writes a generation, whole or not at all. When there is one of the same digest already, and nothing is
    /// wrong with it, that one is returned.
    ///
    /// # Errors
    /// [`StoreError`]; see [`StoreError::is_disk_full`]. All older generations are as they were.
    pub fn write(&self, checkpoint: &Checkpoint, now: Timestamp) -> Result<Generation, StoreError> {
        let component = &checkpoint.component;
        let same = |generation: &Generation| generation.digest == checkpoint.digest;
        let known = self.generations(component)?;
        if let Some(known) = known.into_iter().rev().find(|g| same(g) && self.check(g).is_empty()) {
            return Ok(known);
        }
        let parent = self.dir(component);
        make_dir(&parent)?;
        sweep_dir(&parent)?;
        let last = self.ids(component)?.last().map_or(0, GenerationId::sequence);
        let id = GenerationId::new(last + 1, &checkpoint.digest);
        let temp = parent.join(format!("{NEW}{id}"));
        let record = Record::of(checkpoint, now);
        let host_dir = self.host_dir(component, &id);
        let dir = parent.join(id.to_string());
        let written = writing::write(&temp, checkpoint, &record, &host_dir, &id)
            .and_then(|()| host::fs::rename(&temp, &dir));
        if let Err(error) = written {
            // The cause is what counts; the next sweep tries again.
            let _ = host::fs::remove_dir_all(&temp);
            return Err(error.into());
        }
        fault::point("checkpoint.write.synced");
        Ok(record.into_generation(id, dir, false))
    }

    /// Notes another pod as the one that a generation is a copy of: two pods of two revisions may have the same content, and
    /// whoever compares what runs with what is kept goes by the pod.
    ///
    /// # Errors
    /// [`StoreError`]; the record is as it was.
    pub fn note_source(&self, generation: &Generation, source: SourcePod) -> Result<(), StoreError> {
        let before = Record::read(&generation.dir)?;
        let record = before.clone().of_source(source);
        if record != before {
            writing::replace_record(&generation.dir, &record)?;
        }
        Ok(())
    }

    /// Makes a generation the one that is known to work, by one rename.
    ///
    /// # Errors
    /// When there is no such generation or it is damaged; the one before stays then.
    pub fn promote(&self, component: &Component, id: &GenerationId) -> Result<(), StoreError> {
        let generation = self.load(component, id, false)?;
        let problems = self.check(&generation);
        if !problems.is_empty() {
            return Err(StoreError::Damaged { component: component.clone(), id: id.clone(), problems });
        }
        fault::point("checkpoint.promote");
        host::fs::symlink(Path::new(&id.to_string()), &self.dir(component).join(GOOD))?;
        fault::point("checkpoint.promoted");
        Ok(())
    }

    /// Removes old generations: all but the good one, those in `keep`, and the newest, [`KEPT`] in all or more.
    /// Returns what it removed.
    ///
    /// # Errors
    /// When one cannot be removed; the others are tried the next time.
    pub fn prune(
        &self,
        component: &Component,
        keep: &[GenerationId],
    ) -> Result<Vec<GenerationId>, StoreError> {
        let good = self.good_id(component)?;
        let must = |id: &GenerationId| good.as_ref() == Some(id) || keep.contains(id);
        let (mut others, mut useless, mut must_stay) = (Vec::new(), Vec::new(), 0);
        for id in self.ids(component)? {
            match self.load(component, &id, false) {
                Ok(_) if must(&id) => must_stay += 1,
                Ok(_) => others.push(id),
                Err(StoreError::Json { .. }) if !must(&id) => useless.push(id),
                // Of another version of kubestrap, or unreadable today: not ours to remove.
                Err(_) => {}
            }
        }
        let too_many = others.len().saturating_sub(KEPT.saturating_sub(must_stay));
        let gone: Vec<GenerationId> = others.drain(..too_many).chain(useless).collect();
        for id in &gone {
            self.remove(component, id)?;
        }
        Ok(gone)
    }

    /// Removes all that is known of a component.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_all(&self, component: &Component) -> Result<(), StoreError> {
        let dir = self.dir(component);
        let gone = self.root.join(format!("{GONE}{}", component.dir_name()));
        remove_by_name(&dir, &gone)
    }

    /// What is wrong with a generation: each file against what was written, the digest of the whole, and what a
    /// kubelet would refuse. Empty when a kubelet can start it.
    pub fn check(&self, generation: &Generation) -> Vec<Problem> {
        check::check(generation, &self.host_dir(&generation.component, &generation.id))
    }

    /// What stands in a component's directory and is no readable generation.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn damaged(&self, component: &Component) -> Result<Vec<Problem>, StoreError> {
        let dir = self.dir(component);
        let ids = self.ids(component)?;
        let mut problems = Vec::new();
        for id in &ids {
            if let Err(error) = self.load(component, id, false) {
                let message = host::error::chain(&error);
                problems.push(Problem { path: dir.join(id.to_string()), message });
            }
        }
        if let Some(id) = self.good_id(component)?
            && !ids.contains(&id)
        {
            let message = format!("it leads to generation {id}, which is gone");
            problems.push(Problem { path: dir.join(GOOD), message });
        }
        Ok(problems)
    }

    fn load(&self, component: &Component, id: &GenerationId, good: bool) -> Result<Generation, StoreError> {
        let dir = self.dir(component).join(id.to_string());
        match Record::read(&dir) {
            Ok(record) => Ok(record.into_generation(id.clone(), dir, good)),
            Err(StoreError::Fs(error)) if error.is_not_found() && !dir.exists() => {
                Err(StoreError::Unknown { component: component.clone(), id: id.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// All directories with a generation's name, the oldest first.
    fn ids(&self, component: &Component) -> Result<Vec<GenerationId>, StoreError> {
        let names = host::fs::list(&self.dir(component))?;
        let mut ids: Vec<GenerationId> = names.iter().filter_map(|path| name_of(path).parse().ok()).collect();
        ids.sort();
        Ok(ids)
    }

    fn good_id(&self, component: &Component) -> Result<Option<GenerationId>, StoreError> {
        let path = self.dir(component).join(GOOD);
        match fs::read_link(&path) {
            Ok(target) => Ok(name_of(&target).parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FsError { verb: "read", path, source }.into()),
        }
    }

    fn remove(&self, component: &Component, id: &GenerationId) -> Result<(), StoreError> {
        let parent = self.dir(component);
        remove_by_name(&parent.join(id.to_string()), &parent.join(format!("{GONE}{id}")))
    }

    fn dir(&self, component: &Component) -> PathBuf {
        self.root.join(component.dir_name())
    }

    fn host_dir(&self, component: &Component, id: &GenerationId) -> PathBuf {
        self.host_path.join(component.dir_name()).join(id.to_string())
    }
}

/// Takes a directory's name away first, so that nobody ever sees half of it.
fn remove_by_name(dir: &Path, gone: &Path) -> Result<(), StoreError> {
    host::fs::remove_dir_all(gone)?;
    fault::point("checkpoint.prune");
    match host::fs::rename(dir, gone) {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    }
    fault::point("checkpoint.pruned");
    Ok(host::fs::remove_dir_all(gone)?)
}

/// Makes a directory, and makes that durable.
fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if !dir.is_dir() {
        host::fs::create_dir_all(dir, DIR_MODE)?;
        dir.parent().map_or(Ok(()), host::fs::sync_dir)?;
    }
    Ok(())
}

/// Removes all whose names begin with a dot: nothing whole has such a name.
fn sweep_dir(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut names = host::fs::list(dir)?;
    names.retain(|path| name_of(path).starts_with('.'));
    for path in &names {
        if path.is_dir() && !path.is_symlink() {
            host::fs::remove_dir_all(path)?;
        } else {
            host::fs::remove_file(path)?;
        }
    }
    Ok(names)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
