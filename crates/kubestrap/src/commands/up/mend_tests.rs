//! What `up` puts right on a host that it has made a node, and what it finds out before it changes one; on fakes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use host::command::Command;
use names::path;

use super::tests::is_prepared;
use super::world::World;
use crate::exit::Exit;

const RESTART: &str = "systemctl restart kubelet.service";

/// The time of the files is the machine's, whose clock is no test's.
#[tokio::test(start_paused = true)]
async fn a_file_that_the_kubelet_was_started_with_is_put_back_and_the_kubelet_started_again() {
    let world = World::new();
    world.up(&[]).await.unwrap();
    let restarts = || world.machine().called().iter().filter(|line| *line == RESTART).count();
    let unit = format!("{}/{}", path::UNITS, path::KUBELET_UNIT);
    for (number, file) in [path::KUBELET_CONFIG, path::KUBELET_KUBECONFIG, &unit].into_iter().enumerate() {
        let file = world.root(file);
        let ours = host::fs::read_to_string(&file).unwrap();
        host::fs::write(&file, ours.replace("kubelet", "mine").as_bytes(), 0o600).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        world
            .machine()
            .root()
            .machine()
            .run(Command::new("systemctl").args(["restart", path::KUBELET_UNIT]))
            .unwrap();
        let before = restarts();
        // Killed before it has the kubelet started again: nothing but the file's age tells.
        if number == 0 {
            std::thread::sleep(Duration::from_millis(50));
            host::fs::write(&file, ours.as_bytes(), 0o600).unwrap();
        }
        world.up(&[]).await.unwrap();
        assert_eq!(host::fs::read_to_string(&file).unwrap(), ours);
        assert_eq!(restarts(), before + 1, "{}", file.display());
        world.up(&[]).await.unwrap();
        assert_eq!(restarts(), before + 1, "{}", file.display());
    }
}

#[tokio::test(start_paused = true)]
async fn what_containerd_cannot_use_is_moved_away_and_all_images_are_imported_anew() {
    let world = World::new();
    world.up(&["--prepare-only"]).await.unwrap();
    let images = world.machine().images();
    let run =
        |args: &[&str]| world.machine().root().machine().run(Command::new("systemctl").args(args)).map(drop);
    let meta = world.root(path::CONTAINERD_ROOT).join("io.containerd.metadata.v1.bolt/meta.db");
    host::fs::write(&meta, b"half a database", 0o600).unwrap();
    host::fs::create_dir_all(&world.root(path::CONTAINERD_TASKS).join("c1"), 0o711).unwrap();
    run(&["stop", "containerd.service"]).unwrap();
    run(&["restart", "containerd.service"]).unwrap_err();
    let called = world.machine().called().len();
    world.up(&["--prepare-only"]).await.unwrap();
    is_prepared(&world);
    assert_eq!(world.machine().images(), images);
    assert_eq!(world.machine().ended(), ["c1".to_owned()].into());
    let aside = host::fs::list(&world.root("/var/lib")).unwrap();
    let aside = aside.iter().find(|path| path.to_string_lossy().contains("/containerd.damaged-2")).unwrap();
    let kept = aside.join("io.containerd.metadata.v1.bolt/meta.db");
    assert_eq!(host::fs::read(&kept).unwrap(), b"half a database");
    let called = world.machine().called().split_off(called);
    let at = |what: &str| {
        called.iter().rposition(|line| line.contains(what)).unwrap_or_else(|| panic!("{called:?}"))
    };
    assert!(at("stop kubelet.service") < at("stop containerd.service"));
    assert!(at("stop containerd.service") < at("restart containerd.service"));
    assert!(at("restart containerd.service") < at("images import"));
    assert!(at("images import") < at("restart kubelet.service"), "{called:?}");
    let before = world.files();
    world.up(&["--prepare-only"]).await.unwrap();
    assert_eq!(world.files(), before);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_somebody_put_in_the_place_of_ours_is_kept_and_ours_is_read() {
    let world = World::new();
    world.up(&["--prepare-only"]).await.unwrap();
    let config = world.root(path::CONTAINERD_CONFIG);
    let ours = host::fs::read(&config).unwrap();
    host::fs::write(&config, b"version = 3\n", 0o644).unwrap();
    let called = world.machine().called().len();
    world.up(&["--prepare-only"]).await.unwrap();
    is_prepared(&world);
    assert_eq!(host::fs::read(&config).unwrap(), ours);
    let restart = "systemctl restart containerd.service".to_owned();
    assert!(world.machine().called()[called..].contains(&restart));
    let beside = host::fs::list(config.parent().unwrap()).unwrap();
    let kept = beside.iter().find(|path| path.to_string_lossy().contains("/config.toml.replaced-")).unwrap();
    assert_eq!(host::fs::read(kept).unwrap(), b"version = 3\n");
}

/// The last layer of the image, or the host program, whose name has that in it.
fn blob_of(bundle: &Path, name: &str) -> PathBuf {
    let blobs = bundle.join("blobs/sha256");
    let read = |path: &Path| serde_json::from_slice::<serde_json::Value>(&host::fs::read(path).unwrap()).ok();
    let at = |digest: &serde_json::Value| blobs.join(digest.as_str().unwrap().trim_start_matches("sha256:"));
    let index = read(&bundle.join("index.json")).unwrap();
    for descriptor in index["manifests"].as_array().unwrap() {
        let manifest = read(&at(&descriptor["digest"])).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let is_named = |named: &serde_json::Value| named.as_str().is_some_and(|named| named.contains(name));
        if is_named(&descriptor["annotations"]["io.containerd.image.name"]) {
            return at(&layers.last().unwrap()["digest"]);
        }
        let program =
            layers.iter().find(|layer| layer["annotations"]["org.opencontainers.image.title"] == name);
        if let Some(program) = program {
            return at(&program["digest"]);
        }
    }
    panic!("{name}: there is none");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_byte_in_the_bundle_is_named_before_anything_is_changed() {
    for (name, needed_by) in
        [("coredns", "image registry.k8s.io/coredns/coredns"), ("kubelet", "program kubelet")]
    {
        let world = World::new();
        let before = world.files();
        let blob = blob_of(&world.bundle(), name);
        let content = host::fs::read(&blob).unwrap();
        let mut wrong = content.clone();
        wrong[3] ^= 1;
        host::fs::write(&blob, &wrong, 0o644).unwrap();
        let failure = world.up(&[]).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Bundle);
        let said = format!("{:#}", failure.error);
        let digest = blob.file_name().unwrap().to_str().unwrap();
        assert!(said.starts_with(&format!("blob sha256:{digest}")), "{said}");
        assert!(said.contains(&format!("needed by {needed_by}")), "{said}");
        assert!(failure.hint.unwrap().contains("Copy it again"));
        assert_eq!(world.files(), before);
        // What is there already is read by nobody.
        host::fs::write(&blob, &content, 0o644).unwrap();
        world.up(&["--prepare-only"]).await.unwrap();
        host::fs::write(&blob, &wrong, 0o644).unwrap();
        world.up(&["--prepare-only"]).await.unwrap();
        is_prepared(&world);
    }
}
