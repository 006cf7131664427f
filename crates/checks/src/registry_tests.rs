use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::model::Verb;

#[test]
fn every_label_is_there_once_and_every_clause_is_one() {
    let labels: BTreeSet<_> = ALL.iter().map(Kind::label).collect();
    assert_eq!(labels.len(), ALL.len());
    for kind in ALL {
        let name = kind.name;
        assert!(name.starts_with(char::is_uppercase) && name.chars().all(char::is_alphanumeric), "{name}");
        assert!(kind.verbs.is_sorted() && !kind.verbs.is_empty(), "{name}");
        for clause in [kind.looks_at, kind.fails, kind.remedy].into_iter().chain(kind.warns) {
            assert!(
                !clause.is_empty() && !clause.ends_with('.') && !clause.contains('|'),
                "{name}: {clause}"
            );
        }
    }
}

/// Of every host that shall become a node.
const OF_A_HOST: &[&str] = &[
    "node/src/preflight/host.rs",
    "node/src/preflight/around.rs",
    "node/src/preflight/endpoint.rs",
    "node/src/preflight/ranges.rs",
    "node/src/preflight/ports.rs",
    "node/src/drop_ins.rs",
];

/// Where the checks of each verb are made.
const MADE_IN: [(Verb, &[&[&str]]); 5] = [
    (Verb::Up, &[OF_A_HOST, &["kubestrap/src/commands/start.rs"]]),
    (Verb::Join, &[OF_A_HOST, &["kubestrap/src/commands/join/steps.rs"]]),
    (
        Verb::Start,
        &[&["node/src/preflight/start.rs", "node/src/preflight/ports.rs", "kubestrap/src/commands/start.rs"]],
    ),
    (Verb::Upgrade, &[&["upgrade/src", "causes/src"]]),
    (Verb::Doctor, &[&["doctor/src", "causes/src", "node/src/drop_ins.rs"]]),
];

fn read(path: &Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| read(&entry.unwrap().path()));
        return entries.collect();
    }
    std::fs::read_to_string(path).unwrap()
}

fn names(text: &str, constant: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let reference = format!("kind::{constant}");
    text.match_indices(&reference).any(|(at, _)| ends(&text[at + reference.len()..]))
}

#[test]
fn the_verbs_make_the_checks_that_the_registry_says() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (verb, files) in MADE_IN {
        let text: String = files.concat().iter().map(|file| read(&crates.join(file))).collect();
        let of = |kinds: &dyn Fn(&Kind, &str) -> bool| -> Vec<&str> {
            let all = ALL.iter().zip(CONSTANTS);
            all.filter(|(kind, constant)| kinds(kind, constant)).map(|(_, constant)| *constant).collect()
        };
        let makes = of(&|_, constant| names(&text, constant));
        assert_eq!(makes, of(&|kind, _| kind.verbs.contains(&verb)), "{verb}");
    }
}
