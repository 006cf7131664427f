//! What becomes one compressed blob of a bundle: a layer of an image, or a program of the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use zstd::stream::write::Encoder;

use crate::digest::{Digest, Hashing, copy};
use crate::inputs::Inputs;
use crate::layer::Layer;
use crate::oci::{self, Descriptor, annotation};
use crate::{BundleError, Result};

/// zstd's compression level. Measured on kube-apiserver: level 1 saves 0.14 s and costs 10 % of the
/// size, level 5 takes twice the time for 4 %. Uncompressed layers are no way out: containerd
/// takes twice as long to import them as it takes with these.
pub(crate) const LEVEL: i32 = 3;

/// Where a layout keeps a blob.
pub(crate) fn path_of(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

/// The content of a blob.
#[derive(Debug)]
pub(crate) enum Content {
    Layer(Layer),
    Program(PathBuf),
}

impl Content {
    /// The files that it is made of.
    pub(crate) fn sources(&self) -> Vec<&Path> {
        match self {
            Self::Layer(layer) => layer.sources().collect(),
            Self::Program(path) => vec![path.as_path()],
        }
    }

    fn media_type(&self) -> &'static str {
        match self {
            Self::Layer(_) => oci::LAYER,
            Self::Program(_) => oci::PROGRAM,
        }
    }

    /// A digest of everything that decides what the blob will be.
    pub(crate) fn recipe(&self, inputs: &Inputs) -> Digest {
        let content = match self {
            Self::Layer(layer) => layer.recipe(inputs),
            Self::Program(path) => format!("{:?}", inputs.get(path).map(|i| &i.digest)),
        };
        let zstd = zstd::zstd_safe::version_number();
        Digest::of(format!("{} zstd {zstd} level {LEVEL}\n{content}", self.media_type()).as_bytes())
    }

    /// Its length before compression, about.
    pub(crate) fn size(&self, inputs: &Inputs) -> u64 {
        self.sources().iter().filter_map(|path| inputs.get(*path)).map(|input| input.size).sum()
    }

    /// Compresses it into the layout at `dir`.
    ///
    /// # Errors
    /// [`BundleError::Io`], or [`BundleError::Changed`] when a file is not what `inputs` says.
    pub(crate) fn write(&self, inputs: &Inputs, dir: &Path) -> Result<Descriptor> {
        let recipe = self.recipe(inputs);
        // Two equal ones may be in the making at the same time.
        let temp = format!(".{}.{:?}", recipe.hex(), std::thread::current().id());
        let temp = dir.join("blobs/sha256").join(temp);
        let failed = || BundleError::io("write", temp.clone());
        let file = File::create(&temp).map_err(failed())?;
        let out = BufWriter::with_capacity(256 * 1024, Hashing::new(file));
        let encoder = Encoder::new(out, LEVEL).map_err(failed())?;
        let (encoder, content, content_size) = self.feed(inputs, encoder, &temp)?;
        let out = encoder.finish().map_err(failed())?;
        let out = out.into_inner().map_err(|e| failed()(e.into_error()))?;
        let (file, digest, size) = out.finish();
        file.sync_all().map_err(failed())?;
        host::fs::rename(&temp, &path_of(dir, &digest))?;
        let annotations = BTreeMap::from([
            (annotation::RECIPE.to_owned(), recipe.to_string()),
            (annotation::CONTENT_DIGEST.to_owned(), content.to_string()),
            (annotation::CONTENT_SIZE.to_owned(), content_size.to_string()),
        ]);
        let media_type = self.media_type().to_owned();
        Ok(Descriptor { media_type, digest, size, artifact_type: None, annotations, platform: None })
    }

    /// Writes the content to `out`; returns that with the content's digest and length.
    fn feed<W: Write>(&self, inputs: &Inputs, out: W, temp: &Path) -> Result<(W, Digest, u64)> {
        let mut out = Hashing::new(out);
        let source = match self {
            Self::Layer(layer) => return Ok(layer.write(inputs, out, temp)?.finish()),
            Self::Program(path) => path,
        };
        let mut file = File::open(source).map_err(BundleError::io("open", source))?;
        copy(&mut file, &mut out).map_err(BundleError::io("pack", source))?;
        let (out, digest, size) = out.finish();
        if inputs.get(source).is_none_or(|input| input.digest != digest) {
            return Err(BundleError::Changed { path: source.clone() });
        }
        Ok((out, digest, size))
    }
}
