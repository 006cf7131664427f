//! A containerd's directory with one image of one layer, for tests.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bolt::{Bucket, Entry, bucket, written};
use crate::image::digest_of;

pub(crate) const IMAGE: &str = "registry.k8s.io/tool:v1";
/// The program in it.
pub(crate) const TOOL: &[u8] = &[7; 20_000];

/// See the module.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layer: String,
    pub(crate) manifest: String,
}

pub(crate) fn value(bytes: impl AsRef<[u8]>) -> Entry {
    Entry::Value(bytes.as_ref().to_vec())
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = dir.path().join(crate::BLOBS);
        let put = |content: &[u8]| {
            let digest = digest_of(content);
            host::fs::create_dir_all(&blobs, 0o755).unwrap();
            host::fs::write(&blobs.join(&digest[7..]), content, 0o444).unwrap();
            digest
        };
        let tar = tar();
        let packed = zstd::encode_all(tar.as_slice(), 1).unwrap();
        let (diff, layer) = (digest_of(&tar), put(&packed));
        let config = put(serde_json::json!({"rootfs": {"diff_ids": [diff]}}).to_string().as_bytes());
        let manifest = put(
            serde_json::json!({"config": {"digest": config}, "layers": [{"digest": layer, "size": packed.len()}]})
                .to_string()
                .as_bytes(),
        );
        let found = Self { dir, layer, manifest };
        found.unpack(&tar);
        found.write_databases(&diff);
        found
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.at("io.containerd.metadata.v1.bolt/meta.db")
    }

    pub(crate) fn metadata(&self) -> PathBuf {
        self.at("io.containerd.snapshotter.v1.overlayfs/metadata.db")
    }

    /// What is unpacked.
    pub(crate) fn unpacked(&self, path: &str) -> PathBuf {
        self.at("io.containerd.snapshotter.v1.overlayfs/snapshots/3/fs").join(path)
    }

    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.at(crate::BLOBS).join(&digest[7..])
    }

    fn unpack(&self, tar: &[u8]) {
        let fs = self.unpacked("");
        host::fs::create_dir_all(&fs, 0o755).unwrap();
        tar::Archive::new(tar).unpack(&fs).unwrap();
    }

    fn write_databases(&self, diff: &str) {
        let blocks = blocks(&self.unpacked(""));
        let snapshot = bucket([
            ("id", value([3])),
            ("size", value(varint(blocks * 512 * 2))),
            ("updatedat", value(time(SystemTime::now()))),
        ]);
        let name = format!("k8s.io/2/{diff}");
        let snapshots = Bucket([(name.as_bytes().to_vec(), Entry::Bucket(snapshot))].into());
        put(
            &self.metadata(),
            bucket([("v1", Entry::Bucket(bucket([("snapshots", Entry::Bucket(snapshots))])))]),
        );
        let target = bucket([("target", Entry::Bucket(bucket([("digest", value(&self.manifest))])))]);
        let named = bucket([(diff, Entry::Bucket(bucket([("name", value(name))])))]);
        let namespace = bucket([
            ("images", Entry::Bucket(bucket([(IMAGE, Entry::Bucket(target))]))),
            ("snapshots", Entry::Bucket(bucket([("overlayfs", Entry::Bucket(named))]))),
        ]);
        put(&self.meta(), bucket([("v1", Entry::Bucket(bucket([("k8s.io", Entry::Bucket(namespace))])))]));
    }
}

fn put(path: &Path, bucket: Bucket) {
    host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
    host::fs::write(path, &written(&bucket), 0o600).unwrap();
}

/// A program, a file, a link, and what says that a file of a layer below is gone.
fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        let ours = rustix::process::geteuid().as_raw();
        header.set_uid(ours.into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        tar.append_data(&mut header, path, content).unwrap();
    };
    add("usr/bin/tool", 0o755, TOOL);
    add("etc/tool.conf", 0o644, b"a=b\n");
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "bin", "usr/bin").unwrap();
    tar.into_inner().unwrap()
}

fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let found = path.symlink_metadata().unwrap();
    let inside = if found.is_dir() { host::fs::list(path).unwrap() } else { Vec::new() };
    found.blocks() + inside.iter().map(|path| blocks(path)).sum::<u64>()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn time(moment: SystemTime) -> Vec<u8> {
    let since: Duration = moment.duration_since(UNIX_EPOCH).unwrap();
    let seconds = i64::try_from(since.as_secs()).unwrap() + 62_135_596_800;
    [&[1][..], &seconds.to_be_bytes(), &since.subsec_nanos().to_be_bytes(), &[0xff, 0xff]].concat()
}
