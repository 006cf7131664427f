//! The licences of everything that is linked into the programs: which modules that are each program says itself, also one of
//! upstream's releases, and their texts are in the source that it was built from.
//!
//! ```text
//! programs ─ go version -m ─▶ modules ─┐
//! components.toml: programs in C ──────┴─ go mod download ─▶ LICENSE, NOTICE, … ─┐
//! Go's own folder; Debian's C libraries ──────────────────────────────────────────┴─▶ licences.json
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use licences::{Found, Licences};

use super::buildinfo::{self, Module};
use super::descriptor::{Named, Program};
use super::toolchain::{Source, Toolchain};
use crate::licences::{WITHOUT, excuse};

/// What the list calls all that comes with Go itself.
const STANDARD_LIBRARY: &str = "Go's standard library";

/// A change in what is collected, or how, makes folders of programs anew.
const EDITION: &str = "1";

/// A group with the folders of its programs and of its Go module.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    /// Which one.
    pub(super) named: Named<'a>,
    /// Where its programs are.
    pub(super) programs: &'a Path,
    /// Its folder in `components/`.
    pub(super) module: PathBuf,
}

impl Part<'_> {
    fn each(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.named.group.programs.iter().map(|(name, program)| (name.as_str(), program))
    }
}

/// What the list depends on besides programs.
pub(super) fn recipe(groups: &[Named<'_>]) -> String {
    let libraries: Vec<_> = groups.iter().map(|named| (named.name, &named.group.libraries)).collect();
    format!("{EDITION} {WITHOUT:?} {libraries:?}")
}

/// Of all programs of these groups.
///
/// # Errors
/// A program that does not say what it is made of, modules whose source cannot be had, and all works at once that have no
/// text and are not excused in [`WITHOUT`].
pub(super) fn collect(tools: &Toolchain, parts: &[Part<'_>], scratch: &Path) -> Result<Licences> {
    let mut list = Collected::default();
    let modules = linked(tools, parts, &mut list)?;
    let wanted: Vec<&Module> = modules.keys().collect();
    let sources = tools.sources(scratch, &wanted).context("cannot have the source of what is linked in")?;
    for (module, programs) in &modules {
        let source = sources.iter().find(|s| s.path == module.path && s.version == module.version);
        let source = source.with_context(|| format!("go knows no {}@{}", module.path, module.version))?;
        let programs: Vec<&str> = programs.iter().copied().collect();
        list.add(&module.path, &module.version, &programs, licences::in_source(&source.dir)?);
    }
    for part in parts {
        of_c(tools, part, &mut list)?;
    }
    list.finish()
}

/// Which modules are linked into which programs. Go's own library is noted at once.
fn linked<'a>(
    tools: &Toolchain,
    parts: &'a [Part<'_>],
    list: &mut Collected,
) -> Result<BTreeMap<Module, BTreeSet<&'a str>>> {
    let paths = |part: &'a Part<'_>| {
        let in_go = part.each().filter(|(_, program)| program.c_source.is_none());
        in_go.map(|(name, _)| (name, part.programs.join(name), part.named.group.version.as_str()))
    };
    let programs: Vec<_> = parts.iter().flat_map(paths).collect();
    let asked: Vec<&Path> = programs.iter().map(|(_, path, _)| path.as_path()).collect();
    let told = buildinfo::parse(&tools.build_info(&asked)?);
    let own = of_go(&tools.root()?)?;
    let mut modules: BTreeMap<Module, BTreeSet<&str>> = BTreeMap::new();
    for (name, path, version) in &programs {
        let info = told.get(path).with_context(|| {
            format!(
                "{name} does not say what it is made of: `go version -m {}` tells no modules",
                path.display()
            )
        })?;
        list.licences.add(STANDARD_LIBRARY, &info.go, &[name], own.clone());
        for module in info.modules(version) {
            modules.entry(module).or_default().insert(name);
        }
    }
    Ok(modules)
}

/// What Go's own folder says.
fn of_go(root: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for file in ["LICENSE", "PATENTS"] {
        if let Ok(text) = host::fs::read_to_string(&root.join(file)) {
            found.push(Found { file: file.to_owned(), text });
        }
    }
    if found.is_empty() {
        // Debian has it apart: /usr/lib/go-1.26 is golang-1.26-go's.
        let version = root.file_name().unwrap_or_default().to_string_lossy();
        found = licences::of_package(&format!("golang-{}-go", version.trim_start_matches("go-")));
    }
    ensure!(!found.is_empty(), "{} has no LICENSE of Go; take Go from https://go.dev/dl", root.display());
    Ok(found)
}

/// Programs in C, and libraries that gcc links into a group's programs.
fn of_c(tools: &Toolchain, part: &Part<'_>, list: &mut Collected) -> Result<()> {
    for (name, program) in part.each().filter(|(_, program)| program.c_source.is_some()) {
        let Source { path, version, dir, .. } = tools.source(&part.module, &program.package)?;
        list.add(&path, &version, &[name], licences::in_source(&dir)?);
    }
    let programs: Vec<&str> = part.each().map(|(name, _)| name).collect();
    for package in &part.named.group.libraries {
        crate::apt::add_library(&mut list.licences, package, &programs)?;
    }
    Ok(())
}

/// The list so far, and what it cannot be finished for.
#[derive(Debug, Default)]
struct Collected {
    licences: Licences,
    lacking: Vec<String>,
}

impl Collected {
    fn add(&mut self, name: &str, version: &str, programs: &[&str], found: Vec<Found>) {
        if licences::grants(&found) {
            return self.licences.add(name, version, programs, found);
        }
        match excuse(name) {
            Some(reason) => self.licences.add_without(name, version, programs, reason),
            None => self.lacking.push(format!("{name} {version}")),
        }
    }

    fn finish(self) -> Result<Licences> {
        if self.lacking.is_empty() {
            return Ok(self.licences);
        }
        bail!(
            "no licence is in the source of {}: look there, and name each with the reason in WITHOUT of xtask/src/licences.rs",
            self.lacking.join(", ")
        )
    }
}
