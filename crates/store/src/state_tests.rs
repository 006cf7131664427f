use super::*;
use crate::fixture::Fixture;

fn standing(fixture: &Fixture) -> String {
    match look_once(fixture.dir.path(), Path::new("/var/lib/containerd")).unwrap() {
        Standing::Empty => "empty".to_owned(),
        Standing::Whole(store) => {
            format!("whole: {:?}", store.images().map(|(name, _)| name).collect::<Vec<_>>())
        }
        Standing::Damaged(damage) => damage.to_string(),
    }
}

#[test]
fn a_directory_that_is_whole_and_one_that_nothing_is_in_yet() {
    assert_eq!(standing(&Fixture::new()), "whole: [\"registry.k8s.io/tool:v1\"]");
    let fixture = Fixture::new();
    for entry in host::fs::list(fixture.dir.path()).unwrap() {
        host::fs::remove_dir_all(&entry).unwrap();
    }
    assert_eq!(standing(&fixture), "empty");
    // As a containerd that has just been started for the first time leaves it.
    let other = Fixture::new();
    host::fs::create_dir_all(fixture.meta().parent().unwrap(), 0o700).unwrap();
    host::fs::write(&fixture.meta(), &crate::bolt::written(&Bucket::default()), 0o600).unwrap();
    assert_eq!(standing(&fixture), "whole: []");
    drop(other);
}

#[test]
fn each_database_that_is_damaged_gone_or_made_anew_is_named() {
    const META: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db: ";
    const METADATA: &str = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db: ";
    let case = |damage: &dyn Fn(&Fixture)| {
        let fixture = Fixture::new();
        damage(&fixture);
        standing(&fixture)
    };
    let gone = "it is empty or gone, and 3 blobs and 1 snapshots are there";
    let nothing = "neither of its two heads is one";
    let empty = crate::bolt::written(&Bucket::default());
    let write = |path: &Path, bytes: &[u8]| host::fs::write(path, bytes, 0o600).unwrap();
    assert_eq!(case(&|f| write(&f.meta(), b"x\n")), format!("{META}{nothing}"));
    assert_eq!(case(&|f| write(&f.metadata(), b"x\n")), format!("{METADATA}{nothing}"));
    assert_eq!(case(&|f| write(&f.meta(), b"")), format!("{META}{gone}"));
    assert_eq!(case(&|f| assert!(host::fs::remove_file(&f.meta()).unwrap())), format!("{META}{gone}"));
    let lacks = "it lacks 1 of 1 snapshots that there were";
    assert_eq!(
        case(&|f| assert!(host::fs::remove_file(&f.metadata()).unwrap())),
        format!("{METADATA}{lacks}")
    );
    assert_eq!(case(&|f| write(&f.metadata(), &empty)), format!("{METADATA}{lacks}"));
    let anew = "it was made anew, and knows none of 1 snapshots";
    assert_eq!(case(&|f| write(&f.meta(), &empty)), format!("{META}{anew}"));
    let directories = "the directories of 1 snapshots are gone";
    assert_eq!(
        case(&|f| host::fs::remove_dir_all(&f.unpacked("")).unwrap()),
        format!("{METADATA}{directories}")
    );
    // The first moved away, and the rest still there: set aside half.
    assert_eq!(
        case(&|f| host::fs::remove_dir_all(f.meta().parent().unwrap()).unwrap()),
        format!("{META}{gone}")
    );
}
