//! Getting things out of a bundle: images as a tar stream for a container runtime, programs as
//! files. Both are streamed, and verified on the way.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use host::disk::Steady;
use tar::{EntryType, Header};

use crate::blob::path_of;
use crate::digest::{Digest, Hashing, copy};
use crate::inputs::hash_file;
use crate::oci::{self, Annotations, Descriptor, Index, annotation};
use crate::{Bundle, BundleError, Program, Result};

impl Bundle {
    /// Writes an OCI layout with only these images as a tar stream, as `ctr images import` takes
    /// it, each under all its names. Layers that several images have are written once.
    ///
    /// # Errors
    /// [`BundleError::NoImage`] for a name that is not in the bundle, [`BundleError::Corrupt`] for
    /// a damaged blob (what was written must not be used then), [`BundleError::Io`].
    pub fn export_tar(&self, out: impl Write, names: &[&str]) -> Result<()> {
        let selected = names.iter().map(|name| self.image(name)).collect::<Result<Vec<_>>>()?;
        let named = selected.iter().flat_map(|(image, descriptor, _)| {
            image.stored_names().map(|name| {
                let mut named = (*descriptor).clone();
                named.annotations.insert(annotation::IMAGE_NAME.to_owned(), name);
                named
            })
        });
        let index = Index::new(named.collect(), Annotations::new());
        let failed = || BundleError::io("export", self.dir());
        let index = serde_json::to_vec(&index).map_err(|e| failed()(e.into()))?;

        let mut tar = tar::Builder::new(out);
        append(&mut tar, oci::LAYOUT_FILE, oci::LAYOUT.len() as u64, oci::LAYOUT).map_err(failed())?;
        append(&mut tar, oci::INDEX_FILE, index.len() as u64, index.as_slice()).map_err(failed())?;
        let mut written: Vec<&Digest> = Vec::new();
        for (_, descriptor, manifest) in selected {
            for blob in std::iter::once(descriptor).chain(manifest.blobs()) {
                if !written.contains(&&blob.digest) {
                    self.append_blob(&mut tar, blob)?;
                    written.push(&blob.digest);
                }
            }
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(failed())
    }

    fn append_blob<W: Write>(&self, tar: &mut tar::Builder<W>, blob: &Descriptor) -> Result<()> {
        let path = path_of(self.dir(), &blob.digest);
        let file = File::open(&path).map_err(BundleError::io("open", &path))?;
        let mut reader = Hashing::new(file.take(blob.size));
        let name = format!("blobs/sha256/{}", blob.digest.hex());
        append(tar, &name, blob.size, &mut reader).map_err(BundleError::io("export", &path))?;
        self.expect(&blob.digest, &reader.finish().1)
    }

    /// Puts a file of an image, given by its path there, at `dest` with mode 0755. For programs that are to
    /// be asked something before their image is on a node.
    ///
    /// # Errors
    /// [`BundleError::NoImage`], [`BundleError::NoProgram`] when the image has no such file,
    /// [`BundleError::Corrupt`], or what the file system answered.
    pub fn extract_file(&self, image: &str, path: &str, dest: &Path) -> Result<()> {
        let (.., manifest) = self.image(image)?;
        let wanted = Path::new(path.trim_start_matches('/'));
        // The last layer that has it counts; a program is in the last of all.
        for layer in manifest.layers.iter().rev() {
            let blob = path_of(self.dir(), &layer.digest);
            self.verify_blob(&layer.digest)?;
            let failed = || BundleError::io("unpack", &blob);
            let file = File::open(&blob).map_err(failed())?;
            let mut archive = tar::Archive::new(zstd::Decoder::new(file).map_err(failed())?);
            for entry in archive.entries().map_err(failed())? {
                let mut entry = entry.map_err(failed())?;
                if entry.path().map_err(failed())? != wanted {
                    continue;
                }
                let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(dest);
                let mut out = Steady::new(out.map_err(BundleError::io("write", dest))?);
                return io::copy(&mut entry, &mut out).map(drop).map_err(BundleError::io("write", dest));
            }
        }
        Err(BundleError::NoProgram { name: path.to_owned(), dir: self.dir().to_owned() })
    }

    /// Puts a host program at `dest` with mode 0755, in one step: who runs the old one goes on
    /// with it. Returns false when `dest` had that content already.
    ///
    /// # Errors
    /// [`BundleError::NoProgram`], [`BundleError::Corrupt`], or what the file system answered;
    /// `dest` is as it was then.
    pub fn extract_program(&self, name: &str, dest: &Path) -> Result<bool> {
        let position = self.programs().iter().position(|program| program.name == name);
        let found = position.and_then(|i| self.programs().get(i).zip(self.program_blobs.get(i)));
        let (program, blob) = found
            .ok_or_else(|| BundleError::NoProgram { name: name.to_owned(), dir: self.dir().to_owned() })?;
        if is_installed(program, dest) {
            return Ok(false);
        }
        let temp = temp_name(dest);
        let result = self.unpack(program, &blob.digest, &temp);
        let result = result.and_then(|()| Ok(host::fs::rename(&temp, dest)?));
        if result.is_err() {
            // The cause is what counts.
            let _ = host::fs::remove_file(&temp);
        }
        result.map(|()| true)
    }

    fn unpack(&self, program: &Program, blob: &Digest, temp: &Path) -> Result<()> {
        // A blob that does not unpack is judged by its digest first: that names who needs it.
        let broken = |path: PathBuf| {
            move |source| match self.verify_blob(blob) {
                Err(corrupt) => corrupt,
                Ok(()) => BundleError::io("unpack", path)(source),
            }
        };
        let path = path_of(self.dir(), blob);
        let file = File::open(&path).map_err(broken(path.clone()))?;
        let mut decoder =
            zstd::Decoder::new(Hashing::new(file)).map_err(BundleError::io("unpack", path.clone()))?;
        let failed = || BundleError::io("write", temp);
        let out = OpenOptions::new().write(true).create_new(true).mode(0o755).open(temp).map_err(failed())?;
        let mut out = Hashing::new(Steady::new(out));
        copy(&mut decoder, &mut out).map_err(broken(path.clone()))?;
        let (out, content, _) = out.finish();
        let mut rest = decoder.finish();
        copy(&mut rest, &mut io::sink()).map_err(BundleError::io("read", path))?;
        let (_, actual, _) = rest.into_inner().finish();
        self.expect(blob, &actual)?;
        self.expect_content(program, blob, &content)?;
        // The umask may have taken bits away at creation.
        let out = out.into_inner();
        out.set_permissions(Permissions::from_mode(0o755)).map_err(failed())?;
        out.sync_all().map_err(failed())
    }

    fn expect_content(&self, program: &Program, blob: &Digest, content: &Digest) -> Result<()> {
        if *content == program.digest {
            return Ok(());
        }
        Err(BundleError::Corrupt {
            blob: blob.clone(),
            path: path_of(self.dir(), blob),
            expected: format!("content {}", program.digest),
            actual: format!("content {content}"),
            needed_by: vec![format!("program {}", program.name)],
        })
    }
}

fn is_installed(program: &Program, dest: &Path) -> bool {
    let Ok(meta) = dest.symlink_metadata() else { return false };
    let alike = meta.is_file() && meta.len() == program.size && meta.permissions().mode() & 0o7777 == 0o755;
    alike && hash_file(dest).is_ok_and(|(digest, _)| digest == program.digest)
}

fn temp_name(dest: &Path) -> PathBuf {
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    dest.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, size: u64, data: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    tar.append_data(&mut header, path, data)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fixture::{Fixture, program};

    #[test]
    fn a_file_of_an_image_is_extracted_and_a_missing_one_is_named() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let dest = fixture.path("apiserver");
        let image = &bundle.image_of("registry.k8s.io/kube-apiserver").unwrap().name;
        bundle.extract_file(image, "/usr/local/bin/kube-apiserver", &dest).unwrap();
        assert_eq!(host::fs::read(&dest).unwrap(), program("kube-apiserver"));
        assert_eq!(dest.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        let missing = bundle.extract_file(image, "/usr/bin/none", &dest).unwrap_err();
        assert!(matches!(missing, BundleError::NoProgram { .. }), "{missing}");
        let unknown = bundle.extract_file("a/b:c", "/x", &dest).unwrap_err();
        assert!(matches!(unknown, BundleError::NoImage { .. }), "{unknown}");
    }

    #[test]
    fn a_program_is_extracted_once_with_mode_and_content() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let dest = fixture.path("kubelet");
        assert!(bundle.extract_program("kubelet", &dest).unwrap());
        assert_eq!(host::fs::read(&dest).unwrap(), program("kubelet"));
        assert_eq!(dest.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        assert!(!bundle.extract_program("kubelet", &dest).unwrap());
        host::fs::write(&dest, b"something else", 0o600).unwrap();
        assert!(bundle.extract_program("kubelet", &dest).unwrap());
        assert_eq!(bundle.program("kubelet").unwrap().digest, hash_file(&dest).unwrap().0);
        assert!(matches!(bundle.extract_program("vi", &dest), Err(BundleError::NoProgram { .. })));
    }

    #[test]
    fn a_program_with_a_damaged_blob_is_not_installed() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let dest = fixture.path("runc");
        host::fs::write(&dest, b"old", 0o755).unwrap();
        let at = bundle.programs().iter().position(|p| p.name == "runc").unwrap();
        let path = path_of(bundle.dir(), &bundle.program_blobs[at].digest);
        let bytes = host::fs::read(&path).unwrap();
        // In zstd's header, and in the data.
        for position in [0, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            host::fs::write(&path, &damaged, 0o644).unwrap();
            let error = bundle.extract_program("runc", &dest).unwrap_err();
            assert!(error.to_string().ends_with("needed by program runc"), "{error}");
            assert_eq!(host::fs::read(&dest).unwrap(), b"old");
        }
        let beside = host::fs::list(dest.parent().unwrap()).unwrap();
        assert!(beside.iter().all(|p| p.extension().is_none()), "{beside:?}");
    }

    #[test]
    fn an_exported_tar_is_a_layout_of_the_chosen_images_with_each_blob_once() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let names = ["registry.k8s.io/kube-proxy:v1.2.3", "ghcr.io/flannel-io/flannel:v1.2.3"];
        let mut tar = Vec::new();
        bundle.export_tar(&mut tar, &names).unwrap();

        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(Digest::of(&content).hex(), hex);
            }
            assert!(files.insert(path.clone(), content).is_none(), "{path} twice");
        }
        let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
        let named: Vec<_> = index.manifests.iter().map(|d| d.note(oci::annotation::IMAGE_NAME)).collect();
        let stored = names.map(|name| bundle.image(name).unwrap().0.stored_names());
        assert_eq!(named, stored.as_flattened());
        // 2 manifests, 2 configs; base, network, kube-proxy; busybox, flanneld.
        assert_eq!(files.len(), 2 + 4 + 5);
        let error = bundle.export_tar(io::sink(), &["registry.k8s.io/nope:v1"]).unwrap_err();
        assert!(matches!(error, BundleError::NoImage { .. }), "{error}");
    }

    #[test]
    fn a_damaged_blob_is_not_exported_unseen() {
        let fixture = Fixture::new();
        let (bundle, _) = fixture.create();
        let path = path_of(bundle.dir(), &bundle.image_manifests[0].1.layers[1].digest);
        let mut bytes = host::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        host::fs::write(&path, &bytes, 0o644).unwrap();
        let error = bundle.export_tar(io::sink(), &[&bundle.images()[0].name]).unwrap_err();
        assert!(matches!(error, BundleError::Corrupt { .. }), "{error}");
    }
}
