//! Which Go builds upstream's programs: this machine's when it is new enough, else the pinned one.
//!
//! ```text
//! go in PATH, /usr/local/go ─> new enough? ─yes──────────────────────────────────────> it
//!                                  └─no─> <cache>/go/<version> ─there─────────────────> it
//!                                             └─not─> any Go (apt's golang-go) fetches it
//! ```
//!
//! Go publishes each of its toolchains also as a module, `golang.org/toolchain`, which any Go from
//! 1.16 on can download from wherever its user takes modules. No download site is needed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use host::command::Command;
use serde::Deserialize;

use super::cache::Cache;
use super::descriptor::{PinnedGo, go_arch};
use super::progress::Progress;

/// Where Go's own installer puts it, for a shell that does not have it in PATH.
const USUAL_GO: &str = "/usr/local/go/bin/go";

/// Debian's package with some Go, and its program.
const DEBIAN_GO: (&str, &str) = ("golang-go", "/usr/bin/go");

/// The oldest Go that downloads a module for the asking: `go mod download MODULE@VERSION` checks
/// go.sum and needs no requirement in go.mod from it on.
const OLDEST_FETCHER: &str = "1.16";

const BY_HAND: &str = "or get one by hand from https://go.dev/dl (unpack it to /usr/local/go)";

/// A Go of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Go {
    /// Its program.
    pub(crate) program: PathBuf,
    /// What `go version` says.
    pub(crate) version: String,
}

impl Go {
    /// Asks a Go for its version.
    fn at(program: impl Into<PathBuf>) -> Result<Self> {
        let program = program.into();
        let version = local(&program).env("GOEXPERIMENT", "").arg("version").run()?.text();
        Ok(Self { program, version })
    }

    /// As in `1.26.8`; a development build of no release has none.
    fn number(&self) -> Option<&str> {
        self.version.split_whitespace().find_map(|w| w.strip_prefix("go").filter(|v| v.starts_with("1.")))
    }

    /// Whether it is `version` or newer, as a development build always is.
    fn is_at_least(&self, version: &str) -> bool {
        self.number().is_none_or(|have| numbers(have) >= numbers(version))
    }
}

/// Finds a Go that is new enough for all modules in `components`; the pinned one is fetched when
/// there is none.
///
/// # Errors
/// When it cannot be fetched: why, and how to get one by hand.
pub(crate) fn find(components: &Path, pinned: &PinnedGo, cache: &Cache, progress: Progress) -> Result<Go> {
    let needed = needed(components)?;
    let here: Vec<Go> = ["go", USUAL_GO].into_iter().filter_map(|p| Go::at(p).ok()).collect();
    if let Some(go) = first_from(&here, &needed) {
        return Ok(go);
    }
    let home = cache.go(&pinned.version);
    if let Ok(go) = Go::at(home.join("bin/go")) {
        return Ok(go);
    }
    let have: Vec<&str> = here.iter().filter_map(Go::number).collect();
    let have = if have.is_empty() { "no Go".to_owned() } else { format!("Go {}", have.join(" and ")) };
    progress.line(&format!("Go {needed} or newer is needed, this machine has {have}"));
    get(&here, &needed, pinned, cache, progress)
        .with_context(|| format!("cannot fetch Go {}; try again, {BY_HAND}", pinned.version))
}

fn get(here: &[Go], needed: &str, pinned: &PinnedGo, cache: &Cache, progress: Progress) -> Result<Go> {
    let fetcher = first_from(here, OLDEST_FETCHER).map_or_else(debian_go, Ok)?;
    if fetcher.is_at_least(needed) {
        return Ok(fetcher);
    }
    fetch(&fetcher, pinned, cache, progress)
}

fn debian_go() -> Result<Go> {
    let (package, program) = DEBIAN_GO;
    crate::apt::ensure(&[package])?;
    Go::at(program)
}

/// Downloads the pinned Go with another one. It appears in the cache when it is complete.
fn fetch(fetcher: &Go, pinned: &PinnedGo, cache: &Cache, progress: Progress) -> Result<Go> {
    let lock = cache.lock(|| progress.line("waiting for another run that changes the cache"))?;
    let home = cache.go(&pinned.version);
    if let Ok(go) = Go::at(home.join("bin/go")) {
        return Ok(go); // by the run that had the lock
    }
    let number = fetcher.number().unwrap_or("of this machine");
    progress.line(&format!("Go {} is fetched as a Go module, by Go {number}", pinned.version));
    let scratch = cache.scratch(&lock)?;
    let module = download(fetcher, pinned, &scratch)?;
    make_usable(&module)?;
    // Its many files get to the disk at once, and before their folder gets its name.
    Command::new("sync").arg("--file-system").arg(&module).run()?;
    host::fs::create_dir_all(home.parent().unwrap_or(&home), 0o755)?;
    host::fs::remove_dir_all(&home)?;
    host::fs::rename(&module, &home)?;
    host::fs::remove_dir_all(&scratch)?;
    progress.line(&format!("Go {} is in {}", pinned.version, home.display()));
    Go::at(home.join("bin/go"))
}

/// What `go mod download -json` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Downloaded {
    dir: PathBuf,
    sum: String,
    error: String,
}

/// The unpacked module, in `scratch`. The pinned sums stand in a go.sum, so that Go refuses other
/// content before it unpacks it, and asks no checksum database.
fn download(fetcher: &Go, pinned: &PinnedGo, scratch: &Path) -> Result<PathBuf> {
    let arch = go_arch();
    let sums = pinned.sums.get(arch).with_context(|| format!("no Go for {arch} is pinned"))?;
    let version = format!("v0.0.1-go{}.linux-{arch}", pinned.version);
    let module = format!("golang.org/toolchain@{version}");
    let go_sum = format!(
        "golang.org/toolchain {version} {}\ngolang.org/toolchain {version}/go.mod {}\n",
        sums.module, sums.go_mod
    );
    host::fs::write(&scratch.join("go.mod"), b"module fetch\n", 0o644)?;
    host::fs::write(&scratch.join("go.sum"), go_sum.as_bytes(), 0o644)?;
    let command = local(&fetcher.program)
        .current_dir(scratch)
        .env("GO111MODULE", "on")
        .env("GOWORK", "off")
        .env("GOMODCACHE", scratch.join("modules"))
        .env("GOFLAGS", "-modcacherw") // or only root could move and remove it
        .args(["mod", "download", "-json", &module]);
    let (status, output) = command.run_unchecked()?;
    let answer: Downloaded = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(status.success(), "`{}` failed: {}{}", command.line(), answer.error, stderr.trim());
    ensure!(answer.sum == sums.module, "{module} is {}, but {} is pinned", answer.sum, sums.module);
    Ok(answer.dir)
}

/// A module has neither executables nor a go.mod within it. Go sets both right when it fetches a
/// toolchain for itself (`Exec` in cmd/go/internal/toolchain/select.go); so does this.
fn make_usable(module: &Path) -> Result<()> {
    for dir in ["src", "src/cmd"] {
        let dir = module.join(dir);
        host::fs::rename(&dir.join("_go.mod"), &dir.join("go.mod"))?;
    }
    allow_exec(&module.join("pkg/tool"))?;
    allow_exec(&module.join("bin"))
}

fn allow_exec(dir: &Path) -> Result<()> {
    for path in host::fs::list(dir)? {
        if path.is_dir() {
            allow_exec(&path)?;
        } else {
            std::fs::set_permissions(&path, Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} executable", path.display()))?;
        }
    }
    Ok(())
}

/// A Go that is itself: it neither takes another one's place nor lets one take its own.
pub(crate) fn local(program: &Path) -> Command {
    Command::new(program).env("GOTOOLCHAIN", "local").env("GOROOT", "")
}

fn first_from(candidates: &[Go], version: &str) -> Option<Go> {
    candidates.iter().find(|g| g.is_at_least(version)).cloned()
}

/// The newest `go` line of all go.mod files.
fn needed(components: &Path) -> Result<String> {
    let mut newest = String::new();
    for module in host::fs::list(components)? {
        let go_mod = module.join("go.mod");
        if !go_mod.is_file() {
            continue;
        }
        let text = host::fs::read_to_string(&go_mod)?;
        let line = text.lines().find_map(|l| l.strip_prefix("go "));
        let version = line.with_context(|| format!("{} has no line `go`", go_mod.display()))?.trim();
        if numbers(version) > numbers(&newest) {
            version.clone_into(&mut newest);
        }
    }
    Ok(newest)
}

/// `1.26.8` as numbers; `1.26rc1` counts as 1.26, which is older than 1.26.0.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
    version.split('.').map(|part| number(part).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::descriptor::{Descriptor, GoSums};
    use super::*;

    fn go(version: &str) -> Go {
        Go { program: version.into(), version: format!("go version {version} linux/amd64") }
    }

    #[test]
    fn the_first_go_that_is_new_enough_is_taken() {
        let chosen = |here: &[&str], needed: &str| {
            let here: Vec<Go> = here.iter().map(|v| go(v)).collect();
            first_from(&here, needed).map(|g| g.program.display().to_string())
        };
        assert_eq!(chosen(&["go1.26.6", "go1.27.0"], "1.26.6").as_deref(), Some("go1.26.6"));
        assert_eq!(chosen(&["go1.19.8", "go1.26.8"], "1.26.6").as_deref(), Some("go1.26.8"));
        for new in ["go1.26.10", "go1.27rc1", "devel go1.27-0a1b2c", "devel +0a1b2c"] {
            assert_eq!(chosen(&[new], "1.26.6").as_deref(), Some(new));
        }
        for old in ["go1.26.5", "go1.26rc2", "go1.9", "devel go1.26-0a1b2c"] {
            assert_eq!(chosen(&[old], "1.26.6"), None, "{old}");
        }
        assert_eq!(chosen(&["go1.15.15", "go1.19.8"], OLDEST_FETCHER).as_deref(), Some("go1.19.8"));
        assert_eq!(chosen(&[], OLDEST_FETCHER), None);
    }

    #[test]
    fn the_pinned_go_is_new_enough_for_our_modules() {
        let components = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components");
        let pinned = Descriptor::load(&components.join("components.toml")).unwrap().go;
        let needed = needed(&components).unwrap();
        assert!(numbers(&needed) >= numbers("1.24"), "{needed}");
        assert!(go(&format!("go{}", pinned.version)).is_at_least(&needed), "{pinned:?} {needed}");
        assert!(pinned.sums["amd64"].module.starts_with("h1:"));
    }

    /// Stands for an old Go: its download has no executables, and what it says its sum is stands
    /// in the file `sum`; without that file it is killed in the middle.
    const OLD_GO: &str = r#"#!/bin/sh
[ "$1" = version ] && { echo go version go1.19.8 linux/amd64; exit; }
[ "$GOTOOLCHAIN" = local ] && grep -q "linux-.* h1:right" go.sum || exit 9
dir=$GOMODCACHE/toolchain
mkdir -p "$dir/bin" "$dir/pkg/tool/x" "$dir/src/cmd"
touch "$dir/src/_go.mod" "$dir/src/cmd/_go.mod" "$dir/pkg/tool/x/compile"
printf '#!/bin/sh\necho go version go1.26.8 linux/amd64\n' > "$dir/bin/go"
sum=$(cat "${0%/*}/sum") || kill -9 $$
echo "{\"Dir\": \"$dir\", \"Sum\": \"$sum\", \"Error\": \"\"}"
"#;

    #[test]
    fn a_fetched_go_is_usable_and_appears_only_when_it_is_the_pinned_one() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("go.sh");
        host::fs::write(&script, OLD_GO.as_bytes(), 0o644).unwrap();
        let old = dir.path().join("go");
        // Written by a child: a fork of another test's thread cannot hold it open for writing then.
        Command::new("install").args(["-m", "755"]).args([&script, &old]).run().unwrap();
        let sums = GoSums { module: "h1:right".into(), go_mod: "h1:also".into() };
        let pinned = PinnedGo { version: "1.26.8".into(), sums: [(go_arch().to_owned(), sums)].into() };
        let cache = Cache::at(dir.path().join("cache"));
        let home = cache.go("1.26.8");
        let fetcher = Go::at(&old).unwrap();
        let fetch = || fetch(&fetcher, &pinned, &cache, Progress::silent());

        assert!(format!("{:#}", fetch().unwrap_err()).contains("mod download -json golang.org/toolchain@v0"));
        assert!(!home.exists(), "it was killed in the middle");
        host::fs::write(&dir.path().join("sum"), b"h1:wrong", 0o644).unwrap();
        let error = format!("{:#}", fetch().unwrap_err());
        assert!(error.contains("h1:wrong") && error.contains("h1:right is pinned"), "{error}");
        assert!(!home.exists());

        host::fs::write(&dir.path().join("sum"), b"h1:right", 0o644).unwrap();
        let fetched = fetch().unwrap();
        assert_eq!(fetched.program, home.join("bin/go"));
        assert_eq!(fetched.number(), Some("1.26.8"));
        assert!(home.join("src/go.mod").is_file() && home.join("src/cmd/go.mod").is_file());
        let mode = std::fs::metadata(home.join("pkg/tool/x/compile")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert!(!dir.path().join("cache/tmp").exists());
        host::fs::remove_file(&old).unwrap();
        assert_eq!(fetch().unwrap(), fetched, "it is there already");
    }
}
