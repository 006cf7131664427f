//! Volumes as the kubelet makes them on disk become what a checkpoint copies.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use checkpoint::{Tree, VolumesError};
use common::{Kubelet, pod, running, set_key};
use jiff::Timestamp;
use serde_json::{Value, json};

fn with_volumes(volumes: Value) -> Value {
    let mut pod = pod();
    pod["spec"]["volumes"] = volumes;
    pod
}

fn listing(tree: &Tree) -> Vec<String> {
    tree.entries().iter().map(|entry| format!("{entry:?}")).collect()
}

#[test]
fn files_come_with_their_modes_owners_and_bytes() {
    let kubelet = Kubelet::new();
    let binary = [0, 159, 146, 150, 255];
    kubelet.write(
        "kubernetes.io~configmap",
        "config",
        &[("a.yaml", b"a: 1", 0o644, 0, 0), ("deep/er/b.bin", &binary, 0o400, 1000, 65532)],
    );
    let pod = with_volumes(json!([{"name": "config", "configMap": {"name": "c",
        "items": [{"key": "a", "path": "a.yaml"}, {"key": "b", "path": "deep/er/b.bin", "mode": 256}]}}]));
    let volumes = kubelet.read(&pod).unwrap();
    let tree = &volumes.trees["config"];
    let expected = [
        "\"\" 755 0:0 directory",
        "\"a.yaml\" 644 0:0 4 bytes",
        "\"deep\" 755 0:0 directory",
        "\"deep/er\" 2755 0:65532 directory",
        "\"deep/er/b.bin\" 400 1000:65532 5 bytes",
    ];
    assert_eq!(listing(tree), expected);
    assert_eq!(tree.file("deep/er/b.bin"), Some(&binary[..]));
}

#[test]
fn an_optional_secret_that_is_not_there_is_an_empty_volume() {
    let kubelet = Kubelet::new();
    kubelet.write("kubernetes.io~secret", "maybe", &[]);
    let pod = with_volumes(json!([{"name": "maybe", "secret": {"secretName": "s", "optional": true}}]));
    assert_eq!(listing(&kubelet.read(&pod).unwrap().trees["maybe"]), ["\"\" 755 0:0 directory"]);
}

#[test]
fn a_token_is_left_out_and_what_lies_beside_it_stays() {
    let kubelet = Kubelet::new();
    kubelet.write(
        "kubernetes.io~projected",
        "mixed",
        &[("only/token", b"secret", 0o644, 0, 0), ("keys/tls.key", b"key", 0o440, 0, 7)],
    );
    let pod = with_volumes(json!([
        {"name": "mixed", "projected": {"sources": [
            {"serviceAccountToken": {"path": "only/token"}},
            {"secret": {"name": "s", "items": [{"key": "k", "path": "keys/tls.key"}]}}]}},
        {"name": "kube-api-access-abcde", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": [{"path": "namespace"}]}}]}},
        {"name": "scratch", "emptyDir": {}}]));
    // The volume of the token is not even looked for: it is not there.
    let volumes = kubelet.read(&pod).unwrap();
    assert_eq!(volumes.trees.keys().collect::<Vec<_>>(), ["mixed"]);
    let paths: Vec<&str> = volumes.trees["mixed"].entries().iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["", "keys", "keys/tls.key"]);
}

#[test]
fn a_volume_that_is_not_there_yet_is_named() {
    let kubelet = Kubelet::new();
    let error = kubelet.read(&pod()).unwrap_err();
    assert!(matches!(&error, VolumesError::Missing { volume, .. } if volume == "keys"), "{error}");
    // The kubelet has made the directory and not yet the files.
    fs::create_dir_all(kubelet.volume_dir("kubernetes.io~secret", "keys")).unwrap();
    let error = kubelet.read(&pod()).unwrap_err();
    assert!(matches!(&error, VolumesError::Missing { .. }), "{error}");
}

#[test]
fn a_link_among_the_files_is_refused() {
    let kubelet = running("key");
    let data = kubelet.volume_dir("kubernetes.io~secret", "keys").join("..data");
    symlink("/etc/shadow", data.join("odd")).unwrap();
    let error = kubelet.read(&pod()).unwrap_err();
    assert!(matches!(&error, VolumesError::Odd { path, .. } if path == "odd"), "{error}");
}

#[test]
fn links_above_the_volumes_are_followed_as_the_host_does() {
    let kubelet = running("key");
    let root = kubelet.host.path();
    fs::create_dir_all(root.join("data")).unwrap();
    host::fs::rename(&root.join("var/lib/kubelet"), &root.join("data/kubelet")).unwrap();
    // Absolute: on the host it leads to its own /data, and not to ours.
    symlink("/data/kubelet", root.join("var/lib/kubelet")).unwrap();
    let volumes = kubelet.read(&pod()).unwrap();
    assert_eq!(volumes.trees["keys"].file("tls.key"), Some(&b"key"[..]));
}

#[test]
fn content_is_as_old_as_its_last_change() {
    let before = Timestamp::now();
    let kubelet = running("one");
    let first = kubelet.read(&pod()).unwrap().content_since.unwrap();
    thread::sleep(Duration::from_millis(30));
    set_key(&kubelet, "two");
    let second = kubelet.read(&pod()).unwrap().content_since.unwrap();
    // A file system's clock ticks some hundred times a second.
    let tick = jiff::SignedDuration::from_millis(20);
    assert!(before - tick <= first && first < second && second <= Timestamp::now() + tick);
    let none = kubelet.read(&with_volumes(json!([]))).unwrap();
    assert_eq!((none.trees.len(), none.content_since), (0, None));
}

/// The kubelet changes two volumes with many files all the time: no look mixes two contents of one volume.
#[test]
fn a_change_while_reading_is_never_half_seen() {
    let kubelet = Kubelet::new();
    let names: Vec<String> = (0..40).map(|n| format!("file-{n}")).collect();
    let write = |round: u32| {
        let content = round.to_string();
        let files: Vec<common::Content<'_>> =
            names.iter().map(|name| (name.as_str(), content.as_bytes(), 0o644, 0, 0)).collect();
        kubelet.write("kubernetes.io~secret", "keys", &files);
    };
    write(0);
    let look = || {
        let deadline = Instant::now() + Duration::from_secs(30);
        let (mut reads, mut contents) = (0, BTreeSet::new());
        while reads < 20 || contents.len() < 4 {
            assert!(Instant::now() < deadline, "{reads} reads of {} contents prove nothing", contents.len());
            let Ok(volumes) = kubelet.read(&pod()) else { continue };
            let tree = &volumes.trees["keys"];
            let first = tree.file("file-0").unwrap();
            assert!(names.iter().all(|name| tree.file(name) == Some(first)), "two contents in one look");
            contents.insert(first.to_vec());
            reads += 1;
        }
    };
    thread::scope(|scope| {
        let reader = scope.spawn(look);
        let mut rounds = 1..;
        while !reader.is_finished() {
            write(rounds.next().unwrap());
        }
    });
}
