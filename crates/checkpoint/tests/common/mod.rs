//! What the tests share: a host's root directory in which volumes lie as the kubelet makes them.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use checkpoint::{Checkpoint, Inputs, Volumes, VolumesError, build, read_volumes};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const UID: &str = "0c9f4f0e-6d1c-4b7e-9d0a-111111111111";

/// A file that a volume holds: path, content, mode, uid, gid.
pub(crate) type Content<'a> = (&'a str, &'a [u8], u32, u32, u32);

/// The kubelet's side: a host root with pods' volumes.
pub(crate) struct Kubelet {
    pub(crate) host: tempfile::TempDir,
}

impl Kubelet {
    pub(crate) fn new() -> Self {
        Self { host: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn volume_dir(&self, plugin: &str, volume: &str) -> PathBuf {
        let pods = self.host.path().join(names::path::below_root(names::path::KUBELET)).join("pods");
        pods.join(UID).join("volumes").join(plugin).join(volume)
    }

    /// As `AtomicWriter.Write` does it: a directory of its own for each content, and one link that is replaced.
    pub(crate) fn write(&self, plugin: &str, volume: &str, files: &[Content<'_>]) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let target = self.volume_dir(plugin, volume);
        fs::create_dir_all(&target).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let data = target.join(format!("..2026_11_22_10_00_00.{number}"));
        fs::create_dir(&data).unwrap();
        chmod(&data, 0o755);
        for (path, content, mode, uid, gid) in files {
            let file = data.join(path);
            let parent = file.parent().unwrap();
            if parent != data {
                fs::create_dir_all(parent).unwrap();
                own(parent, 0, *gid);
                chmod(parent, 0o2755);
            }
            // As the kubelet does, not synced.
            File::create(&file).unwrap().write_all(content).unwrap();
            chmod(&file, *mode);
            own(&file, *uid, *gid);
        }
        let old = fs::read_link(target.join("..data"));
        symlink(data.file_name().unwrap(), target.join("..data_tmp")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "as the kubelet does, not synced")]
        fs::rename(target.join("..data_tmp"), target.join("..data")).unwrap();
        for (path, ..) in files {
            let first = path.split('/').next().unwrap();
            let _ = symlink(Path::new("..data").join(first), target.join(first));
        }
        if let Ok(old) = old {
            fs::remove_dir_all(target.join(old)).unwrap();
        }
    }

    pub(crate) fn read(&self, pod: &Value) -> Result<Volumes, VolumesError> {
        read_volumes(self.host.path(), Path::new(names::path::KUBELET), pod)
    }

    pub(crate) fn checkpoint(&self, pod: &Value) -> Checkpoint {
        let volumes = self.read(pod).unwrap();
        let none = BTreeMap::new();
        build(&Inputs { pod, volumes: &volumes, instance_env: &none, images: &images() }).unwrap()
    }
}

pub(crate) fn images() -> BTreeMap<String, String> {
    BTreeMap::from([("main".to_owned(), format!("sha256:{}", "ab".repeat(32)))])
}

fn own(path: &Path, uid: u32, gid: u32) {
    let done = lchown(path, Some(uid), Some(gid));
    done.unwrap_or_else(|error| panic!("these tests need root: {error}"));
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A pod of a DaemonSet with one Secret, as the API has it.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-x7x2v", "namespace": "kube-system", "uid": UID,
            "labels": {"app": "web", "controller-revision-hash": "6d4cf56db6"},
            "annotations": {"kubestrap.io/checkpoint": "true"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "web", "controller": true}],
        },
        "spec": {
            "nodeName": "node-a", "hostNetwork": true, "serviceAccountName": "default", "restartPolicy": "Always",
            "containers": [{"name": "main", "image": "web:1", "args": ["--flag"],
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}],
            "volumes": [{"name": "keys", "secret": {"secretName": "keys", "defaultMode": 288}}],
        },
    })
}

/// A kubelet that runs [`pod`], its key being `key`.
pub(crate) fn running(key: &str) -> Kubelet {
    let kubelet = Kubelet::new();
    set_key(&kubelet, key);
    kubelet
}

pub(crate) fn set_key(kubelet: &Kubelet, key: &str) {
    let files: [Content<'_>; 2] =
        [("tls.key", key.as_bytes(), 0o440, 0, 65532), ("ca/ca.crt", b"ca", 0o444, 0, 65532)];
    kubelet.write("kubernetes.io~secret", "keys", &files);
}

/// The checkpoint of [`pod`] with this flag, its key being `key`.
pub(crate) fn checkpoint(flag: &str, key: &str) -> Checkpoint {
    let mut pod = pod();
    pod["spec"]["containers"][0]["args"] = json!([flag]);
    running(key).checkpoint(&pod)
}

pub(crate) fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}
