//! Programs on this host for a moment: to be asked something, or to do something once. From a bundle, or from
//! containerd's own copy of an image; never from a container that runs from it, since what that shows is up to whoever
//! may run it.

use std::path::{Path, PathBuf};

use bundle::{Bundle, BundleError};
use host::fs::FsError;

use crate::Root;
use crate::image_file::{self, ImageFileError};

/// A program could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{program} of {image} cannot be had")]
pub struct ProgramError {
    /// What it is called.
    pub program: String,
    /// Whose it is.
    pub image: String,
    /// Why.
    pub source: Box<Trouble>,
}

/// Why a program could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The bundle does not give it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// containerd does not.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// There is no place for it.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Where programs come from, and where they lie meanwhile.
#[derive(Debug)]
pub struct Programs<'a> {
    root: &'a Root,
    bundle: Option<&'a Bundle>,
    dir: PathBuf,
}

impl<'a> Programs<'a> {
    /// Those of that host, in a directory of ours alone, which is made for them and goes with them.
    pub fn new(root: &'a Root, bundle: Option<&'a Bundle>, dir: PathBuf) -> Self {
        Self { root, bundle, dir }
    }

    /// A program of an image, as a file that can be run: from the bundle, else from containerd's own copy of the image.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn get(&self, image: &str, path: &str) -> Result<PathBuf, ProgramError> {
        let program = path.rsplit('/').next().unwrap_or(path);
        let failed = |source: Trouble| ProgramError {
            program: program.to_owned(),
            image: image.to_owned(),
            source: Box::new(source),
        };
        let dest = self.dir.join(program);
        self.copy(image, path, &dest).map_err(failed)?;
        Ok(dest)
    }

    fn copy(&self, image: &str, path: &str, dest: &Path) -> Result<(), Trouble> {
        host::fs::create_dir_all(&self.dir, 0o700)?;
        if let Some(bundle) = self.bundle.filter(|bundle| bundle.has_image(image)) {
            bundle.extract_file(image, path, dest)?;
        } else {
            image_file::copy_out(self.root, image, Path::new(path), dest, &self.dir)?;
        }
        Ok(())
    }

    /// A host program of a bundle, as a file that can be run.
    ///
    /// # Errors
    /// When the bundle does not give it.
    pub fn host_program(&self, bundle: &Bundle, name: &str) -> Result<PathBuf, Trouble> {
        host::fs::create_dir_all(&self.dir, 0o700)?;
        let dest = self.dir.join(name);
        bundle.extract_program(name, &dest)?;
        Ok(dest)
    }

    /// Removes them again, with all that a killed run has left.
    ///
    /// # Errors
    /// [`ImageFileError`].
    pub fn clean(&self) -> Result<(), ImageFileError> {
        image_file::take_down(self.root, &self.dir)?;
        Ok(host::fs::remove_dir_all(&self.dir)?)
    }
}
