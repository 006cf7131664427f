//! The node's disk: generations and the static pod directory, read for the machine and changed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use checkpoint::{
    Checkpoint, Component, Generation, GenerationId, PlaceError, SourcePod, StaticDir, Store, StoreError,
};
use jiff::Timestamp;

use super::instances::init_containers;
use crate::machine;

/// The disk did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A generation.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A static pod.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A name that no generation has.
    #[error("there is no generation {id} of {component}")]
    NoGeneration {
        /// Of what.
        component: Component,
        /// The name.
        id: String,
    },
}

/// Both directories. Calls block: they read some files, and those that write wait for the disk.
#[derive(Debug)]
pub(crate) struct Files {
    store: Store,
    static_dir: StaticDir,
    static_path: PathBuf,
    /// Names of the init containers of generations.
    init: Mutex<BTreeMap<(Component, String), Vec<String>>>,
}

impl Files {
    /// Opens both, and removes what a guardian that was killed left half written.
    pub(crate) fn open(checkpoints: &Path, static_pods: &Path) -> Result<Self, DiskError> {
        let store = Store::open(checkpoints)?;
        for path in store.sweep()? {
            tracing::info!(path = %path.display(), "removed what was half written");
        }
        let static_dir = StaticDir::open(static_pods);
        Ok(Self { store, static_dir, static_path: static_pods.to_owned(), init: Mutex::default() })
    }

    /// Every component with a generation, or with a copy in place.
    pub(crate) fn components(&self) -> Result<BTreeSet<Component>, DiskError> {
        let placed = self.static_dir.placed()?.into_iter().map(|(component, _)| component);
        Ok(self.store.components()?.into_iter().chain(placed).collect())
    }

    /// Names of all that is there: two that are equal mean that nothing was changed.
    pub(crate) fn fingerprint(&self, component: &Component) -> Result<String, DiskError> {
        let ids: Vec<_> = self.generations(component)?.iter().map(|g| (g.id.to_string(), g.good)).collect();
        Ok(format!("{ids:?} {:?}", self.placed(component)?))
    }

    /// What the machine has to know. Every generation is verified: all its files are read.
    pub(crate) fn disk(&self, component: &Component) -> Result<machine::Disk, DiskError> {
        let mut disk = machine::Disk { placed: self.placed(component)?, ..machine::Disk::default() };
        for generation in self.generations(component)? {
            let problems = self.store.check(&generation);
            if let Some(problem) = problems.first() {
                tracing::warn!(%component, generation = %generation.id, %problem, "a generation is damaged");
                continue;
            }
            let known = told(&generation);
            if generation.good {
                disk.good = Some(known.id.clone());
            }
            disk.generations.push(known);
        }
        Ok(disk)
    }

    pub(crate) fn generations(&self, component: &Component) -> Result<Vec<Generation>, DiskError> {
        Ok(self.store.generations(component)?)
    }

    fn placed(&self, component: &Component) -> Result<Option<machine::GenerationId>, DiskError> {
        let placed = self.static_dir.placed()?.into_iter().find(|(of, _)| of == component);
        Ok(placed.map(|(_, id)| machine::GenerationId(id.to_string())))
    }

    pub(crate) fn write(
        &self,
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<machine::Generation, DiskError> {
        Ok(told(&self.store.write(checkpoint, now)?))
    }

    /// See [`Store::note_source`]: of the generation with that content, if there is one.
    pub(crate) fn note_source(
        &self,
        component: &Component,
        digest: &machine::Digest,
        source: SourcePod,
    ) -> Result<(), DiskError> {
        let of = self.generations(component)?.into_iter().find(|g| g.digest.to_string() == digest.0);
        of.map_or(Ok(()), |generation| Ok(self.store.note_source(&generation, source)?))
    }

    pub(crate) fn promote(&self, component: &Component, id: &machine::GenerationId) -> Result<(), DiskError> {
        let generation = self.generation(component, id)?;
        Ok(self.store.promote(component, &generation.id)?)
    }

    /// Removes those; returns which are gone now. The store itself keeps what it holds necessary.
    pub(crate) fn prune(
        &self,
        component: &Component,
        gone: &[machine::GenerationId],
    ) -> Result<Vec<machine::GenerationId>, DiskError> {
        let all = self.generations(component)?;
        let kept = |id: &GenerationId| !gone.iter().any(|g| g.0 == id.to_string());
        let keep: Vec<_> = all.iter().map(|g| g.id.clone()).filter(kept).collect();
        self.store.prune(component, &keep)?;
        let left: BTreeSet<_> = self.generations(component)?.iter().map(|g| g.id.to_string()).collect();
        Ok(gone.iter().filter(|id| !left.contains(&id.0)).cloned().collect())
    }

    pub(crate) fn place(&self, component: &Component, id: &machine::GenerationId) -> Result<(), DiskError> {
        let generation = self.generation(component, id)?;
        Ok(self.static_dir.place(&self.store, &generation)?)
    }

    pub(crate) fn remove(&self, component: &Component) -> Result<(), DiskError> {
        self.static_dir.remove(component)?;
        Ok(())
    }

    pub(crate) fn uninstall(&self, component: &Component) -> Result<(), DiskError> {
        self.static_dir.remove(component)?;
        Ok(self.store.remove_all(component)?)
    }

    /// Removes a file of the static pod directory.
    pub(crate) fn remove_static_pod(&self, file: &str) -> Result<bool, host::fs::FsError> {
        host::fs::remove_file(&self.static_path.join(file))
    }

    /// The names of a generation's init containers; none when it cannot be read.
    pub(crate) fn init_containers(&self, component: &Component, id: &str) -> Vec<String> {
        let mut known = self.init.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (component.clone(), id.to_owned());
        if let Some(names) = known.get(&key) {
            return names.clone();
        }
        let generation = self.generation(component, &machine::GenerationId(id.to_owned()));
        let Some(manifest) = generation.ok().and_then(|g| g.manifest().ok()) else { return Vec::new() };
        let init = init_containers(&manifest);
        known.insert(key, init.clone());
        init
    }

    fn generation(&self, component: &Component, id: &machine::GenerationId) -> Result<Generation, DiskError> {
        let found = self.generations(component)?.into_iter().find(|g| g.id.to_string() == id.0);
        found.ok_or_else(|| DiskError::NoGeneration { component: component.clone(), id: id.0.clone() })
    }
}

fn told(generation: &Generation) -> machine::Generation {
    machine::Generation {
        id: machine::GenerationId(generation.id.to_string()),
        digest: machine::Digest(generation.digest.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checkpoint(flag: &str) -> Checkpoint {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-x", "namespace": "kube-system", "uid": "u",
                "ownerReferences": [{"kind": "DaemonSet", "name": "web", "controller": true}]},
            "spec": {"hostNetwork": true, "containers": [{"name": "web", "image": "i", "args": [flag]}]}});
        checkpoint::expected(Path::new("/"), &pod, &[]).unwrap().checkpoint
    }

    #[test]
    fn a_generation_with_a_missing_file_is_not_told_to_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(&dir.path().join("checkpoints"), &dir.path().join("manifests")).unwrap();
        let [old, new] = ["--v=1", "--v=2"].map(checkpoint);
        let component = old.component.clone();
        let [old, new] = [old, new].map(|checkpoint| files.write(&checkpoint, Timestamp::now()).unwrap());
        files.promote(&component, &old.id).unwrap();
        let disk = files.disk(&component).unwrap();
        assert_eq!(disk.generations, [old.clone(), new.clone()]);
        assert_eq!(disk.good.as_ref(), Some(&old.id));

        let lose = |id: &machine::GenerationId| {
            let dir = files.generation(&component, id).unwrap().dir;
            assert!(host::fs::remove_file(&dir.join("pod.yaml")).unwrap());
        };
        lose(&new.id);
        assert_eq!(files.disk(&component).unwrap().generations, std::slice::from_ref(&old));
        lose(&old.id);
        assert_eq!(files.disk(&component).unwrap(), machine::Disk::default());
    }
}
