//! The manifests in a directory of static pods, and what they need of their host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use objects::{items, pod};
use serde_json::Value;

use crate::files::Files;

/// A hostPath volume whose source has to be there before the pod is started
/// (`k8s.io/api/core/v1.HostPathType`).
const MUST_EXIST: [&str; 5] = ["Directory", "File", "Socket", "CharDevice", "BlockDevice"];

/// A static pod's manifest and the file that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The file's name.
    pub(crate) file: String,
    /// The pod.
    pub(crate) pod: Value,
}

/// What lies in a directory of static pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifests {
    /// Where they lie on the node.
    pub(crate) dir: PathBuf,
    /// Pods that can be read.
    pub(crate) pods: Vec<Manifest>,
    /// Files that cannot, each with why.
    pub(crate) unreadable: Vec<String>,
}

impl Manifests {
    /// Reads a directory as the kubelet does: every file but those whose name begins with a dot.
    pub(crate) fn read(files: &Files, dir: &Path) -> Self {
        let mut manifests = Self { dir: dir.to_owned(), ..Self::default() };
        for path in host::fs::list(&files.path(dir)).unwrap_or_default() {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if file.starts_with('.') || path.is_dir() {
                continue;
            }
            let text = files.text(dir.join(&file)).map_err(|error| error.to_string());
            let documents = text.and_then(|text| assets::parse_documents(&text).map_err(|e| e.to_string()));
            match documents.map(|documents| documents.into_iter().next()) {
                Ok(Some(document)) => manifests.pods.push(Manifest { file, pod: document.value }),
                Ok(None) => manifests.unreadable.push(format!("{file} is empty")),
                Err(why) => manifests.unreadable.push(format!("{file}: {why}")),
            }
        }
        manifests
    }

    /// Which files name a pod that another file names: the kubelet runs one of them, and not always the same.
    pub(crate) fn twice(&self) -> impl Iterator<Item = String> {
        let mut files: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for Manifest { file, pod } in &self.pods {
            files.entry((objects::namespace(pod), objects::name(pod))).or_default().push(file);
        }
        let twice = files.into_iter().filter(|(_, files)| files.len() > 1);
        twice.map(|((_, name), files)| {
            format!("{} files name the pod {name}: {}", files.len(), files.join(", "))
        })
    }

    /// The pod of that name.
    pub(crate) fn named(&self, name: &str) -> Option<&Manifest> {
        self.pods.iter().find(|manifest| objects::name(&manifest.pod) == name)
    }
}

/// True when the pod cannot start without a registry although its images are there.
pub(crate) fn always_pulls(pod: &Value) -> bool {
    pod::containers(pod).any(|container| container["imagePullPolicy"] == "Always")
}

/// What is missing on the host of the pod's hostPath volumes: what must be there, and what would
/// be made empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MissingPaths {
    pub(crate) fatal: Vec<String>,
    pub(crate) minor: Vec<String>,
}

/// Looks for the sources of the pod's hostPath volumes.
pub(crate) fn missing_host_paths(files: &Files, pod: &Value) -> MissingPaths {
    let mut missing = MissingPaths::default();
    for volume in pod::volumes(pod) {
        let Some(path) = volume["hostPath"]["path"].as_str() else { continue };
        let kind = volume["hostPath"]["type"].as_str().unwrap_or_default();
        let is_there = match kind {
            "Directory" => files.is_dir(path),
            "File" => files.path(path).is_file(),
            _ => files.exists(path).unwrap_or(false),
        };
        if is_there {
            continue;
        }
        if MUST_EXIST.contains(&kind) {
            missing.fatal.push(format!("{path} is missing or no {}", kind.to_lowercase()));
        } else if kind.is_empty() {
            missing.minor.push(format!("{path} is missing and would be made an empty directory"));
        }
    }
    missing.fatal.extend(missing_files(files, pod));
    missing
}

/// Files that a flag names below something that the container may only read: nobody makes them.
fn missing_files(files: &Files, pod: &Value) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for container in pod::containers(pod) {
        let read_only = |path: &str| {
            let mounts = items(&container["volumeMounts"]).iter().filter(|mount| mount["readOnly"] == true);
            let mut dirs = mounts.filter_map(|mount| mount["mountPath"].as_str());
            dirs.any(|dir| Path::new(path).starts_with(dir) && path != dir)
        };
        let named = pod::words(container).filter_map(|word| word.split_once('=').map(|(_, value)| value));
        for path in named.filter(|path| path.starts_with('/') && read_only(path)) {
            let Some(on_host) = pod::on_host(pod, container, path) else { continue };
            let there = on_host.parent().is_none_or(|dir| !files.is_dir(dir));
            if !there && !files.exists(&on_host).unwrap_or(true) {
                missing.insert(format!("{} is missing", on_host.display()));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use node::Root;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_must_be_there_and_what_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        host::fs::create_dir_all(&dir.path().join("there"), 0o755).unwrap();
        let volume = |path: &str, kind: &str| json!({"name": "v", "hostPath": {"path": path, "type": kind}});
        let pod = json!({"spec": {"volumes": [
            volume("/there", "Directory"), volume("/there", "File"), volume("/gone", "Directory"),
            volume("/made", "DirectoryOrCreate"), volume("/plain", "")]}});
        let missing = missing_host_paths(&files, &pod);
        assert_eq!(missing.fatal, ["/there is missing or no file", "/gone is missing or no directory"]);
        assert_eq!(missing.minor, ["/plain is missing and would be made an empty directory"]);
    }

    #[test]
    fn a_file_that_a_flag_names_must_be_there_where_nobody_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        for dir in ["/keys", "/data"].map(|name| dir.path().join(&name[1..])) {
            host::fs::create_dir_all(&dir, 0o755).unwrap();
        }
        host::fs::write(&dir.path().join("keys/ca.crt"), b"", 0o644).unwrap();
        let args = json!([
            "--ca=/secrets/ca.crt",
            "--key=/secrets/ca.key",
            "--dir=/data/x",
            "--dir=/secrets",
            "--v=2"
        ]);
        let pod = json!({"spec": {
            "containers": [{"name": "c", "args": args, "volumeMounts": [
                {"name": "k", "mountPath": "/secrets", "readOnly": true}, {"name": "d", "mountPath": "/data"}]}],
            "volumes": [{"name": "k", "hostPath": {"path": "/keys", "type": "Directory"}},
                {"name": "d", "hostPath": {"path": "/data"}}]}});
        assert_eq!(missing_host_paths(&files, &pod).fatal, ["/keys/ca.key is missing"]);
        // Told once when all of it is gone.
        host::fs::remove_dir_all(&dir.path().join("keys")).unwrap();
        assert_eq!(missing_host_paths(&files, &pod).fatal, ["/keys is missing or no directory"]);
    }

    #[test]
    fn hidden_files_are_no_manifests_and_broken_ones_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            host::fs::write(&dir.path().join(name), text.as_bytes(), 0o600).unwrap();
        };
        write("a.yaml", "kind: Pod\nmetadata: {name: a}\n");
        write(".hidden.yaml", "kind: [");
        write("broken.yaml", "kind: [");
        let manifests = Manifests::read(&Files::new(Root::below(dir.path())), Path::new("/"));
        assert!(manifests.named("a").is_some());
        assert_eq!(manifests.unreadable.len(), 1, "{manifests:?}");
        assert!(manifests.unreadable[0].starts_with("broken.yaml: "), "{manifests:?}");
    }
}
