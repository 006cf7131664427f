//! Generations on disk: whole ones only, the good one always, and every damage told by name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use checkpoint::{Component, Generation, GenerationId, PlaceError, StaticDir, Store, StoreError};
use common::{checkpoint, now};
use host::command::Command;

struct World {
    dir: tempfile::TempDir,
    store: Store,
    statics: StaticDir,
    component: Component,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("checkpoints")).unwrap();
    let manifests = dir.path().join("manifests");
    host::fs::create_dir_all(&manifests, 0o755).unwrap();
    World { statics: StaticDir::open(&manifests), store, dir, component: component() }
}

fn component() -> Component {
    Component { namespace: "kube-system".into(), name: "web".into() }
}

impl World {
    fn write(&self, flag: &str) -> Generation {
        self.store.write(&checkpoint(flag, "key"), now()).unwrap()
    }

    fn ids(&self) -> Vec<GenerationId> {
        self.store.generations(&self.component).unwrap().into_iter().map(|g| g.id).collect()
    }

    fn store_dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn problems(&self, generation: &Generation) -> Vec<String> {
        let problems = self.store.check(generation);
        let relative = |path: &Path| path.strip_prefix(&generation.dir).unwrap().display().to_string();
        problems.iter().map(|p| format!("{}: {}", relative(&p.path), p.message)).collect()
    }
}

#[test]
fn a_generation_comes_back_as_it_was_written() {
    let world = world();
    let written = world.write("--a");
    assert_eq!(world.store.check(&written), []);
    assert_eq!(world.store.generations(&world.component).unwrap(), std::slice::from_ref(&written));
    assert_eq!(world.store.components().unwrap(), std::slice::from_ref(&world.component));
    assert_eq!(written.source.revision.as_deref(), Some("6d4cf56db6"));
    assert_eq!(written.source.uid.as_deref(), Some(common::UID));
    assert_eq!((written.made, &written.images), (now(), &common::images()));
    let key = written.dir.join("files/keys/tls.key");
    let stat = fs::metadata(&key).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o440, 0, 65532));
    assert_eq!(fs::read(&key).unwrap(), b"key");
    for private in [written.dir.parent().unwrap(), &written.dir, &written.dir.join("files")] {
        assert_eq!(fs::metadata(private).unwrap().mode() & 0o7777, 0o700, "{}", private.display());
    }
    let manifest = written.manifest().unwrap();
    let path = manifest["spec"]["volumes"][0]["hostPath"]["path"].as_str().unwrap();
    assert_eq!(Path::new(path), written.dir.join("files/keys"));
}

#[test]
fn one_content_is_one_generation_whatever_pod_it_came_from() {
    let world = world();
    let first = world.write("--a");
    let mut pod = common::pod();
    for (pointer, value) in [
        ("/metadata/uid", "another"),
        ("/metadata/name", "web-zzzzz"),
        ("/spec/nodeName", "node-b"),
        ("/spec/serviceAccountName", "other"),
    ] {
        *pod.pointer_mut(pointer).unwrap() = value.into();
    }
    pod["spec"]["containers"][0]["args"] = serde_json::json!(["--a"]);
    let kubelet = common::running("key");
    pod["metadata"]["uid"] = common::UID.into();
    assert_eq!(world.store.write(&kubelet.checkpoint(&pod), now()).unwrap(), first);
    // Another flag, another key and another mode are other contents.
    let key = world.store.write(&checkpoint("--a", "other"), now()).unwrap();
    let flag = world.write("--b");
    let data = kubelet.volume_dir("kubernetes.io~secret", "keys").join("..data/tls.key");
    fs::set_permissions(data, Permissions::from_mode(0o400)).unwrap();
    let mode = world.store.write(&kubelet.checkpoint(&pod), now()).unwrap();
    assert_eq!(world.ids(), [first.id, key.id, flag.id, mode.id]);
}

#[test]
fn the_good_one_is_a_link_that_is_replaced_whole() {
    let world = world();
    let (first, second) = (world.write("--a"), world.write("--b"));
    assert_eq!(world.store.good(&world.component).unwrap(), None);
    world.store.promote(&world.component, &first.id).unwrap();
    world.store.promote(&world.component, &second.id).unwrap();
    let good = world.store.good(&world.component).unwrap().unwrap();
    assert_eq!((good.id, good.good), (second.id.clone(), true));
    let flags: Vec<bool> =
        world.store.generations(&world.component).unwrap().iter().map(|g| g.good).collect();
    assert_eq!(flags, [false, true]);
    let unknown: GenerationId = "000009-aaaaaaaaaaaa".parse().unwrap();
    let error = world.store.promote(&world.component, &unknown).unwrap_err();
    assert!(matches!(error, StoreError::Unknown { .. }), "{error}");
    assert_eq!(world.store.good(&world.component).unwrap().unwrap().id, second.id);
}

#[test]
fn the_good_one_the_placed_one_and_three_in_all_are_kept() {
    let world = world();
    let all: Vec<GenerationId> = (0..7).map(|n| world.write(&format!("--{n}")).id).collect();
    world.store.promote(&world.component, &all[0]).unwrap();
    let gone = world.store.prune(&world.component, &[all[2].clone()]).unwrap();
    assert_eq!(gone, [all[1].clone(), all[3].clone(), all[4].clone(), all[5].clone()]);
    assert_eq!(world.ids(), [all[0].clone(), all[2].clone(), all[6].clone()]);
    assert_eq!(world.store.prune(&world.component, &[]).unwrap(), []);
    assert_eq!(world.store.good(&world.component).unwrap().unwrap().id, all[0]);
}

#[test]
fn without_a_good_one_the_newest_three_are_kept() {
    let world = world();
    let all: Vec<GenerationId> = (0..5).map(|n| world.write(&format!("--{n}")).id).collect();
    assert_eq!(world.store.prune(&world.component, &[]).unwrap(), all[..2]);
    // A number is never used twice.
    assert_eq!(world.write("--again").id.sequence(), 6);
}

#[test]
fn every_damage_is_told_with_the_name_of_the_file() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 8] = [
        (
            |dir| {
                let path = dir.join("files/keys/tls.key");
                host::fs::write_owned(&path, b"kez", 0o440, Some((0, 65532))).unwrap();
            },
            "files/keys/tls.key: its content is not what was written",
        ),
        (
            |dir| {
                let path = dir.join("files/keys/tls.key");
                host::fs::write_owned(&path, b"", 0o440, Some((0, 65532))).unwrap();
            },
            "files/keys/tls.key: its content is not what was written",
        ),
        (
            |dir| fs::remove_file(dir.join("files/keys/ca/ca.crt")).unwrap(),
            "files/keys/ca/ca.crt: it is gone",
        ),
        (
            |dir| host::fs::write(&dir.join("files/keys/more"), b"", 0o644).unwrap(),
            "files/keys/more: nobody wrote it",
        ),
        (
            |dir| {
                let path = dir.join("files/keys/tls.key");
                fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
            },
            "files/keys/tls.key: its mode is 400, and it was written with 440",
        ),
        (
            |dir| lchown(dir.join("files/keys/tls.key"), Some(0), Some(0)).unwrap(),
            "files/keys/tls.key: it belongs to 0:0, and it was written for 0:65532",
        ),
        (
            |dir| {
                let path = dir.join("pod.yaml");
                let text = fs::read_to_string(&path).unwrap().replace("--a", "--b");
                host::fs::write(&path, text.as_bytes(), 0o600).unwrap();
            },
            "pod.yaml: it is not what was written",
        ),
        (
            |dir| host::fs::write(&dir.join("pod.yaml"), b"{\"kind\": \"P", 0o600).unwrap(),
            "pod.yaml: cannot understand",
        ),
    ];
    for (damage, expected) in cases {
        let world = world();
        let generation = world.write("--a");
        damage(&generation.dir);
        let problems = world.problems(&generation);
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
        // It is neither promoted nor placed, and the same content is written once more beside it.
        let error = world.store.promote(&world.component, &generation.id).unwrap_err();
        assert!(error.to_string().contains(expected.split(": ").next().unwrap()), "{error}");
        let error = world.statics.place(&world.store, &generation).unwrap_err();
        assert!(matches!(error, PlaceError::Damaged { .. }), "{error}");
        let again = world.write("--a");
        assert_eq!((again.id.sequence(), world.store.check(&again)), (2, vec![]));
    }
}

#[test]
fn a_generation_without_its_record_is_none_and_is_told() {
    let world = world();
    let (first, second) = (world.write("--a"), world.write("--b"));
    host::fs::write(&first.dir.join("generation.json"), b"{\"version\": 1, \"na", 0o600).unwrap();
    assert_eq!(world.ids(), std::slice::from_ref(&second.id));
    let damaged = world.store.damaged(&world.component).unwrap();
    assert_eq!(damaged.len(), 1);
    assert!(damaged[0].to_string().contains("generation.json"), "{}", damaged[0]);
    world.store.promote(&world.component, &second.id).unwrap();
    assert_eq!(world.store.prune(&world.component, &[]).unwrap(), [first.id]);
    fs::remove_dir_all(&second.dir).unwrap();
    let damaged = world.store.damaged(&world.component).unwrap();
    assert!(damaged[0].message.contains("which is gone"), "{}", damaged[0]);
}

#[test]
fn a_generation_of_a_later_version_is_told_and_left_alone() {
    let world = world();
    let first = world.write("--a");
    let record = first.dir.join("generation.json");
    let text = fs::read_to_string(&record).unwrap().replace("\"version\": 1", "\"version\": 9");
    host::fs::write(&record, text.as_bytes(), 0o600).unwrap();
    for n in 0..5 {
        world.write(&format!("--{n}"));
    }
    world.store.prune(&world.component, &[]).unwrap();
    assert!(record.exists());
    assert!(world.store.damaged(&world.component).unwrap()[0].message.contains("version 9"));
}

#[test]
fn copies_are_placed_replaced_and_removed() {
    let world = world();
    let (first, second) = (world.write("--a"), world.write("--b"));
    assert_eq!(world.statics.placed().unwrap(), []);
    world.statics.place(&world.store, &first).unwrap();
    world.statics.place(&world.store, &second).unwrap();
    assert_eq!(world.statics.placed().unwrap(), [(world.component.clone(), second.id.clone())]);
    // A kubelet starts none while another one of its name has not ended.
    let name = |generation: &Generation| objects::name(&generation.manifest().unwrap()).to_owned();
    assert_eq!(name(&first), format!("web-checkpoint-{}", first.id));
    assert_ne!(name(&first), name(&second));
    assert!(world.statics.remove(&world.component).unwrap());
    assert!(!world.statics.remove(&world.component).unwrap());
    assert_eq!(world.statics.placed().unwrap(), []);
}

#[test]
fn what_is_placed_is_only_what_a_kubelet_can_read() {
    let world = world();
    let generation = world.write("--a");
    world.statics.place(&world.store, &generation).unwrap();
    let dir = world.store_dir("manifests");
    let file = dir.join("kube-system_web-checkpoint.yaml");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(host::fs::list(&dir).unwrap(), std::slice::from_ref(&file));
    host::fs::write(&dir.join("etcd.yaml"), b"kind: Pod", 0o600).unwrap();
    host::fs::write(&file, b"{\"kind\":", 0o600).unwrap();
    assert_eq!(world.statics.placed().unwrap(), []);
}

#[test]
fn a_component_goes_with_all_its_generations() {
    let world = world();
    let generation = world.write("--a");
    world.store.promote(&world.component, &generation.id).unwrap();
    world.store.remove_all(&world.component).unwrap();
    assert_eq!(world.store.components().unwrap(), []);
    assert_eq!(host::fs::list(&world.store_dir("checkpoints")).unwrap().len(), 0);
    world.store.remove_all(&world.component).unwrap();
}

#[test]
fn a_store_can_be_looked_at_from_elsewhere() {
    let world = world();
    let generation = world.write("--a");
    let root = world.store_dir("checkpoints");
    let moved = world.store_dir("seen-elsewhere");
    host::fs::rename(&root, &moved).unwrap();
    let view = Store::view(&moved, &root);
    let seen = view.generations(&world.component).unwrap().remove(0);
    assert_eq!((seen.id.clone(), view.check(&seen)), (generation.id, vec![]));
    // Where the manifest's paths lead nowhere it is not the same generation.
    assert_eq!(Store::view(&moved, &moved).check(&seen).len(), 1);
}

/// A file system with little room, unmounted at the end of the test however it ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "checkpoint-test", path])
            .run()
            .unwrap();
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).run().unwrap();
    }
}

#[test]
fn a_full_disk_costs_no_generation() {
    let disk = SmallDisk::new();
    let store = Store::open(&disk.0.path().join("checkpoints")).unwrap();
    let first = store.write(&checkpoint("--a", "key"), now()).unwrap();
    store.promote(&component(), &first.id).unwrap();
    // Something else fills the disk, but for what a part of a generation needs.
    let filler = disk.0.path().join("filler");
    let mut size = 512 * 1024;
    while host::fs::write(&filler, &vec![0; size], 0o644).is_err() {
        size -= 4096;
    }
    let mut last = None;
    for room in [0, 8192, 16384] {
        host::fs::remove_file(&filler).unwrap();
        host::fs::write(&filler, &vec![0; size - room], 0o644).unwrap();
        let error = store.write(&checkpoint("--b", &"long ".repeat(6000)), now()).unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        assert!(error.to_string().starts_with("cannot "), "{error}");
        let all = store.generations(&component()).unwrap();
        assert_eq!(all.iter().map(|g| &g.id).collect::<Vec<_>>(), [&first.id]);
        assert_eq!(store.check(&all[0]), []);
        assert_eq!(store.good(&component()).unwrap().unwrap().id, first.id);
        assert_eq!(host::fs::list(&first.dir.with_file_name("")).unwrap().len(), 2, "something half is left");
        last = Some(error);
    }
    assert!(last.is_some());
    host::fs::remove_file(&filler).unwrap();
    assert_eq!(store.write(&checkpoint("--b", &"long ".repeat(6000)), now()).unwrap().id.sequence(), 2);
}
