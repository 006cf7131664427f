//! The installer's files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use host::fs::FsError;
use names::path::GUARDIAN_FILE;

use super::InstallOptions;

/// What stands for the image in the ConfigMap's manifest.
pub const PLACEHOLDER: &str = "image: IMAGE";
/// Nobody but root reads these.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Something could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file operation.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The Secret's volume is empty: nothing is taken away from the node for that.
    #[error("there are no credentials in {}", .0.display())]
    NoCredentials(PathBuf),
    /// The manifest has no place for the image.
    #[error("{} does not have `{PLACEHOLDER}` once", .0.display())]
    NoPlaceholder(PathBuf),
}

/// Makes all files be as they should; returns those that it had to write or remove.
///
/// The credentials come first: the kubelet starts the guardian as soon as the manifest is there.
///
/// # Errors
/// [`FilesError`]; what was there before and could not be replaced is intact.
pub fn put(options: &InstallOptions, image: &str) -> Result<Vec<PathBuf>, FilesError> {
    let mut written = credentials(&options.credentials_from, &options.credentials_to)?;
    let text = manifest(&options.manifest_from, image)?;
    let path = options.static_pod_dir.join(GUARDIAN_FILE);
    if host::fs::write_if_changed(&path, text.as_bytes(), FILE_MODE)? {
        written.push(path);
    }
    Ok(written)
}

fn credentials(from: &Path, to: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let sources = visible(from)?;
    if sources.is_empty() {
        return Err(FilesError::NoCredentials(from.to_owned()));
    }
    host::fs::create_dir_all(to, DIR_MODE)?;
    let mut changed = Vec::new();
    let mut names: BTreeSet<OsString> = BTreeSet::new();
    for source in sources {
        let Some(name) = source.file_name() else { continue };
        let path = to.join(name);
        names.insert(name.to_owned());
        if host::fs::write_if_changed(&path, &host::fs::read(&source)?, FILE_MODE)? {
            changed.push(path);
        }
    }
    for path in visible(to)? {
        if path.file_name().is_some_and(|name| !names.contains(name)) && path.is_file() {
            host::fs::remove_file(&path)?;
            changed.push(path);
        }
    }
    Ok(changed)
}

/// Removes the credentials that [`put`] wrote to this directory.
///
/// # Errors
/// When a file cannot be removed; another call goes on.
pub fn take_away(credentials: &Path) -> Result<(), FsError> {
    visible(credentials)?
        .iter()
        .filter(|path| path.is_file())
        .try_for_each(|path| host::fs::remove_file(path).map(drop))
}

/// What does not begin with a dot: the kubelet's own names and temp files do.
fn visible(dir: &Path) -> Result<Vec<PathBuf>, FsError> {
    let hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    Ok(host::fs::list(dir)?.into_iter().filter(|path| !hidden(path)).collect())
}

/// Filled in as text: the comments reach whoever reads the node's files.
fn manifest(from: &Path, image: &str) -> Result<String, FilesError> {
    let text = host::fs::read_to_string(from)?;
    let once =
        text.lines().filter(|line| line.trim_start().trim_start_matches("- ") == PLACEHOLDER).count() == 1;
    if !once {
        return Err(FilesError::NoPlaceholder(from.to_owned()));
    }
    Ok(text.replacen(PLACEHOLDER, &format!("image: {image}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Node {
        _dir: tempfile::TempDir,
        options: InstallOptions,
    }

    /// A Secret's and a ConfigMap's volume as the kubelet makes them, and a host without anything of it.
    fn node() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        host::fs::create_dir_all(&at("secret/..1"), 0o755).unwrap();
        host::fs::write(&at("secret/..1/kubeconfig"), b"key", 0o400).unwrap();
        symlink("..1", at("secret/..data")).unwrap();
        symlink("..data/kubeconfig", at("secret/kubeconfig")).unwrap();
        host::fs::create_dir_all(&at("manifests"), 0o755).unwrap();
        let manifest =
            "spec:\n  containers:\n  - name: guardian\n    # By whom: see IMAGE.\n    image: IMAGE\n";
        host::fs::write(&at("pod.yaml"), manifest.as_bytes(), 0o644).unwrap();
        let options = InstallOptions {
            namespace: "kube-system".to_owned(),
            pod_name: "p".to_owned(),
            credentials_from: at("secret"),
            manifest_from: at("pod.yaml"),
            credentials_to: at("host/guardian"),
            static_pod_dir: at("manifests"),
        };
        Node { options, _dir: dir }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn credentials_and_manifest_are_put_there_once_and_again_when_they_vanish() {
        let Node { options, _dir } = &node();
        let (pod, key) =
            (options.static_pod_dir.join(GUARDIAN_FILE), options.credentials_to.join("kubeconfig"));
        assert_eq!(put(options, "kubestrap:1").unwrap(), [key.clone(), pod.clone()]);
        let text = host::fs::read_to_string(&pod).unwrap();
        assert!(text.ends_with("    # By whom: see IMAGE.\n    image: kubestrap:1\n"), "{text}");
        assert_eq!(host::fs::read(&key).unwrap(), b"key");
        assert_eq!([mode(&options.credentials_to), mode(&key), mode(&pod)], [0o700, 0o600, 0o600]);
        assert_eq!(put(options, "kubestrap:1").unwrap(), [] as [PathBuf; 0]);
        host::fs::remove_file(&pod).unwrap();
        assert_eq!(put(options, "kubestrap:1").unwrap(), std::slice::from_ref(&pod));
        assert_eq!(put(options, "kubestrap:2").unwrap(), [pod]);
        host::fs::write(&options.credentials_to.join("old"), b"", 0o600).unwrap();
        assert_eq!(put(options, "kubestrap:2").unwrap(), [options.credentials_to.join("old")]);
        take_away(&options.credentials_to).unwrap();
        assert!(!key.exists());
        take_away(&options.credentials_to).unwrap();
    }

    #[test]
    fn nothing_is_taken_away_when_the_source_is_broken() {
        let Node { options, _dir } = &node();
        put(options, "kubestrap:1").unwrap();
        let before = host::fs::read(&options.static_pod_dir.join(GUARDIAN_FILE)).unwrap();
        host::fs::write(&options.manifest_from, b"image: other\n", 0o644).unwrap();
        assert!(matches!(put(options, "kubestrap:1"), Err(FilesError::NoPlaceholder(_))));
        host::fs::remove_dir_all(&options.credentials_from).unwrap();
        assert!(matches!(put(options, "kubestrap:1"), Err(FilesError::NoCredentials(_))));
        assert_eq!(host::fs::read(&options.static_pod_dir.join(GUARDIAN_FILE)).unwrap(), before);
        assert_eq!(host::fs::read(&options.credentials_to.join("kubeconfig")).unwrap(), b"key");
    }

    #[test]
    fn the_manifest_that_kubestrap_renders_has_a_place_for_the_image() {
        let text = include_str!("../../../assets/manifests/static/kubestrap-guardian.yaml");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(GUARDIAN_FILE);
        host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
        assert!(manifest(&path, "kubestrap:1").unwrap().contains("\n    image: kubestrap:1\n"));
    }
}
