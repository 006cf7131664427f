//! A process that is killed at each fault point: what another one finds then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use checkpoint::{Component, StaticDir, Store, fault};
use common::{checkpoint, now};
use host::command::Command;

/// Where the victim works.
const DIR: &str = "CHECKPOINT_TEST_DIR";

fn component() -> Component {
    Component { namespace: "kube-system".into(), name: "web".into() }
}

fn opened(dir: &Path) -> (Store, StaticDir) {
    (Store::open(&dir.join("checkpoints")).unwrap(), StaticDir::open(&dir.join("manifests")))
}

/// Goes through a generation's whole life, so that it passes every point.
#[test]
#[ignore = "it is the process that the other test has killed"]
fn victim() {
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    fault::arm(std::env::var(fault::VARIABLE).ok()).unwrap();
    let (store, statics) = opened(&dir);
    store.sweep().unwrap();
    for flag in ["--2", "--3", "--4"] {
        let new = store.write(&checkpoint(flag, "key"), now()).unwrap();
        store.promote(&component(), &new.id).unwrap();
        statics.place(&store, &new).unwrap();
        store.prune(&component(), &[]).unwrap();
    }
    statics.remove(&component()).unwrap();
}

fn run_victim(dir: &Path, point: Option<&str>) -> Option<i32> {
    let mut command =
        Command::new(std::env::current_exe().unwrap()).args(["victim", "--exact", "--ignored"]).env(DIR, dir);
    if let Some(point) = point {
        command = command.env(fault::VARIABLE, point);
    }
    let (status, output) = command.run_unchecked().unwrap();
    assert!(status.signal().is_some() || status.success(), "{}", output.text());
    status.signal()
}

#[test]
fn whatever_the_moment_only_whole_generations_are_found_and_a_good_one_stays() {
    for point in fault::POINTS {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        host::fs::create_dir_all(&dir.join("manifests"), 0o755).unwrap();
        let (store, statics) = opened(dir);
        let first = store.write(&checkpoint("--1", "key"), now()).unwrap();
        store.promote(&component(), &first.id).unwrap();
        statics.place(&store, &first).unwrap();

        assert_eq!(run_victim(dir, Some(point)), Some(9), "{point} was not passed");

        let all = store.generations(&component()).unwrap();
        assert!(!all.is_empty(), "{point}");
        for generation in &all {
            assert_eq!(store.check(generation), [], "{point}");
        }
        assert_eq!(store.damaged(&component()).unwrap(), [], "{point}");
        let good = store.good(&component()).unwrap().unwrap();
        assert!(all.iter().any(|g| g.id == good.id), "{point}");
        let placed = statics.placed().unwrap();
        match point {
            "removed" => assert_eq!(placed, []),
            _ => assert!(all.iter().any(|g| placed == [(component(), g.id.clone())]), "{point}: {placed:?}"),
        }
        let changed = !["checkpoint.write", "checkpoint.promote"].iter().any(|p| point.starts_with(p))
            || point == "checkpoint.promoted";
        assert_eq!(good.id != first.id, changed, "{point}");

        // Another process goes on from there, and nothing half is left.
        assert_eq!(run_victim(dir, None), None, "{point}");
        let names = host::fs::list(&dir.join("checkpoints/kube-system_web")).unwrap();
        let left = names.iter().filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('.'));
        assert_eq!(left.count(), 0, "{point}: {names:?}");
        assert_eq!(store.generations(&component()).unwrap().len(), checkpoint::KEPT, "{point}");
    }
}
