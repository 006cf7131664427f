//! Whether what is unpacked of an image is what its layers say, and putting that right from a layer that is whole.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::fs::FsError;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::image::{Image, Layer, hex};
use crate::state::Store;

/// What zstd's frames begin with (RFC 8878, 3.1.1), and gzip's (RFC 1952, 2.3.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How names of files begin that say what a layer takes away from those below it
/// (opencontainers/image-spec, layer.md).
const WHITEOUT: &str = ".wh.";
/// How the extended headers of a tar archive call extended attributes.
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// The mode that containerd gives its blobs (plugins/content/local/writer.go).
const BLOB_MODE: u32 = 0o444;

/// What is said of a blob that is another one.
const OTHER: &str = "is not what its digest says";

/// What several images have, each once, with the names of them all.
struct Shared<T>(Vec<(T, Vec<String>)>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Shared<T> {
    fn add(&mut self, one: T, names: &[String]) {
        match self.0.iter_mut().find(|(other, _)| *other == one) {
            Some((_, all)) => all.extend(names.iter().cloned()),
            None => self.0.push((one, names.to_owned())),
        }
    }
}

/// A file that is not what an image says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The names of all images that have it: each has several, and layers are shared.
    pub images: Vec<String>,
    /// The file: its path in the image, or that of a blob on the node.
    pub file: PathBuf,
    /// What is wrong with it, as a clause.
    pub why: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Unpacked there, of the layer with that digest.
    Unpacked { at: PathBuf, layer: String },
    /// The blob of that digest.
    Blob { digest: String },
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let image = self.images.first().map_or("", String::as_str);
        write!(f, "{image}: {} {}", self.file.display(), self.why)
    }
}

impl Store {
    /// All that is wrong with images, by their looks, and where those are amiss by comparing each byte: some
    /// milliseconds where nothing is. Layers that are packed in another way than tar and zstd are not compared.
    ///
    /// Files that were changed later are found in any case. `thorough` finds also what a power cut has cut off, by its
    /// size on the disk; there are file systems that give and take room by themselves, where all is compared then. So it is
    /// with a layer of which a file was put right, whoever asks: it was changed.
    ///
    /// # Errors
    /// [`FsError`] when something of it cannot be read.
    pub fn check(&self, thorough: bool) -> Result<Vec<Wrong>, FsError> {
        let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, digest) in self.images() {
            names.entry(digest).or_default().push(name.to_owned());
        }
        let (mut layers, mut documents) = (Shared::default(), Shared::default());
        for (digest, names) in names {
            let image = Image::read(self, digest);
            image.layers.into_iter().for_each(|layer| layers.add(layer, &names));
            image.wrong.into_iter().for_each(|wrong| documents.add(wrong, &names));
        }
        let wrong = documents.0.iter();
        let mut found: Vec<Wrong> =
            wrong.map(|(digest, names)| self.wrong_blob(names, digest, OTHER)).collect();
        for (layer, names) in &layers.0 {
            self.check_layer(names, layer, thorough, &mut found)?;
        }
        Ok(found)
    }

    fn wrong_blob(&self, images: &[String], digest: &str, why: &str) -> Wrong {
        let place = Place::Blob { digest: digest.to_owned() };
        Wrong { images: images.to_owned(), file: self.blob(digest), why: why.to_owned(), place }
    }

    fn check_layer(
        &self,
        images: &[String],
        layer: &Layer,
        thorough: bool,
        found: &mut Vec<Wrong>,
    ) -> Result<(), FsError> {
        let blob = self.blob(&layer.digest);
        // containerd may be told to keep none of what it has unpacked.
        let size = blob.metadata().map(|found| found.len()).ok();
        if let Some(size) = size.filter(|size| *size != layer.size) {
            let why = format!("has {size} bytes, and not {}", layer.size);
            found.push(self.wrong_blob(images, &layer.digest, &why));
        }
        let Some(snapshot) = self.snapshot(&layer.chain) else { return Ok(()) };
        let at = self.unpacked(snapshot);
        if size == Some(layer.size) && snapshot.looks_changed(&at, thorough)? {
            // Who is to judge others has to be whole.
            if is_whole(&blob, &layer.digest) {
                let of_file = |(path, why): (PathBuf, String)| Wrong {
                    images: images.to_owned(),
                    file: Path::new("/").join(&path),
                    why,
                    place: Place::Unpacked { at: at.join(path), layer: layer.digest.clone() },
                };
                found.extend(compare(&blob, &at)?.into_iter().map(of_file));
            } else {
                found.push(self.wrong_blob(images, &layer.digest, OTHER));
            }
        }
        Ok(())
    }

    /// Puts a wrong file right: out of its layer, which is here or where `elsewhere` knows a blob of that digest. What
    /// runs from the old file goes on with that. False when no whole layer is to be had.
    ///
    /// # Errors
    /// [`FsError`] when it cannot be written.
    pub fn mend(&self, wrong: &Wrong, elsewhere: &dyn Fn(&str) -> Option<PathBuf>) -> Result<bool, FsError> {
        let whole = |digest: &str| {
            let here = Some(self.blob(digest)).filter(|blob| is_whole(blob, digest));
            here.or_else(|| elsewhere(digest).filter(|blob| is_whole(blob, digest)))
        };
        match &wrong.place {
            Place::Blob { digest } => match whole(digest) {
                Some(blob) if blob != self.blob(digest) => {
                    host::fs::copy(&blob, &self.blob(digest), BLOB_MODE)?;
                    Ok(true)
                }
                other => Ok(other.is_some()),
            },
            Place::Unpacked { at, layer } => match whole(layer) {
                Some(blob) => put_back(&blob, &wrong.file, at),
                None => Ok(false),
            },
        }
    }
}

/// Whether a blob is what its digest says.
fn is_whole(path: &Path, digest: &str) -> bool {
    let Ok(mut file) = host::fs::open_regular(path) else { return false };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return format!("sha256:{}", hex(&hasher.finalize())) == digest,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(_) => return false,
        }
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> FsError + '_ {
    move |source| FsError { verb: "read", path: path.to_owned(), source }
}

/// The archive in a blob; none for one that is packed in a way that nothing here unpacks.
fn archive(blob: &Path) -> Result<Option<Archive<Box<dyn Read>>>, FsError> {
    let mut file = host::fs::open_regular(blob)?;
    let mut start = [0; 4];
    let read = file.read(&mut start).map_err(unreadable(blob))?;
    let all: Box<dyn Read> = Box::new(io::Cursor::new(start[..read].to_vec()).chain(file));
    Ok(match start {
        ZSTD => {
            let decoder = zstd::Decoder::new(BufReader::new(all)).map_err(unreadable(blob))?;
            Some(Archive::new(Box::new(decoder)))
        }
        [first, second, ..] if [first, second] == GZIP => None,
        _ => Some(Archive::new(all)),
    })
}

/// The path of a regular file in a layer, without what says that one of another layer is gone.
fn regular<R: Read>(entry: &Entry<'_, R>) -> Option<PathBuf> {
    let path = entry.path().ok()?;
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    let path: PathBuf = parts.collect();
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let whiteout = path.file_name()?.to_string_lossy().starts_with(WHITEOUT);
    (plain && !whiteout && matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous))
        .then_some(path)
}

/// The files of a layer that are not so below that directory, each with why.
fn compare(blob: &Path, unpacked: &Path) -> Result<Vec<(PathBuf, String)>, FsError> {
    let mut wrong: Vec<(PathBuf, String)> = Vec::new();
    let Some(mut archive) = archive(blob)? else { return Ok(wrong) };
    for entry in archive.entries().map_err(unreadable(blob))? {
        let mut entry = entry.map_err(unreadable(blob))?;
        let Some(path) = regular(&entry).filter(|path| is_reached(unpacked, path)) else { continue };
        // Of two of one name the second counts.
        wrong.retain(|(other, _)| *other != path);
        let size = entry.size();
        let found = unpacked.join(&path).symlink_metadata();
        let why = match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is gone".to_owned()),
            Err(error) => Some(format!("cannot be looked at: {error}")),
            Ok(found) if !found.is_file() => Some("is no file".to_owned()),
            Ok(found) if found.len() != size => Some(format!("has {} bytes, and not {size}", found.len())),
            Ok(_) => {
                let same = is_same(&mut entry, &unpacked.join(&path)).map_err(unreadable(blob))?;
                (!same).then(|| "has other bytes".to_owned())
            }
        };
        wrong.extend(why.map(|why| (path, why)));
    }
    Ok(wrong)
}

/// Whether no directory on the way is a link: what that leads to another layer may have.
fn is_reached(top: &Path, path: &Path) -> bool {
    let parents = path.parent().into_iter().flat_map(Path::ancestors);
    let is_link = |parent: &Path| top.join(parent).is_symlink();
    !parents.filter(|parent| !parent.as_os_str().is_empty()).any(is_link)
}

fn is_same(entry: &mut impl Read, path: &Path) -> io::Result<bool> {
    let mut file = host::fs::open_regular(path).map_err(|error| error.source)?;
    let (mut wanted, mut found) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = entry.read(&mut wanted)?;
        if read == 0 {
            return Ok(true);
        }
        if file.read_exact(&mut found[..read]).is_err() || found[..read] != wanted[..read] {
            return Ok(false);
        }
    }
}

/// Writes a file as its layer has it: whole, or not at all.
fn put_back(blob: &Path, file: &Path, at: &Path) -> Result<bool, FsError> {
    let name = file.strip_prefix("/").unwrap_or(file);
    let Some(mut archive) = archive(blob)? else { return Ok(false) };
    let mut done = false;
    for entry in archive.entries().map_err(unreadable(blob))? {
        let mut entry = entry.map_err(unreadable(blob))?;
        if regular(&entry).as_deref() == Some(name) {
            let file = packed(&mut entry).map_err(unreadable(blob))?;
            file.write(at)?;
            done = true;
        }
    }
    Ok(done)
}

/// A file as a layer has it.
struct Packed {
    content: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    modified: SystemTime,
    attributes: Vec<(String, Vec<u8>)>,
}

fn packed<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Packed> {
    let attributes = attributes(entry)?;
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    let (owner, mode) = ((id(header.uid()?)?, id(header.gid()?)?), header.mode()? & 0o7777);
    let modified = UNIX_EPOCH + Duration::from_secs(header.mtime()?);
    let mut content = Vec::new();
    entry.read_to_end(&mut content)?;
    Ok(Packed { content, mode, owner, modified, attributes })
}

impl Packed {
    fn write(&self, at: &Path) -> Result<(), FsError> {
        host::fs::write_owned(at, &self.content, self.mode, Some(self.owner))?;
        let put = || {
            // A file that gets another owner loses the bits by which it runs as that one.
            std::fs::set_permissions(at, Permissions::from_mode(self.mode))?;
            for (name, value) in &self.attributes {
                rustix::fs::setxattr(at, name.as_str(), value, rustix::fs::XattrFlags::empty())?;
            }
            let file = File::open(at)?;
            file.set_modified(self.modified)?;
            file.sync_all()
        };
        put().map_err(|source| FsError { verb: "write", path: at.to_owned(), source })
    }
}

/// Extended attributes, such as a program's capabilities.
fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix(ATTRIBUTE));
        found.extend(name.map(|name| (name.to_owned(), extension.value_bytes().to_vec())));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
