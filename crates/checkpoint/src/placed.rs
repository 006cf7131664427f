//! The static pod directory: which copies a kubelet is told to run.

use std::path::{Path, PathBuf};

use host::fs::FsError;
use objects::text;
use serde_json::Value;

use crate::component::Component;
use crate::error::{Problem, list};
use crate::fault;
use crate::generation::{Generation, MANIFEST};
use crate::id::GenerationId;
use crate::store::Store;

/// Only root reads it: variables may hold secrets.
const FILE_MODE: u32 = 0o600;

/// A larger file is no manifest, in bytes: the API takes no object above 1.5 MiB.
const LARGEST: u64 = 2 << 20;

/// Why a copy could not be placed or removed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A file operation.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A kubelet could not start it.
    #[error("generation {id} of {component} is damaged: {}", list(problems))]
    Damaged {
        /// Of what.
        component: Component,
        /// Which one.
        id: GenerationId,
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
}

/// A kubelet's static pod directory.
#[derive(Debug, Clone)]
pub struct StaticDir {
    dir: PathBuf,
}

impl StaticDir {
    /// The directory that the kubelet watches; nothing is made.
    pub fn open(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Has the kubelet run a generation, in place of another one of the same component.
    ///
    /// # Errors
    /// When the generation is damaged or the file cannot be written; what was there before stays.
    pub fn place(&self, store: &Store, generation: &Generation) -> Result<(), PlaceError> {
        let problems = store.check(generation);
        if !problems.is_empty() {
            let (component, id) = (generation.component.clone(), generation.id.clone());
            return Err(PlaceError::Damaged { component, id, problems });
        }
        let manifest = host::fs::read(&generation.dir.join(MANIFEST))?;
        fault::point("place.write");
        // Its temp file begins with a dot, so that the kubelet does not read it.
        host::fs::write(&self.path(&generation.component), &manifest, FILE_MODE)?;
        fault::point("place.written");
        Ok(())
    }

    /// Has the kubelet end the copy of a component. Returns whether there was one.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(&self, component: &Component) -> Result<bool, PlaceError> {
        fault::point("remove");
        let was_there = host::fs::remove_file(&self.path(component))?;
        fault::point("removed");
        Ok(was_there)
    }

    /// Every copy that the kubelet is told to run. A file that is no manifest of a copy is not one, whatever its
    /// name says: the kubelet does not run it either.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn placed(&self) -> Result<Vec<(Component, GenerationId)>, PlaceError> {
        Ok(host::fs::list(&self.dir)?.iter().filter_map(|path| copy_in(path)).collect())
    }

    fn path(&self, component: &Component) -> PathBuf {
        self.dir.join(component.file_name())
    }
}

fn copy_in(path: &Path) -> Option<(Component, GenerationId)> {
    let component = Component::from_file_name(path.file_name()?.to_str()?)?;
    let manifest: Value = serde_json::from_slice(&host::fs::read_small(path, LARGEST).ok()?).ok()?;
    let metadata = &manifest["metadata"];
    let is_it = metadata["labels"][names::label::CHECKPOINT_OF] == component.name.as_str()
        && metadata["namespace"] == component.namespace.as_str();
    let id = text(&metadata["annotations"][names::annotation::GENERATION]).parse().ok()?;
    is_it.then_some((component, id))
}
