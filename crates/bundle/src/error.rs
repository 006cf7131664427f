//! What can be wrong with a bundle or with what one is made from.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why a bundle could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is nothing at the path.
    #[error("there is no bundle at {}", dir.display())]
    NotFound {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{} is not a bundle of kubestrap: {reason}", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What gave it away.
        reason: String,
    },
    /// It is a bundle, and not the one that was meant.
    #[error("the bundle at {} has the digest {found}, and not {expected}", dir.display())]
    AnotherOne {
        /// The bundle's directory.
        dir: PathBuf,
        /// The digest that it was to have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The bundle was made by a kubestrap whose layout this one does not know.
    #[error("the bundle at {} has format {found}, and this kubestrap reads format {known}", dir.display())]
    Format {
        /// The bundle's directory.
        dir: PathBuf,
        /// What it says.
        found: String,
        /// What we read.
        known: &'static str,
    },
    /// A blob is not in the bundle.
    #[error("the bundle lacks blob {blob} ({}), needed by {}", path.display(), needed_by.join(", "))]
    Missing {
        /// The blob's digest.
        blob: Digest,
        /// Where it should be.
        path: PathBuf,
        /// The images and programs that cannot be had without it.
        needed_by: Vec<String>,
    },
    /// A blob is not what its name says.
    #[error(
        "blob {blob} ({}) is corrupt: expected {expected}, found {actual}; needed by {}",
        path.display(), needed_by.join(", ")
    )]
    Corrupt {
        /// The blob's digest.
        blob: Digest,
        /// Its file.
        path: PathBuf,
        /// The digest or size that it should have.
        expected: String,
        /// The digest or size that it has.
        actual: String,
        /// The images and programs that cannot be had without it.
        needed_by: Vec<String>,
    },
    /// A blob that is intact holds no valid document.
    #[error("cannot understand {}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The bundle has no such image.
    #[error("the bundle at {} has no image {name}", dir.display())]
    NoImage {
        /// The image's full name.
        name: String,
        /// The bundle's directory.
        dir: PathBuf,
    },
    /// The bundle has no such host program.
    #[error("the bundle at {} has no program {name}", dir.display())]
    NoProgram {
        /// The program's name.
        name: String,
        /// The bundle's directory.
        dir: PathBuf,
    },
    /// The bundle has no licences of what is in it.
    #[error("the bundle at {} has no licences of what is in it", dir.display())]
    NoLicences {
        /// The bundle's directory.
        dir: PathBuf,
    },
    /// The programs folder does not hold all that a bundle needs.
    #[error("{} lacks {}", dir.display(), names.join(", "))]
    MissingPrograms {
        /// The programs folder.
        dir: PathBuf,
        /// What is missing: file names, or `<name> in versions.json` (or `licences.json`).
        names: Vec<String>,
    },
    /// A tool of this host that goes into an image is not installed.
    #[error("this host has no {} (Debian package {package})", path.display())]
    MissingTool {
        /// Where it was looked for.
        path: PathBuf,
        /// What installs it.
        package: &'static str,
    },
    /// A program cannot run in the images we make.
    #[error("{} cannot go into a bundle: {reason}", path.display())]
    Unfit {
        /// The program.
        path: PathBuf,
        /// Not an ELF file, another machine's, or not static.
        reason: String,
    },
    /// A shared library is not where the loader would look.
    #[error("{} needs {library}, which this host does not have", needed_by.display())]
    MissingLibrary {
        /// The library's name, as the program asks for it.
        library: String,
        /// The program or library that asks.
        needed_by: PathBuf,
    },
    /// An input changed while it was read.
    #[error("{} changed while the bundle was made", path.display())]
    Changed {
        /// The input.
        path: PathBuf,
    },
    /// Another `create` works on the same directory.
    #[error("another process is making the bundle {}", dir.display())]
    Busy {
        /// The bundle's directory.
        dir: PathBuf,
    },
    /// A file operation of ours failed.
    #[error(transparent)]
    Fs(#[from] host::fs::FsError),
    /// Reading or writing a stream failed.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel or the decoder answered.
        source: io::Error,
    },
}

impl BundleError {
    /// For `map_err`: an I/O error with what was tried and where.
    pub(crate) fn io(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { verb, path, source }
    }
}
