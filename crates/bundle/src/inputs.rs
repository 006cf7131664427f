//! The files that go into a bundle, each with its digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hashing, copy};
use crate::{BundleError, Result};

/// A file that goes into the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// All of them, by path.
pub(crate) type Inputs = BTreeMap<PathBuf, Input>;

/// Reads every file once.
///
/// # Errors
/// [`BundleError::Io`] for the first that cannot be read.
pub(crate) fn read_inputs<'a>(sources: impl Iterator<Item = &'a Path>) -> Result<Inputs> {
    let mut paths: Vec<&Path> = sources.collect();
    paths.sort_unstable();
    paths.dedup();
    let inputs = host::parallel::map(&paths, |path| {
        let (digest, size) = hash_file(path)?;
        Ok::<_, BundleError>((path.to_path_buf(), Input { digest, size }))
    })?;
    Ok(inputs.into_iter().collect())
}

/// A file's digest and size.
///
/// # Errors
/// [`BundleError::Io`] when it cannot be read.
pub(crate) fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    let file = File::open(path).map_err(BundleError::io("open", path))?;
    let mut reader = Hashing::new(file);
    copy(&mut reader, &mut io::sink()).map_err(BundleError::io("read", path))?;
    let (_, digest, size) = reader.finish();
    Ok((digest, size))
}
