//! Compiled dependencies, kept outside the checkout: a fresh clone does not compile them again.
//!
//! ```text
//! <cache>/deps/<key>/release/                 for this machine: build scripts and procedural macros
//! <cache>/deps/<key>/<target>/release/        what is linked into programs
//!     .fingerprint/<unit>/  build/<unit>/  deps/*-<hash>*      as cargo has it in target/
//! <cache>/deps/lock                           held while one of these changes
//! ```
//!
//! A unit is what one call of rustc or of a build script makes. cargo believes a unit whose
//! fingerprint it finds, so that comes last and at once, and a run that was killed leaves only units
//! that are built again. The whole folder can be deleted at any time.
//!
//! Units fit together only as they were built together: some have the path of the checkout in them
//! (a build script's output is included from there), rustc notices that, and cargo does not. Hence
//! the store has units of one origin only, and what a checkout has built otherwise gives way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use host::command::Command;
use serde::Deserialize;

use crate::checkout::{self, TARGET};
use crate::components::{cache_root, key as hashed};
use crate::say::say;

/// How many sets of dependencies are kept: the branches somebody works on at the same time.
const KEPT: usize = 3;

/// What is being written or deleted; nobody reads it.
const UNFINISHED: &str = ".unfinished";

/// What was copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    /// How many units.
    pub(crate) units: usize,
    /// How large they are.
    pub(crate) bytes: u64,
}

/// Puts into the checkout's target folder the dependencies it lacks; quick when it lacks none.
///
/// What a clone compiled before this could run gives way where it fits nothing that is stored, and
/// so do the workspace's own crates that stand on it.
///
/// # Errors
/// What could not be copied. The target folder is sound then as well: cargo builds what is missing.
pub(crate) fn restore() -> Result<Copied> {
    Store::find()?.restore(&checkout::target_dir())
}

/// Keeps the dependencies that cargo has built; quick when all of them are kept.
///
/// # Errors
/// What could not be copied. The store is sound then as well.
pub(crate) fn save() -> Result<Copied> {
    let lock = host::fs::read_to_string(&checkout::root().join("Cargo.lock"))?;
    Store::find()?.save(&checkout::target_dir(), &dependencies(&lock)?)
}

/// The names of packages from a registry. Those that the workspace calls its own as well are not
/// among them: folders of units tell no more than the name.
fn dependencies(lock: &str) -> Result<BTreeSet<String>> {
    let (of_registry, other): (Vec<_>, Vec<_>) = locked(lock)?.into_iter().partition(Package::is_of_registry);
    let other: BTreeSet<String> = other.into_iter().map(|p| p.name).collect();
    Ok(of_registry.into_iter().map(|p| p.name).filter(|name| !other.contains(name)).collect())
}

/// A package of Cargo.lock.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

impl Package {
    fn is_of_registry(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.starts_with("registry+"))
    }
}

fn locked(lock: &str) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    Ok(toml::from_str::<Lock>(lock).context("cannot read Cargo.lock")?.package)
}

/// Which dependencies there are. What crates of the workspace take of them, and of each other, is cargo's business: it
/// builds what is missing.
fn pinned(lock: &str) -> Result<String> {
    let line = |p: Package| format!("{} {} {}\n", p.name, p.version, p.checksum.unwrap_or_default());
    Ok(locked(lock)?.into_iter().filter(Package::is_of_registry).map(line).collect())
}

/// Everything that compiled dependencies depend on and a unit's name does not tell.
fn key() -> Result<String> {
    let root = checkout::root();
    let read = |name| host::fs::read(&root.join(name));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let rustc = Command::new(rustc).arg("-vV").current_dir(&root).run()?;
    // Sources are known by their paths.
    let home = std::env::var_os("CARGO_HOME").or_else(|| std::env::var_os("HOME")).unwrap_or_default();
    let lock = pinned(&host::fs::read_to_string(&root.join("Cargo.lock"))?)?.into_bytes();
    let files = [lock, read("Cargo.toml")?, read(".cargo/config.toml")?];
    let other = [rustc.stdout.as_slice(), home.as_encoded_bytes()];
    Ok(hashed(files.iter().map(Vec::as_slice).chain(other)))
}

/// Compiled dependencies in the cache.
struct Store {
    /// One folder for each key.
    root: PathBuf,
    key: String,
}

impl Store {
    fn find() -> Result<Self> {
        Ok(Self { root: cache_root()?.join("deps"), key: key()? })
    }

    fn dir(&self) -> PathBuf {
        self.root.join(&self.key)
    }

    fn restore(&self, target: &Path) -> Result<Copied> {
        if !self.dir().is_dir() {
            return Ok(Copied::default());
        }
        let _locks = self.lock(target)?;
        touch(&self.dir())?;
        let (kept, there) = (units(&self.dir())?, units(target)?);
        let differing = differing(&kept, &there).count();
        // It must be worth it: the checkout's own crates are built again when one unit differs.
        if missing(&kept, &there).count() <= differing {
            return Ok(Copied::default());
        }
        // What is replaced gets older than what was built upon it, which cargo would believe in still.
        let own = there.iter().filter(|(unit, built)| differing > 0 && kept.get(*unit) != Some(*built));
        for (unit, _) in own {
            host::fs::remove_dir_all(&target.join(unit))?;
        }
        copy_units(
            &self.dir(),
            target,
            kept.iter().filter(|(unit, built)| there.get(*unit) != Some(*built)),
            false,
        )
    }

    fn save(&self, target: &Path, dependencies: &BTreeSet<String>) -> Result<Copied> {
        host::fs::create_dir_all(&self.root, 0o755)?;
        let _locks = self.lock(target)?;
        let (built, mut kept) = (units(target)?, units(&self.dir())?);
        if differing(&built, &kept).any(|(unit, time)| *time > kept[unit]) {
            // Built again since it was kept, for a reason that others will have as well.
            self.discard(&self.dir())?;
            kept.clear();
        } else if differing(&built, &kept).next().is_some() {
            return Ok(Copied::default());
        }
        let is_dependency = |unit: &Path| package(unit).is_some_and(|name| dependencies.contains(name));
        let wanted = missing(&built, &kept).filter(|(unit, _)| is_dependency(unit));
        let copied = copy_units(target, &self.dir(), wanted, true)?;
        touch(&self.dir())?;
        self.collect()?;
        Ok(copied)
    }

    /// Waits for every cargo that is at work on the target folder, in cargo's own order, and for
    /// other runs of this.
    fn lock(&self, target: &Path) -> Result<Vec<File>> {
        let halves = halves().map(|half| target.join(half)).into_iter().filter(|half| half.is_dir());
        let locked = |path: PathBuf| {
            let file = File::options().create(true).append(true).open(&path);
            let file = file.with_context(|| format!("cannot open {}", path.display()))?;
            if file.try_lock().is_err() {
                say("waiting for another build");
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Ok(file)
        };
        halves.map(|half| half.join(".cargo-lock")).chain([self.root.join("lock")]).map(locked).collect()
    }

    /// Removes what was used least recently.
    fn collect(&self) -> Result<()> {
        let mut sets = Vec::new();
        for dir in host::fs::list(&self.root)?.into_iter().filter(|path| path.is_dir()) {
            sets.push((dir.metadata()?.modified()?, dir));
        }
        sets.sort_by(|a, b| b.cmp(a));
        sets.iter().skip(KEPT).try_for_each(|(_, dir)| self.discard(dir))
    }

    /// Removes a set of dependencies, which is gone at once: half of it would be believed.
    fn discard(&self, dir: &Path) -> Result<()> {
        let gone = self.root.join(UNFINISHED);
        host::fs::remove_dir_all(&gone)?;
        host::fs::rename(dir, &gone)?;
        Ok(host::fs::remove_dir_all(&gone)?)
    }
}

/// The two halves of a target folder, in the order in which cargo locks them.
fn halves() -> [PathBuf; 2] {
    ["release".into(), Path::new(TARGET).join("release")]
}

/// Units by the paths of their fingerprints in the target folder, and when each was finished. A copy
/// has the time of its origin.
type Units = BTreeMap<PathBuf, SystemTime>;

/// The units that cargo would believe.
fn units(target: &Path) -> Result<Units> {
    let mut units = Units::new();
    for half in halves() {
        for dir in host::fs::list(&target.join(half).join(".fingerprint"))? {
            let time = host::fs::list(&dir)?.iter().find_map(|file| finished(file));
            if let Some(time) = time.filter(|_| package(&dir).is_some()) {
                units.insert(dir.strip_prefix(target)?.to_owned(), time);
            }
        }
    }
    Ok(units)
}

/// When a unit was finished, if this is the file that says so: 16 digits, once it is.
fn finished(file: &Path) -> Option<SystemTime> {
    let is_it = file.extension().is_none() && file.with_extension("json").is_file();
    let about = file.metadata().ok().filter(|about| is_it && about.len() == 16)?;
    about.modified().ok()
}

fn missing<'a>(from: &'a Units, to: &Units) -> impl Iterator<Item = (&'a PathBuf, &'a SystemTime)> {
    from.iter().filter(|(unit, _)| !to.contains_key(*unit))
}

fn differing<'a>(from: &'a Units, to: &Units) -> impl Iterator<Item = (&'a PathBuf, &'a SystemTime)> {
    from.iter().filter(|(unit, time)| to.get(*unit).is_some_and(|other| other != *time))
}

/// The package of a unit, which is called `<package>-<hash>`.
fn package(unit: &Path) -> Option<&str> {
    let (package, rest) = unit.file_name()?.to_str()?.rsplit_once('-')?;
    (hash(unit) == Some(rest)).then_some(package)
}

/// The hash in the name of a unit, or of a file that belongs to one: `lib<crate>-<hash>.rlib`.
fn hash(path: &Path) -> Option<&str> {
    let (hash, rest) = path.file_name()?.to_str()?.rsplit_once('-')?.1.split_at_checked(16)?;
    let is_hash = hash.bytes().all(|b| b.is_ascii_hexdigit()) && (rest.is_empty() || rest.starts_with('.'));
    is_hash.then_some(hash)
}

/// Copies units from one target folder to another; `durable` ones survive a power cut.
#[expect(
    clippy::disallowed_methods,
    reason = "one sync for each of a thousand units would cost more than building them"
)]
fn copy_units<'a>(
    from: &Path,
    to: &Path,
    units: impl Iterator<Item = (&'a PathBuf, &'a SystemTime)>,
    durable: bool,
) -> Result<Copied> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for dir in halves().iter().flat_map(|half| ["deps", "build"].map(|dir| half.join(dir))) {
        fs::create_dir_all(to.join(&dir))
            .with_context(|| format!("cannot make {}", to.join(&dir).display()))?;
        for file in host::fs::list(&from.join(dir))? {
            if let Some(hash) = hash(&file) {
                files.entry(hash.to_owned()).or_default().push(file.strip_prefix(from)?.to_owned());
            }
        }
    }
    let mut copied = Copied::default();
    for (unit, _) in units {
        let put = |path: &Path, there: &Path| {
            let bytes = copy(&from.join(path), &to.join(there), durable);
            bytes.with_context(|| format!("cannot copy {} to {}", from.join(path).display(), to.display()))
        };
        for file in hash(unit).and_then(|hash| files.get(hash)).into_iter().flatten() {
            copied.bytes += put(file, file)?;
        }
        let unfinished = unit.with_file_name(UNFINISHED);
        copied.bytes += put(unit, &unfinished)?;
        let there = to.join(unit);
        host::fs::remove_dir_all(&there)?;
        fs::rename(to.join(unfinished), &there)
            .with_context(|| format!("cannot make {}", there.display()))?;
        copied.units += 1;
    }
    Ok(copied)
}

/// Copies a file or a folder, with its times: cargo compares them. What is there goes: writing into
/// it would reach whatever else has a link to it.
#[expect(
    clippy::disallowed_methods,
    reason = "a unit counts when its fingerprint is renamed, which comes last"
)]
fn copy(from: &Path, to: &Path, durable: bool) -> io::Result<u64> {
    let about = from.metadata()?;
    let bytes = if about.is_dir() {
        host::fs::remove_dir_all(to).map_err(|e| e.source)?;
        fs::create_dir_all(to)?;
        let inside = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()), durable)
        };
        fs::read_dir(from)?.map(inside).sum::<io::Result<u64>>()?
    } else {
        let removed = fs::remove_file(to);
        removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        fs::copy(from, to)?
    };
    let copied = File::open(to)?;
    copied.set_modified(about.modified()?)?;
    if durable {
        copied.sync_all()?;
    }
    Ok(bytes)
}

/// Notes that a set of dependencies was used.
fn touch(dir: &Path) -> Result<()> {
    let touched = File::open(dir).and_then(|dir| dir.set_modified(SystemTime::now()));
    touched.with_context(|| format!("cannot touch {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SERDE: &str = "release/.fingerprint/serde-0123456789abcdef";
    const NODE: &str = "release/.fingerprint/node-1123456789abcdef";
    const NODE_FOO: &str = "release/.fingerprint/node-foo-2123456789abcdef";
    const LIBRARY: &str = "release/deps/libit-0123456789abcdef.rlib";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789)
    }

    fn put(path: &Path, content: &str, seconds: u64) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        host::fs::write(path, content.as_bytes(), 0o644).unwrap();
        File::open(path).unwrap().set_modified(at(seconds)).unwrap();
    }

    /// Lays down a unit as cargo does.
    fn build(target: &Path, unit: &str, seconds: u64) {
        let (half, name) = (target.join("release"), Path::new(unit).file_name().unwrap());
        let library = format!("deps/libit-{}.rlib", hash(Path::new(unit)).unwrap());
        put(&half.join(library), &format!("built at {seconds}"), seconds);
        put(&half.join("build").join(name).join("out/made.rs"), "made", seconds);
        put(&target.join(unit).join("lib-it.json"), "{}", seconds);
        put(&target.join(unit).join("lib-it"), "0123456789abcdef", seconds);
    }

    /// A store and two checkouts' target folders.
    fn world() -> (tempfile::TempDir, Store, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { root: dir.path().join("deps"), key: "key".into() };
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        (dir, store, a, b)
    }

    fn save(store: &Store, target: &Path) -> Copied {
        store.save(target, &["serde", "node-foo"].map(str::to_owned).into()).unwrap()
    }

    fn restore(store: &Store, target: &Path) -> usize {
        store.restore(target).unwrap().units
    }

    fn names(target: &Path) -> Vec<String> {
        units(target).unwrap().into_keys().map(|unit| unit.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn dependencies_come_from_a_registry_and_no_name_of_the_workspace_is_one() {
        let lock = r#"package = [
            { name = "node", version = "0" }, { name = "node", version = "1", source = "registry+x", checksum = "n" },
            { name = "mine", version = "0", source = "git+x" },
            { name = "serde", version = "2", source = "registry+x", checksum = "s" },
            { name = "node-foo", version = "3", source = "registry+x" }]"#;
        assert_eq!(pinned(lock).unwrap(), "node 1 n\nserde 2 s\nnode-foo 3 \n");
        assert_eq!(dependencies(lock).unwrap(), ["serde", "node-foo"].map(str::to_owned).into());
        assert_eq!([NODE, NODE_FOO].map(|unit| package(Path::new(unit))), [Some("node"), Some("node-foo")]);
        let hash = |name| hash(Path::new(name));
        assert_eq!(hash(LIBRARY), hash(SERDE));
        assert_eq!([hash("serde-0123456789abcdef0"), hash("serde-0123"), hash("serde")], [None; 3]);
    }

    #[test]
    fn a_clone_gets_the_dependencies_of_another_with_their_times() {
        let (_dir, store, a, b) = world();
        assert_eq!(restore(&store, &b), 0);
        for (unit, seconds) in [(SERDE, 1), (NODE_FOO, 2), (NODE, 3)] {
            build(&a, unit, seconds);
        }
        assert_eq!(save(&store, &a), Copied { units: 2, bytes: 2 * (10 + 4 + 2 + 16) });
        assert_eq!(save(&store, &a), Copied::default());
        assert_eq!(names(&store.dir()), [NODE_FOO, SERDE]);

        assert_eq!((restore(&store, &b), restore(&store, &b)), (2, 0));
        assert_eq!(names(&b), [NODE_FOO, SERDE]);
        for path in ["release/build/serde-0123456789abcdef/out/made.rs", LIBRARY] {
            assert_eq!(b.join(path).metadata().unwrap().modified().unwrap(), at(1), "{path}");
        }
    }

    #[test]
    fn half_a_unit_is_neither_kept_nor_believed() {
        let (_dir, store, a, b) = world();
        build(&a, SERDE, 1);
        put(&a.join(SERDE).join("lib-it"), "", 1);
        assert_eq!(save(&store, &a).units, 0);
        build(&a, SERDE, 1);
        assert_eq!(save(&store, &a).units, 1);

        // What a run leaves that is killed before the fingerprint has its name.
        build(&b, SERDE, 9);
        host::fs::rename(&b.join(SERDE), &b.join("release/.fingerprint").join(UNFINISHED)).unwrap();
        assert!(names(&b).is_empty());
        assert_eq!(restore(&store, &b), 1);
        assert_eq!(host::fs::read_to_string(&b.join(LIBRARY)).unwrap(), "built at 1");
        assert_eq!(host::fs::list(&b.join("release/.fingerprint")).unwrap(), [b.join(SERDE)]);
    }

    #[test]
    fn what_was_built_otherwise_gives_way_with_all_that_stands_on_it() {
        let (_dir, store, a, b) = world();
        build(&a, SERDE, 1);
        save(&store, &a);
        build(&b, SERDE, 5);
        build(&b, NODE, 6);
        // Nothing is missing: it stays as it is.
        assert_eq!(restore(&store, &b), 0);

        let more = [NODE_FOO, "release/.fingerprint/serde-3123456789abcdef"];
        build(&a, more[0], 2);
        build(&a, more[1], 2);
        assert_eq!((save(&store, &a).units, restore(&store, &b)), (2, 3));
        assert_eq!(names(&b), [more[0], SERDE, more[1]]);
        assert_eq!(units(&b).unwrap()[Path::new(SERDE)], at(1));
    }

    #[test]
    fn the_store_has_one_origin_and_the_newer_one() {
        let (_dir, store, a, b) = world();
        build(&a, SERDE, 5);
        save(&store, &a);
        build(&b, SERDE, 4);
        build(&b, NODE_FOO, 6);
        assert_eq!(save(&store, &b).units, 0);
        build(&b, SERDE, 7);
        assert_eq!(save(&store, &b).units, 2);
        assert_eq!(units(&store.dir()).unwrap()[Path::new(SERDE)], at(7));
    }

    #[test]
    fn the_keys_used_least_recently_go() {
        let (_dir, mut store, a, b) = world();
        build(&a, SERDE, 1);
        for key in ["k1", "k2", "k3", "k1", "k4"] {
            store.key = key.into();
            save(&store, &a);
            restore(&store, &b);
        }
        let kept = ["k1", "k3", "k4", "lock"].map(|name| store.root.join(name));
        assert_eq!(host::fs::list(&store.root).unwrap(), kept);
    }
}
