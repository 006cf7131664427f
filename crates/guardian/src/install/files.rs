//! The installer's files.

use std::path::{Path, PathBuf};

use host::fs::FsError;
use names::path::GUARDIAN_FILE;

use super::InstallOptions;

/// What stands for the image in the ConfigMap's manifest.
pub const PLACEHOLDER: &str = "image: IMAGE";
/// Nobody but root reads it.
const FILE_MODE: u32 = 0o600;

/// Something could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file operation.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The manifest has no place for the image.
    #[error("{} does not have `{PLACEHOLDER}` once", .0.display())]
    NoPlaceholder(PathBuf),
}

/// Makes the static pod be as it should; returns it when it had to be written.
///
/// # Errors
/// [`FilesError`]; what was there before and could not be replaced is intact.
pub fn put(options: &InstallOptions, image: &str) -> Result<Option<PathBuf>, FilesError> {
    let text = manifest(&options.manifest_from, image)?;
    let path = options.static_pod_dir.join(GUARDIAN_FILE);
    Ok(host::fs::write_if_changed(&path, text.as_bytes(), FILE_MODE)?.then_some(path))
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
    use std::os::unix::fs::PermissionsExt;

    struct Node {
        _dir: tempfile::TempDir,
        options: InstallOptions,
    }

    /// A ConfigMap's volume, and a host without anything of it.
    fn node() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        host::fs::create_dir_all(&at("manifests"), 0o755).unwrap();
        let manifest =
            "spec:\n  containers:\n  - name: guardian\n    # By whom: see IMAGE.\n    image: IMAGE\n";
        host::fs::write(&at("pod.yaml"), manifest.as_bytes(), 0o644).unwrap();
        let options = InstallOptions {
            namespace: "kube-system".to_owned(),
            pod_name: "p".to_owned(),
            node_name: "n".to_owned(),
            addresses: Vec::new(),
            manifest_from: at("pod.yaml"),
            static_pod_dir: at("manifests"),
        };
        Node { options, _dir: dir }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_manifest_is_put_there_once_and_again_when_it_vanishes() {
        let Node { options, _dir } = &node();
        let pod = options.static_pod_dir.join(GUARDIAN_FILE);
        assert_eq!(put(options, "kubestrap:1").unwrap().as_ref(), Some(&pod));
        let text = host::fs::read_to_string(&pod).unwrap();
        assert!(text.ends_with("    # By whom: see IMAGE.\n    image: kubestrap:1\n"), "{text}");
        assert_eq!(mode(&pod), 0o600);
        assert_eq!(put(options, "kubestrap:1").unwrap(), None);
        host::fs::remove_file(&pod).unwrap();
        assert_eq!(put(options, "kubestrap:1").unwrap().as_ref(), Some(&pod));
        assert_eq!(put(options, "kubestrap:2").unwrap(), Some(pod));
    }

    #[test]
    fn nothing_is_taken_away_when_the_source_is_broken() {
        let Node { options, _dir } = &node();
        put(options, "kubestrap:1").unwrap();
        let before = host::fs::read(&options.static_pod_dir.join(GUARDIAN_FILE)).unwrap();
        host::fs::write(&options.manifest_from, b"image: other\n", 0o644).unwrap();
        assert!(matches!(put(options, "kubestrap:1"), Err(FilesError::NoPlaceholder(_))));
        assert_eq!(host::fs::read(&options.static_pod_dir.join(GUARDIAN_FILE)).unwrap(), before);
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
