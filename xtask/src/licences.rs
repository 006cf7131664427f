//! Whose crates the program is made of, on which terms, and the texts that go with it. Nothing here asks a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use host::command::Command;
use licences::{Found, Licences};
use serde::Deserialize;

use crate::checkout::{TARGET, root, target_dir};

/// Works without a licence in their source, each with the reason why that will do: Go modules and crates.
pub(crate) const WITHOUT: &[(&str, &str)] = &[
    ("asn1-rs-impl", "MIT or Apache-2.0, as asn1-rs of the same repository, whose texts are here"),
    ("kube", "Apache-2.0, whose text is kubestrap's own; only its repository has it"),
    ("kube-client", "Apache-2.0, whose text is kubestrap's own; only its repository has it"),
    ("kube-core", "Apache-2.0, whose text is kubestrap's own; only its repository has it"),
    ("tonic-prost", "MIT, as tonic of the same repository, whose text is here"),
];

/// The program that all of them are in.
const PROGRAM: &str = "kubestrap";

/// The C library that the program is linked with: it is static.
const LIBC: &str = "libc6-dev";

/// Why a work may be without a text.
pub(crate) fn excuse(name: &str) -> Option<&'static str> {
    WITHOUT.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
}

/// Writes those of kubestrap itself for `kubestrap bundle create --licences`; the file.
///
/// # Errors
/// When cargo does not know this workspace, or crates have no licence and no entry in [`WITHOUT`].
pub(crate) fn of_kubestrap() -> Result<PathBuf> {
    let metadata = Metadata::read()?;
    let mut list = Licences::default();
    let mut lacking = Vec::new();
    for package in metadata.linked(PROGRAM) {
        let Package { name, version, source, manifest_path, .. } = package;
        if source.is_none() {
            continue; // ours: the licence of the whole
        }
        let found = licences::in_source(manifest_path.parent().unwrap_or(manifest_path))?;
        match excuse(name) {
            _ if licences::grants(&found) => list.add(name, version, &[PROGRAM], found),
            Some(reason) => list.add_without(name, version, &[PROGRAM], reason),
            None => lacking.push(format!("{name} {version}")),
        }
    }
    ensure!(
        lacking.is_empty(),
        "no licence is in the source of {}: look there, and name each with the reason in WITHOUT of {}",
        lacking.join(", "),
        file!()
    );
    let own = vec![text_of("LICENSE", &root().join("LICENSE"))?];
    list.add(PROGRAM, env!("CARGO_PKG_VERSION"), &[PROGRAM], own);
    of_toolchain(&mut list)?;
    let file = target_dir().join(licences::FILE);
    host::fs::write(&file, &serde_json::to_vec(&list)?, 0o644)?;
    Ok(file)
}

/// What comes with the compiler and is linked in, too: Rust's standard library and the C library.
fn of_toolchain(list: &mut Licences) -> Result<()> {
    const RUST: &str = "Rust's standard library";
    let ask = |what: &[&str]| Ok::<_, anyhow::Error>(Command::new("rustc").args(what).run()?.text());
    let (version, root) = (ask(&["--version"])?, ask(&["--print", "sysroot"])?);
    let file = "COPYRIGHT-library.html";
    match text_of(file, &Path::new(root.trim()).join("share/doc/rust").join(file)) {
        Ok(found) => list.add(RUST, version.trim(), &[PROGRAM], vec![found]),
        Err(_) => list.add_without(
            RUST,
            version.trim(),
            &[PROGRAM],
            "MIT or Apache-2.0; this toolchain came without its documents",
        ),
    }
    crate::apt::add_library(list, LIBC, &[PROGRAM])
}

fn text_of(file: &str, path: &Path) -> Result<Found> {
    Ok(Found { file: file.to_owned(), text: host::fs::read_to_string(path)? })
}

/// What cargo says of this workspace, as far as it counts here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    source: Option<String>,
    manifest_path: PathBuf,
    #[cfg(test)]
    license: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

/// `None` is what a program is linked with, and not what builds or tests it.
#[derive(Debug, Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Metadata {
    fn read() -> Result<Self> {
        let metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root())
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--filter-platform", TARGET])
            .run()?;
        serde_json::from_slice(&metadata.stdout).context("cannot read what cargo says of this workspace")
    }

    /// The packages that a program is made of, itself included.
    fn linked(&self, program: &str) -> Vec<&Package> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&str> =
            self.packages.iter().filter(|p| p.name == program).map(|p| p.id.as_str()).collect();
        while let Some(id) = waiting.pop() {
            if found.insert(id) {
                let node = self.resolve.nodes.iter().find(|node| node.id == id);
                let linked = |d: &&Dependency| d.dep_kinds.iter().any(|k| k.kind.is_none());
                waiting.extend(
                    node.into_iter().flat_map(|n| n.deps.iter().filter(linked)).map(|d| d.pkg.as_str()),
                );
            }
        }
        self.packages.iter().filter(|package| found.contains(package.id.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Each that an expression names, whichever of them one may choose (SPDX, and the `/` of old manifests).
    fn named(expression: &str) -> BTreeSet<&str> {
        let words = expression.split(|c: char| c.is_whitespace() || "/()".contains(c));
        words.filter(|word| !["", "AND", "OR", "WITH"].contains(word)).collect()
    }

    #[test]
    fn every_crate_is_under_a_licence_that_is_known_here() {
        let packages = Metadata::read().unwrap().packages;
        assert!(packages.len() > 100, "only {} crates", packages.len());
        for package in &packages {
            let licences = named(package.license.as_deref().unwrap_or_default());
            let known = !licences.is_empty() && licences.iter().all(|licence| PERMISSIVE.contains(licence));
            assert!(
                known,
                "{} is under {}: see whether that will do",
                package.name,
                package.license.as_deref().unwrap_or("nothing")
            );
        }
    }

    #[test]
    fn every_crate_is_ours_or_from_the_registry() {
        let packages = Metadata::read().unwrap().packages;
        let sources: BTreeSet<&String> =
            packages.iter().filter_map(|package| package.source.as_ref()).collect();
        assert_eq!(sources.len(), 1, "{sources:?}");
        assert!(sources.iter().all(|source| source.starts_with("registry+")), "{sources:?}");
        // What has no source is a path, and those are all in the workspace.
        let here = root();
        for package in packages.iter().filter(|package| package.source.is_none()) {
            assert!(package.manifest_path.starts_with(&here), "{}", package.manifest_path.display());
        }
    }

    #[test]
    fn every_crate_that_is_linked_in_has_a_text_or_an_excuse_that_is_still_needed() {
        let metadata = Metadata::read().unwrap();
        let linked = metadata.linked(PROGRAM);
        assert!(linked.len() > 100, "only {} crates", linked.len());
        let others = linked.into_iter().filter(|package| package.source.is_some());
        let without: BTreeSet<&str> = others
            .filter(|p| !licences::grants(&licences::in_source(p.manifest_path.parent().unwrap()).unwrap()))
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(without, WITHOUT.iter().map(|(name, _)| *name).collect());
    }

    #[test]
    fn kubestrap_has_a_list_of_its_own_with_the_libraries_that_it_is_linked_with() {
        let list: Licences =
            serde_json::from_slice(&host::fs::read(&of_kubestrap().unwrap()).unwrap()).unwrap();
        let is_there = |name: &str| list.works().iter().any(|work| work.name == name);
        for name in ["kubestrap", "ring", "zstd-sys", "kube", LIBC, "Rust's standard library"] {
            assert!(is_there(name), "{name}");
        }
        assert!(!is_there("proptest"), "what only tests need is in no program");
        assert_eq!(list.lost(), None);
    }
}
