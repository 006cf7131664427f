//! A plain Debian root file system for the case that brings a cluster up in one: made once by
//! mmdebstrap from the package sources of this machine, of its own release, and kept.
//!
//! ```text
//! /etc/apt/sources.list*, how apt reaches them ─┐
//! the packages ─────────────────────────────────┴─> key ─> <cache>/roots/<release>-<key>
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use host::command::Command;

use crate::build::{self, NODE, SANDBOX, say};
use crate::components::{Cache, cache_root, key};

/// What a person installs beside what a node needs: pid 1's link and the bus of systemd's services.
const PLAIN: &[&str] = &["systemd-sysv", "dbus"];

/// A root that is not complete; the next run removes it.
const UNFINISHED: &str = ".unfinished-";

/// What says how apt reaches its sources and when it believes them: the rest is a matter of this machine.
const TRANSPORT: [&str; 3] = ["Acquire::http", "Acquire::Check-", "Acquire::Retries"];

/// Makes the root when there is none of these packages from these sources; its folder.
///
/// # Errors
/// When this machine is no Debian, or mmdebstrap fails.
pub(crate) fn ensure() -> Result<PathBuf> {
    crate::apt::ensure(&["mmdebstrap"])?;
    let recipe = Recipe::of_this_machine()?;
    let cache = cache_root()?;
    let root = cache.join("roots").join(recipe.name());
    if root.exists() {
        return Ok(root);
    }
    let _alone = Cache::at(cache).lock(|| say("waiting for another run that changes the cache"))?;
    if !root.exists() {
        recipe.make(&root)?;
    }
    Ok(root)
}

/// All that the root depends on.
struct Recipe {
    /// As in `bookworm`.
    release: String,
    /// Files of package sources, each with its content.
    sources: Vec<(PathBuf, Vec<u8>)>,
    /// Settings of apt, as one of its files has them.
    settings: String,
    packages: String,
}

impl Recipe {
    fn of_this_machine() -> Result<Self> {
        let release = release(&host::fs::read_to_string(Path::new("/etc/os-release"))?)
            .context("/etc/os-release names no release of Debian")?;
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        files
            .extend(host::fs::list(Path::new("/etc/apt/sources.list.d"))?.into_iter().filter(|p| is_read(p)));
        files.retain(|path| path.exists());
        let read = |path: PathBuf| -> Result<_> {
            let text = host::fs::read(&path)?;
            Ok((path, text))
        };
        let dump = Command::new("apt-config").args(["dump", "--no-empty"]).run()?.text();
        Ok(Self {
            release,
            sources: files.into_iter().map(read).collect::<Result<_>>()?,
            settings: transport(&dump),
            packages: [NODE, SANDBOX, PLAIN].concat().join(","),
        })
    }

    fn name(&self) -> String {
        let texts = [self.release.as_str(), &self.settings, &self.packages].map(str::as_bytes);
        let sources = self.sources.iter().map(|(_, text)| text.as_slice());
        format!("{}-{}", self.release, key(texts.into_iter().chain(sources)))
    }

    fn make(&self, root: &Path) -> Result<()> {
        let roots = root.parent().context("a root without a folder")?;
        host::fs::create_dir_all(roots, 0o755)?;
        for old in host::fs::list(roots)? {
            if old.file_name().is_some_and(|n| n.to_string_lossy().starts_with(UNFINISHED)) {
                host::fs::remove_dir_all(&old)?;
            }
        }
        let temp = roots.join(format!("{UNFINISHED}{}", std::process::id()));
        let settings = roots.join("apt.conf");
        host::fs::write(&settings, self.settings.as_bytes(), 0o644)?;
        let make = Command::new("mmdebstrap")
            .args(["--quiet", "--mode=root", "--variant=minbase"])
            .arg(format!("--include={}", self.packages))
            .arg(format!("--aptopt={}", settings.display()))
            .arg(&self.release)
            .arg(&temp)
            .args(self.sources.iter().map(|(path, _)| path));
        build::succeeds(&make)?;
        Ok(host::fs::rename(&temp, root)?)
    }
}

/// Whether apt reads a file in its folder of sources (sources.list(5)).
fn is_read(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
}

/// The code name of a release of Debian, out of os-release(5).
fn release(text: &str) -> Option<String> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    field("ID").filter(|id| id == "debian")?;
    field("VERSION_CODENAME")
}

/// Of all settings those that say how sources are reached.
fn transport(dump: &str) -> String {
    let wanted = |line: &&str| TRANSPORT.iter().any(|name| line.starts_with(name));
    dump.lines().filter(wanted).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_debians_own() {
        let debian = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
        assert_eq!(release(debian).as_deref(), Some("bookworm"));
        assert_eq!(release("ID=other\nID_LIKE=debian\nVERSION_CODENAME=x\n"), None);
        assert_eq!(release("ID=debian\n"), None);
    }

    #[test]
    fn what_apt_reads_and_how_it_reaches_it_is_taken() {
        assert!(is_read(Path::new("/x/debian.sources")) && is_read(Path::new("/x/a.list")));
        assert!(!is_read(Path::new("/x/a.list.disabled")) && !is_read(Path::new("/x/README")));
        let dump = "APT::Architecture \"amd64\";\nAcquire::http::Proxy \"http://proxy\";\n\
            Acquire::Check-Date \"false\";\nDPkg::Post-Invoke:: \"rm\";\n";
        assert_eq!(
            transport(dump),
            "Acquire::http::Proxy \"http://proxy\";\nAcquire::Check-Date \"false\";\n"
        );
    }

    #[test]
    fn other_sources_make_another_root() {
        let recipe = |text: &[u8], packages: &str| Recipe {
            release: "bookworm".to_owned(),
            sources: vec![("/etc/apt/sources.list".into(), text.to_vec())],
            settings: String::new(),
            packages: packages.to_owned(),
        };
        let name = recipe(b"deb one", "a").name();
        assert!(name.starts_with("bookworm-"), "{name}");
        assert_eq!(recipe(b"deb one", "a").name(), name);
        assert_ne!(recipe(b"deb two", "a").name(), name);
        assert_ne!(recipe(b"deb one", "b").name(), name);
    }
}
