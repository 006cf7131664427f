//! Whose crates the program is made of, and on which terms: looked at by a test, and by nothing that asks a network.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::build;
use crate::checkout::TARGET;

/// Licences that let anybody do what is done here: none of them asks for more than its text and its names.
const PERMISSIVE: [&str; 9] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LLVM-exception",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The crates that are compiled here, as cargo knows them.
fn packages() -> Vec<Value> {
    let metadata = build::cargo_command()
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", TARGET])
        .run()
        .expect("cargo knows this workspace");
    let mut metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    serde_json::from_value(metadata["packages"].take()).expect("a list")
}

/// Each that an expression names, whichever of them one may choose (SPDX, and the `/` of old manifests).
fn named(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|c: char| c.is_whitespace() || "/()".contains(c));
    words.filter(|word| !["", "AND", "OR", "WITH"].contains(word)).collect()
}

#[test]
fn every_crate_is_under_a_licence_that_is_known_here() {
    let packages = packages();
    assert!(packages.len() > 100, "only {} crates", packages.len());
    for package in &packages {
        let licences = named(package["license"].as_str().unwrap_or_default());
        let known = !licences.is_empty() && licences.iter().all(|licence| PERMISSIVE.contains(licence));
        assert!(known, "{} is under {}: see whether that will do", package["name"], package["license"]);
    }
}

#[test]
fn every_crate_is_ours_or_from_the_registry() {
    let sources: BTreeSet<String> =
        packages().iter().filter_map(|package| package["source"].as_str().map(str::to_owned)).collect();
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
    // What has no source is a path, and those are all in the workspace.
    let ours = packages().into_iter().filter(|package| package["source"].is_null());
    let root = build::root();
    for package in ours {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        assert!(std::path::Path::new(manifest).starts_with(&root), "{manifest}");
    }
}
