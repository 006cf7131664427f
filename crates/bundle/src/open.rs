//! Reading a bundle. Opening one checks its structure: every document is intact and understood,
//! every blob is there with its size. Content is verified when it is read, or by
//! [`Bundle::verify`] all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use licences::Licences;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::blob::path_of;
use crate::catalog::{self, HOST_PROGRAMS};
use crate::digest::Digest;
use crate::inputs::hash_file;
use crate::oci::{self, Descriptor, Index, Manifest, annotation};
use crate::origins::Origin;
use crate::{BundleError, Result};

/// The layout of bundles that this version writes and reads.
pub(crate) const FORMAT: &str = "2";

/// An image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageRef {
    /// Its full name with tag, such as `registry.k8s.io/kube-apiserver:v1.37.2`.
    pub name: String,
    /// The version of the program in it.
    pub version: String,
    /// The digest of its manifest: what a runtime shows as the image's digest.
    pub digest: Digest,
    /// Its length in the bundle in bytes, shared layers included.
    pub size: u64,
}

/// A program that runs on the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its file name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of the executable, not of its compressed blob.
    pub digest: Digest,
    /// The length of the executable in bytes.
    pub size: u64,
}

/// What a blob should be, and who suffers when it is not.
#[derive(Debug, Clone)]
struct Blob {
    size: u64,
    needed_by: Vec<String>,
}

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    dir: PathBuf,
    digest: Digest,
    index: Index,
    images: Vec<ImageRef>,
    programs: Vec<Program>,
    origins: Vec<Origin>,
    /// The blob with the licences; a bundle that an earlier build made has none.
    licences: Option<Descriptor>,
    /// The manifests of `images`, in the same order.
    pub(crate) image_manifests: Vec<(Descriptor, Manifest)>,
    /// The blobs of `programs`, in the same order.
    pub(crate) program_blobs: Vec<Descriptor>,
    blobs: BTreeMap<Digest, Blob>,
}

impl Bundle {
    /// Opens the bundle at `dir` and checks its structure.
    ///
    /// # Errors
    /// [`BundleError::NotFound`], [`BundleError::Foreign`] and [`BundleError::Format`] for what is
    /// no bundle of ours; [`BundleError::Missing`], [`BundleError::Corrupt`] and
    /// [`BundleError::Document`] for one that is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let (index, bytes) = read_index(dir)?;
        let mut bundle = Self {
            dir: dir.to_owned(),
            digest: Digest::of(&bytes),
            images: Vec::new(),
            programs: Vec::new(),
            origins: Vec::new(),
            licences: None,
            image_manifests: Vec::new(),
            program_blobs: Vec::new(),
            blobs: BTreeMap::new(),
            index: index.clone(),
        };
        for descriptor in &index.manifests {
            match descriptor.artifact_type.as_deref() {
                Some(oci::HOST_PROGRAMS) => bundle.add_programs(descriptor)?,
                Some(oci::ORIGINS) => bundle.add_origins(descriptor)?,
                _ => bundle.add_image(descriptor)?,
            }
        }
        bundle.blobs.iter().try_for_each(|(digest, blob)| bundle.check_size(digest, blob))?;
        Ok(bundle)
    }

    /// Whether it is the one of that digest. Everything in it is then what it was when that was written down: what is read
    /// of a bundle is compared with the digests that its index leads to.
    ///
    /// # Errors
    /// [`BundleError::AnotherOne`].
    pub fn is_the_one(&self, expected: &Digest) -> Result<()> {
        if self.digest == *expected {
            return Ok(());
        }
        let (dir, expected, found) = (self.dir.clone(), expected.clone(), self.digest.clone());
        Err(BundleError::AnotherOne { dir, expected, found })
    }

    fn add_image(&mut self, descriptor: &Descriptor) -> Result<()> {
        let name = descriptor.note(annotation::IMAGE_NAME).to_owned();
        let needed_by = format!("image {name}");
        let manifest: Manifest = self.document(descriptor, &needed_by)?;
        for blob in manifest.blobs() {
            self.note_blob(blob, &needed_by);
        }
        self.images.push(ImageRef {
            name,
            version: descriptor.note(annotation::VERSION).to_owned(),
            digest: descriptor.digest.clone(),
            size: descriptor.size + manifest.blobs().map(|blob| blob.size).sum::<u64>(),
        });
        self.image_manifests.push((descriptor.clone(), manifest));
        Ok(())
    }

    fn add_programs(&mut self, descriptor: &Descriptor) -> Result<()> {
        let manifest: Manifest = self.document(descriptor, "all host programs")?;
        self.note_blob(&manifest.config, "all host programs");
        for blob in manifest.layers {
            let name = blob.note(annotation::TITLE).to_owned();
            // Its name is where it is installed: a bundle from elsewhere does not choose that.
            if !HOST_PROGRAMS.contains(&name.as_str()) {
                let known = HOST_PROGRAMS.join(", ");
                return Err(self.foreign(format!("its program {name:?} is none that a node needs ({known})")));
            }
            if self.program(&name).is_some() {
                return Err(self.foreign(format!("it has two programs {name}")));
            }
            self.note_blob(&blob, &format!("program {name}"));
            let foreign = |reason: &str| self.foreign(format!("program {name} has {reason}"));
            let digest = Digest::try_from(blob.note(annotation::CONTENT_DIGEST).to_owned());
            let size = blob.note(annotation::CONTENT_SIZE).parse();
            self.programs.push(Program {
                version: blob.note(annotation::VERSION).to_owned(),
                digest: digest.map_err(|_| foreign("no content digest"))?,
                size: size.map_err(|_| foreign("no content size"))?,
                name,
            });
            self.program_blobs.push(blob);
        }
        Ok(())
    }

    fn add_origins(&mut self, descriptor: &Descriptor) -> Result<()> {
        const FOR: &str = "the list of origins";
        let manifest: Manifest = self.document(descriptor, FOR)?;
        for blob in manifest.blobs() {
            self.note_blob(blob, FOR);
        }
        let list = manifest.layers.iter().find(|layer| layer.media_type == oci::ORIGINS_LIST);
        if let Some(list) = list {
            self.origins = self.document(list, FOR)?;
        }
        self.licences = manifest.layers.into_iter().find(|layer| layer.media_type == oci::LICENCES);
        Ok(())
    }

    fn foreign(&self, reason: String) -> BundleError {
        BundleError::Foreign { dir: self.dir.clone(), reason }
    }

    fn note_blob(&mut self, descriptor: &Descriptor, needed_by: &str) {
        let blob = self.blobs.entry(descriptor.digest.clone());
        let blob = blob.or_insert_with(|| Blob { size: descriptor.size, needed_by: Vec::new() });
        blob.needed_by.push(needed_by.to_owned());
    }

    /// Reads a small blob that is a JSON document.
    fn document<T: DeserializeOwned>(&mut self, descriptor: &Descriptor, needed_by: &str) -> Result<T> {
        self.note_blob(descriptor, needed_by);
        let path = path_of(&self.dir, &descriptor.digest);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.missing(&descriptor.digest)),
            other => other.map_err(BundleError::io("read", &path))?,
        };
        self.expect(&descriptor.digest, &Digest::of(&bytes))?;
        serde_json::from_slice(&bytes).map_err(|source| BundleError::Document { path, source })
    }

    fn check_size(&self, digest: &Digest, blob: &Blob) -> Result<()> {
        let path = path_of(&self.dir, digest);
        match fs::metadata(&path) {
            Ok(meta) if meta.len() == blob.size => Ok(()),
            Ok(meta) => {
                Err(self.corrupt(digest, format!("{} bytes", blob.size), format!("{} bytes", meta.len())))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(self.missing(digest)),
            Err(e) => Err(BundleError::io("read", path)(e)),
        }
    }

    fn needed_by(&self, digest: &Digest) -> Vec<String> {
        self.blobs.get(digest).map(|blob| blob.needed_by.clone()).unwrap_or_default()
    }

    fn missing(&self, blob: &Digest) -> BundleError {
        let path = path_of(&self.dir, blob);
        BundleError::Missing { blob: blob.clone(), path, needed_by: self.needed_by(blob) }
    }

    fn corrupt(&self, blob: &Digest, expected: String, actual: String) -> BundleError {
        let path = path_of(&self.dir, blob);
        BundleError::Corrupt { blob: blob.clone(), path, expected, actual, needed_by: self.needed_by(blob) }
    }

    /// Compares the digest of a blob's content with its name.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] when they differ.
    pub(crate) fn expect(&self, blob: &Digest, actual: &Digest) -> Result<()> {
        if blob == actual { Ok(()) } else { Err(self.corrupt(blob, blob.to_string(), actual.to_string())) }
    }

    /// Reads one blob and compares it with its name.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], [`BundleError::Missing`] or [`BundleError::Io`].
    pub(crate) fn verify_blob(&self, blob: &Digest) -> Result<()> {
        match hash_file(&path_of(&self.dir, blob)) {
            Ok((actual, _)) => self.expect(blob, &actual),
            Err(BundleError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(self.missing(blob))
            }
            Err(e) => Err(e),
        }
    }

    /// Reads every blob and compares it with its digest.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`] or [`BundleError::Missing`] for the first one that is wrong.
    pub fn verify(&self) -> Result<()> {
        let digests: Vec<_> = self.blobs.keys().collect();
        host::parallel::map(&digests, |digest| self.verify_blob(digest)).map(drop)
    }

    /// Reads what these images and these host programs are made of, and compares it with its digests. Names that are
    /// not in the bundle are passed over.
    ///
    /// # Errors
    /// As [`Bundle::verify`].
    pub fn verify_parts(&self, images: &[String], programs: &[String]) -> Result<()> {
        let of_images = self.images.iter().zip(&self.image_manifests);
        let of_images = of_images.filter(|(image, _)| images.contains(&image.name));
        let of_images = of_images.flat_map(|(image, (_, manifest))| {
            std::iter::once(&image.digest).chain(manifest.blobs().map(|blob| &blob.digest))
        });
        let of_programs = self.programs.iter().zip(&self.program_blobs);
        let of_programs = of_programs.filter(|(program, _)| programs.contains(&program.name));
        let digests: BTreeSet<_> = of_images.chain(of_programs.map(|(_, blob)| &blob.digest)).collect();
        let digests: Vec<_> = digests.into_iter().collect();
        host::parallel::map(&digests, |digest| self.verify_blob(digest)).map(drop)
    }

    /// Where the blob of this digest lies; none when it has none.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        let digest = Digest::try_from(digest.to_owned()).ok()?;
        self.blobs.contains_key(&digest).then(|| path_of(&self.dir, &digest))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of the index, and so of everything in the bundle.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The length of all blobs in bytes.
    pub fn size(&self) -> u64 {
        self.blobs.values().map(|blob| blob.size).sum()
    }

    /// The Kubernetes release in it, with its `v`.
    pub fn kubernetes_version(&self) -> &str {
        self.annotation(annotation::KUBERNETES)
    }

    /// An annotation of the index; empty when there is none.
    pub(crate) fn annotation(&self, key: &str) -> &str {
        self.index.annotations.get(key).map_or("", String::as_str)
    }

    /// The layers of all images and the blobs of all programs; shared ones several times.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Descriptor> {
        self.image_manifests.iter().flat_map(|(_, manifest)| &manifest.layers).chain(&self.program_blobs)
    }

    /// All images.
    pub fn images(&self) -> &[ImageRef] {
        &self.images
    }

    /// The image of a repository, whatever its tag.
    pub fn image_of(&self, repository: &str) -> Option<&ImageRef> {
        self.images
            .iter()
            .find(|image| image.name.rsplit_once(':').is_some_and(|(name, _)| name == repository))
    }

    /// The image that every pod's sandbox is made of.
    pub fn pause_image(&self) -> Option<&ImageRef> {
        self.image_of(catalog::PAUSE)
    }

    /// All programs that run on the host itself.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Where everything in it came from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Whose work is in it, with the text of each licence.
    ///
    /// # Errors
    /// [`BundleError::NoLicences`] for one that an earlier build made, [`BundleError::Corrupt`], [`BundleError::Missing`] and
    /// [`BundleError::Document`] for one that is damaged.
    pub fn licences(&self) -> Result<Licences> {
        let none = || BundleError::NoLicences { dir: self.dir.clone() };
        let blob = self.licences.as_ref().ok_or_else(none)?;
        self.verify_blob(&blob.digest)?;
        let path = path_of(&self.dir, &blob.digest);
        let file = fs::File::open(&path).map_err(BundleError::io("open", &path))?;
        let decoder = zstd::Decoder::new(file).map_err(BundleError::io("unpack", &path))?;
        serde_json::from_reader(io::BufReader::new(decoder))
            .map_err(|source| BundleError::Document { path, source })
    }

    /// The host program of this name.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }
}

/// Reads `index.json` and recognises a bundle of ours by it.
fn read_index(dir: &Path) -> Result<(Index, Vec<u8>)> {
    let foreign = |reason: String| BundleError::Foreign { dir: dir.to_owned(), reason };
    if !dir.exists() {
        return Err(BundleError::NotFound { dir: dir.to_owned() });
    }
    let bytes =
        fs::read(dir.join(oci::INDEX_FILE)).map_err(|e| foreign(format!("{}: {e}", oci::INDEX_FILE)))?;
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|e| foreign(format!("{}: {e}", oci::INDEX_FILE)))?;
    match index.annotations.get(annotation::FORMAT).map(String::as_str) {
        None => Err(foreign("it is another OCI layout".to_owned())),
        Some(FORMAT) => Ok((index, bytes)),
        Some(found) => {
            Err(BundleError::Format { dir: dir.to_owned(), found: found.to_owned(), known: FORMAT })
        }
    }
}

/// Whether `create` may replace what is at `dir`: nothing, an empty directory, or a bundle, also a
/// damaged one or one of another format.
///
/// # Errors
/// [`BundleError::Foreign`] for anything else.
pub(crate) fn check_replaceable(dir: &Path) -> Result<()> {
    match read_index(dir) {
        Ok(_) | Err(BundleError::NotFound { .. } | BundleError::Format { .. }) => Ok(()),
        Err(_) if dir.is_dir() && host::fs::list(dir).is_ok_and(|entries| entries.is_empty()) => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
