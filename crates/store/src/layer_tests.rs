use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::fixture::{Fixture, IMAGE, TOOL};
use crate::state::{Standing, look};

fn store(fixture: &Fixture) -> Store {
    match look(fixture.dir.path(), Path::new("/var/lib/containerd")).unwrap() {
        Standing::Whole(store) => store,
        other => panic!("{other:?}"),
    }
}

fn told(fixture: &Fixture) -> Vec<String> {
    store(fixture).check(true).unwrap().iter().map(ToString::to_string).collect()
}

const NOWHERE: &dyn Fn(&str) -> Option<PathBuf> = &|_| None;

/// A file of the image, what befalls it, and what is said.
type Case<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);

#[test]
fn a_wrong_file_is_named_and_put_back_out_of_its_layer() {
    let whole = Fixture::new();
    assert_eq!(told(&whole), Vec::<String>::new());
    let cases: [Case<'_>; 4] = [
        ("usr/bin/tool", &|tool| host::fs::write(tool, b"", 0o755).unwrap(), "has 0 bytes, and not 20000"),
        (
            "usr/bin/tool",
            &|tool| host::fs::write(tool, &TOOL[..1], 0o755).unwrap(),
            "has 1 bytes, and not 20000",
        ),
        ("usr/bin/tool", &|tool| assert!(host::fs::remove_file(tool).unwrap()), "is gone"),
        (
            "etc/tool.conf",
            &|conf| {
                // As many blocks as before: its time is what tells.
                std::thread::sleep(Duration::from_millis(2100));
                host::fs::write(conf, b"b=a\n", 0o644).unwrap();
            },
            "has other bytes",
        ),
    ];
    for (file, damage, why) in cases {
        let fixture = Fixture::new();
        damage(&fixture.unpacked(file));
        assert_eq!(told(&fixture), [format!("{IMAGE}: /{file} {why}")]);
        let store = store(&fixture);
        for wrong in store.check(true).unwrap() {
            assert!(store.mend(&wrong, NOWHERE).unwrap());
        }
        assert_eq!(store.check(true).unwrap(), []);
        let tool = fixture.unpacked("usr/bin/tool");
        assert_eq!(host::fs::read(&tool).unwrap(), TOOL);
        let found = tool.metadata().unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime()), (0o755, 1_700_000_000));
        assert_eq!(host::fs::list(tool.parent().unwrap()).unwrap().len(), 1, "nothing else is left there");
    }
}

#[test]
fn a_damaged_blob_is_named_judges_nobody_and_comes_from_elsewhere() {
    let spare = Fixture::new();
    let (layer, manifest) = (spare.layer.clone(), spare.manifest.clone());
    let elsewhere = |digest: &str| Some(spare.blob(digest));
    for (digest, content, why) in [
        (&layer, b"".to_vec(), "has 0 bytes, and not "),
        (
            &layer,
            vec![0; spare.blob(&layer).metadata().unwrap().len().try_into().unwrap()],
            "is not what its digest says",
        ),
        (&manifest, b"{}".to_vec(), "is not what its digest says"),
    ] {
        let fixture = Fixture::new();
        assert_eq!((&fixture.layer, &fixture.manifest), (&layer, &manifest));
        let blob = fixture.blob(digest);
        host::fs::write(&blob, &content, 0o444).unwrap();
        host::fs::write(&fixture.unpacked("usr/bin/tool"), b"", 0o755).unwrap();
        let found = told(&fixture);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{IMAGE}: {} {why}", blob.display())), "{found:?}");
        let store = store(&fixture);
        let wrong = store.check(true).unwrap().remove(0);
        assert!(!store.mend(&wrong, NOWHERE).unwrap());
        assert!(!store.mend(&wrong, &|_| Some(blob.clone())).unwrap(), "no better one");
        assert!(store.mend(&wrong, &elsewhere).unwrap());
        // Now it can judge what is unpacked of it.
        assert_eq!(told(&fixture), [format!("{IMAGE}: /usr/bin/tool has 0 bytes, and not 20000")]);
        assert!(store.mend(&store.check(true).unwrap()[0], NOWHERE).unwrap());
        assert_eq!(told(&fixture), Vec::<String>::new());
    }
}

#[test]
fn a_link_on_the_way_is_not_followed() {
    let fixture = Fixture::new();
    let away = fixture.at("away");
    host::fs::create_dir_all(&away, 0o755).unwrap();
    host::fs::remove_dir_all(&fixture.unpacked("etc")).unwrap();
    host::fs::symlink(&away, &fixture.unpacked("etc")).unwrap();
    assert_eq!(told(&fixture), Vec::<String>::new());
    assert!(host::fs::list(&away).unwrap().is_empty());
}
