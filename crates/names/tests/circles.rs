//! No two files need each other: whoever reads one finds what it stands on below it, and a piece can be moved without
//! taking half of its crate along.
//!
//! A file needs another one when a path in it leads to something that stands there. What a parent passes on by
//! `pub use` counts as standing where it is defined, and passing on is no need.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod code;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use code::{At, Token};

/// A module's path below its crate's root, which is empty.
type Module = Vec<String>;

/// A path as a file has it, from the root of its crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    path: Vec<String>,
    /// It is only passed on.
    passed_on: bool,
}

/// One crate.
#[derive(Debug, Default)]
struct Crate {
    files: BTreeMap<Module, PathBuf>,
    references: BTreeMap<Module, BTreeSet<Reference>>,
    /// What a module's names stand for, where they are imported.
    names: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Crate {
    fn read(dir: &Path) -> Self {
        let mut found = Self::default();
        let files = code::of_crate(dir);
        for (path, _) in &files {
            found.files.insert(module(path.strip_prefix(dir.join("src")).unwrap()), path.clone());
        }
        for (path, tokens) in &files {
            let module = module(path.strip_prefix(dir.join("src")).unwrap());
            let words = Words { tokens, module: &module, known: &found.files };
            let (references, names) = words.read();
            found.references.insert(module.clone(), references);
            found.names.insert(module, names);
        }
        found
    }

    /// The module in whose file a path's end is defined.
    fn home(&self, path: &[String], depth: usize) -> Module {
        let mut at = Module::new();
        for (n, part) in path.iter().enumerate() {
            let mut below = at.clone();
            below.push(part.clone());
            if self.files.contains_key(&below) {
                at = below;
                continue;
            }
            let known = self.names.get(&at).and_then(|names| names.get(part));
            return match known {
                Some(known) if depth < 8 => self.home(&[known, &path[n + 1..]].concat(), depth + 1),
                _ => at,
            };
        }
        at
    }

    /// Which file needs which.
    fn needs(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let needs = self.references.iter().map(|(module, references)| {
            let homes = references.iter().filter(|r| !r.passed_on).map(|r| self.home(&r.path, 0));
            (module, homes.filter(|home| home != module && self.files.contains_key(home)).collect())
        });
        needs.collect()
    }

    /// The files that need each other, each group once.
    fn circles(&self) -> BTreeSet<Vec<Module>> {
        let needs = self.needs();
        let reached = |from: &Module| {
            let (mut seen, mut todo) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(next) = todo.pop() {
                for need in needs.get(&next).into_iter().flatten() {
                    if seen.insert(need.clone()) {
                        todo.push(need.clone());
                    }
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> = self.files.keys().map(|m| (m, reached(m))).collect();
        let group = |module: &Module| -> Vec<Module> {
            let mutual = all[module].iter().filter(|other| all[*other].contains(module));
            mutual.cloned().collect()
        };
        all.keys().map(|module| group(module)).filter(|group| group.len() > 1).collect()
    }
}

fn module(file: &Path) -> Module {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        parts.pop();
    }
    parts
}

/// Reads the paths of one file.
struct Words<'a> {
    tokens: &'a [At],
    module: &'a Module,
    known: &'a BTreeMap<Module, PathBuf>,
}

type Names = BTreeMap<String, Vec<String>>;

impl Words<'_> {
    fn read(&self) -> (BTreeSet<Reference>, Names) {
        let (mut references, mut names) = (BTreeSet::new(), Names::new());
        let mut at = 0;
        while at < self.tokens.len() {
            let start = self.base(at).filter(|_| !self.sign(at.wrapping_sub(1), ':'));
            let Some(base) = start else {
                at += 1;
                continue;
            };
            let import = self.import(at);
            let mut leaves = Vec::new();
            let end = self.tree(at + 1, base, &mut leaves);
            for (alias, path) in leaves {
                if let Some(passed_on) = import {
                    names.insert(alias, path.clone());
                    references.insert(Reference { path, passed_on });
                } else {
                    references.insert(Reference { path, passed_on: false });
                }
            }
            at = end.max(at + 1);
        }
        (references, names)
    }

    /// Where a path that begins there begins in the crate.
    fn base(&self, at: usize) -> Option<Vec<String>> {
        let Token::Word(word) = &self.tokens.get(at)?.token else { return None };
        if !(self.sign(at + 1, ':') && self.sign(at + 2, ':')) {
            return None;
        }
        match word.as_str() {
            "crate" => Some(Vec::new()),
            "self" => Some(self.module.clone()),
            "super" => Some(self.module[..self.module.len().saturating_sub(1)].to_vec()),
            child => {
                let below = [self.module.as_slice(), &[child.to_owned()]].concat();
                self.known.contains_key(&below).then_some(below)
            }
        }
    }

    /// Whether the path that begins there is imported, and then whether it is passed on.
    fn import(&self, at: usize) -> Option<bool> {
        let before = &self.tokens[..at];
        let last = before.last()?;
        if last.token != Token::Word("use".to_owned()) {
            return None;
        }
        let public = before
            .iter()
            .rev()
            .skip(1)
            .take(4)
            .take_while(|at| !matches!(at.token, Token::Sign(';' | '}' | '{')));
        Some(public.into_iter().any(|at| at.token == Token::Word("pub".to_owned())))
    }

    /// Reads `::a::{b, c as d}` and returns where it ends; its leaves with the names that they get here.
    fn tree(&self, mut at: usize, mut path: Vec<String>, leaves: &mut Vec<(String, Vec<String>)>) -> usize {
        while self.sign(at, ':') && self.sign(at + 1, ':') {
            at += 2;
            match self.tokens.get(at).map(|at| &at.token) {
                Some(Token::Word(word)) => {
                    match word.as_str() {
                        "super" => _ = path.pop(),
                        "self" => {}
                        word => path.push(word.to_owned()),
                    }
                    at += 1;
                }
                Some(Token::Sign('{')) => {
                    at += 1;
                    while at < self.tokens.len() && !self.sign(at, '}') {
                        at = self.branch(at, &path, leaves);
                        if self.sign(at, ',') {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                _ => break,
            }
        }
        let mut alias = path.last().cloned().unwrap_or_default();
        if let (Some(Token::Word(word)), Some(Token::Word(name))) =
            (self.tokens.get(at).map(|at| &at.token), self.tokens.get(at + 1).map(|at| &at.token))
            && word == "as"
        {
            alias.clone_from(name);
        }
        leaves.push((alias, path));
        at
    }

    fn branch(&self, at: usize, path: &[String], leaves: &mut Vec<(String, Vec<String>)>) -> usize {
        let Some(Token::Word(word)) = self.tokens.get(at).map(|at| &at.token) else { return at + 1 };
        let mut path = path.to_vec();
        if word != "self" {
            path.push(word.clone());
        }
        let mut end = self.tree(at + 1, path, leaves);
        // Behind an alias.
        while end < self.tokens.len() && !self.sign(end, ',') && !self.sign(end, '}') {
            end += 1;
        }
        end
    }

    fn sign(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at).is_some_and(|at| at.token == Token::Sign(sign))
    }
}

#[test]
fn no_two_files_need_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.extend([root.join("xtask"), root.join("e2e")]);
    dirs.sort();
    let mut bad = Vec::new();
    for dir in dirs.iter().filter(|dir| dir.join("src").is_dir()) {
        let read = Crate::read(dir);
        let needs = read.needs();
        for circle in read.circles() {
            let name = |module: &Module| {
                format!("{}::{}", dir.file_name().unwrap().to_str().unwrap(), module.join("::"))
            };
            let ties = circle.iter().flat_map(|from| {
                let to = needs[from].iter().filter(|to| circle.contains(to));
                to.map(|to| format!("    {} needs {}", name(from), name(to))).collect::<Vec<_>>()
            });
            bad.push(format!("  {} files:\n{}", circle.len(), ties.collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(bad.is_empty(), "{} circles between files:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn a_path_is_followed_to_where_its_end_is_defined() {
    let known = ["a", "b"].map(|name| (vec![name.to_owned()], PathBuf::new()));
    let of = |module: &[&str], text: &str| {
        let tokens = code::production(text);
        let module: Module = module.iter().map(|part| (*part).to_owned()).collect();
        let known = known.clone().into();
        Words { tokens: &tokens, module: &module, known: &known }.read()
    };
    let (root, root_names) = of(&[], "pub use a::{Thing, other as Another}; fn f() { b::go(); }");
    let (used, names) = of(&["a"], "use crate::Another; use super::b::{self, Deep}; fn g() { std::b::x() }");
    let mut found = Crate {
        files: [(Module::new(), PathBuf::new())].into_iter().chain(known.clone()).collect(),
        references: [(Module::new(), root), (vec!["a".to_owned()], used)].into(),
        names: [(Module::new(), root_names), (vec!["a".to_owned()], names)].into(),
    };
    let needs = found.needs();
    let b = BTreeSet::from([vec!["b".to_owned()]]);
    assert_eq!(needs[&Module::new()], b, "what is passed on is not needed");
    assert_eq!(needs[&vec!["a".to_owned()]], b, "its own is no other file's");
    assert!(found.circles().is_empty());
    let back = Reference { path: vec!["a".to_owned(), "Thing".to_owned()], passed_on: false };
    found.references.insert(vec!["b".to_owned()], [back].into());
    assert_eq!(found.circles().len(), 1);
}
