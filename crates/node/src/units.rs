//! Unit files, and `systemctl`: the one way in which units are handled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::command::{Command, CommandError, Output};

use crate::Root;
use crate::content::sha256_hex;
use crate::facts::Facts;
use crate::machine::Started;

/// The variable by which a running process tells what it was started with: the digest of its
/// configuration and programs. Comparing it with the digest of what is on disk says whether a
/// restart is due, whatever happened in between. (But that somebody changed a file and had it read, since then
/// the digest is still ours: [`Unit::reads`] is for that.)
pub const INPUTS_VARIABLE: &str = "KUBESTRAP_INPUTS";

/// How long one call of `systemctl` may take; containerd may need a while to load a full disk's
/// state before it says that it is ready.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(90);

/// Where units lie, what wins first (systemd.unit(5)).
pub const DIRS: [&str; 5] = [
    names::path::UNITS,
    names::path::RUNTIME_UNITS,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What boots reach (systemd.special(7)): `default.target` is one of the two before it, unless it was linked elsewhere.
const BOOT: [&str; 5] =
    ["sysinit.target", "basic.target", "multi-user.target", "graphical.target", "default.target"];

/// The directories beside a unit whose links name units that it pulls in.
const PULLING: [&str; 3] = [".wants", ".requires", ".upholds"];

/// One unit, as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, such as `kubelet.service`.
    pub name: &'static str,
    /// The digest that the running process must carry in [`INPUTS_VARIABLE`].
    pub inputs: String,
    /// The unit file's text.
    pub text: String,
    /// The files that its process reads when it starts, its program and the unit file among them: one that was written
    /// after that start may not be what it has read.
    pub reads: Vec<String>,
}

impl Unit {
    /// Fills a template's `@INPUTS@` and `@LIMITS@`. The digest covers `inputs` and the rest of
    /// the unit file itself.
    pub(crate) fn new(name: &'static str, inputs: &str, template: &str, limits: &str) -> Self {
        let text = template.replace("@LIMITS@", limits);
        let inputs = sha256_hex(format!("{inputs}\n{text}").as_bytes());
        Self { name, text: text.replace("@INPUTS@", &inputs), inputs, reads: vec![path(name)] }
    }

    /// With these files that its process reads when it starts.
    pub(crate) fn reading(mut self, files: &[&str]) -> Self {
        self.reads.extend(files.iter().map(|file| (*file).to_owned()));
        self
    }

    /// The path of the unit file.
    pub fn path(&self) -> String {
        path(self.name)
    }
}

/// Where the unit file of that name lies.
pub fn path(name: &str) -> String {
    format!("{}/{name}", names::path::UNITS)
}

/// Settings that need CAP_SYS_RESOURCE: without it the init system could not start the unit.
pub(crate) fn limits(facts: &Facts) -> &'static str {
    if facts.cap_sys_resource {
        "LimitNPROC=infinity\nLimitCORE=infinity\nTasksMax=infinity\nOOMScoreAdjust=-999\n"
    } else {
        ""
    }
}

/// One word of an `ExecStart=` line, quoted as systemd.service(5) says where that is needed.
pub(crate) fn quote(word: &str) -> String {
    let escaped = word.replace('%', "%%").replace('$', "$$");
    if escaped.is_empty()
        || escaped.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | ';'))
    {
        return format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""));
    }
    escaped
}

/// The units of a host.
#[derive(Debug, Clone, Copy)]
pub struct Units<'a>(&'a Root);

impl<'a> Units<'a> {
    /// Those of that host.
    pub fn of(root: &'a Root) -> Self {
        Self(root)
    }

    fn systemctl(self, args: &[&str]) -> Result<Output, CommandError> {
        self.0.machine().run(Command::new("systemctl").args(args).timeout(SYSTEMCTL_LIMIT))
    }

    /// Makes the init system read changed unit files.
    ///
    /// # Errors
    /// [`CommandError`] when `systemctl` is missing or fails.
    pub fn daemon_reload(self) -> Result<(), CommandError> {
        self.systemctl(&["daemon-reload"]).map(drop)
    }

    /// Has a unit started at every boot.
    ///
    /// # Errors
    /// As [`Units::daemon_reload`].
    pub fn enable(self, unit: &str) -> Result<(), CommandError> {
        self.systemctl(&["enable", "--quiet", unit]).map(drop)
    }

    /// Starts a unit, or starts it again when it runs.
    ///
    /// # Errors
    /// As [`Units::daemon_reload`].
    pub fn restart(self, unit: &str) -> Result<(), CommandError> {
        self.systemctl(&["restart", unit]).map(drop)
    }

    /// Starts a unit.
    ///
    /// # Errors
    /// As [`Units::daemon_reload`].
    pub fn start(self, unit: &str) -> Result<(), CommandError> {
        self.systemctl(&["start", unit]).map(drop)
    }

    /// Stops a unit.
    ///
    /// # Errors
    /// As [`Units::daemon_reload`].
    pub fn stop(self, unit: &str) -> Result<(), CommandError> {
        self.systemctl(&["stop", unit]).map(drop)
    }

    /// Stops a unit and keeps it from being started at boot; one that does not exist is fine.
    ///
    /// # Errors
    /// As [`Units::daemon_reload`].
    pub fn disable_now(self, unit: &str) -> Result<(), CommandError> {
        self.systemctl(&["disable", "--quiet", "--now", unit]).map(drop)
    }

    /// True when the unit runs.
    pub fn is_active(self, unit: &str) -> bool {
        self.systemctl(&["is-active", "--quiet", unit]).is_ok()
    }

    /// True when the unit is started at boot.
    pub fn is_enabled(self, unit: &str) -> bool {
        is_started_at_boot(|path| self.0.path(path), unit)
    }

    /// How the process that runs as a unit was started, with the digest of its inputs; none when it carries none of ours.
    pub(crate) fn inputs(self, unit: &str) -> Option<Started> {
        self.0.machine().started_with(unit.trim_end_matches(".service"), INPUTS_VARIABLE)
    }
}

/// True when the next boot starts a unit: a target that each one reaches pulls it in, or a unit that is itself started.
/// `at` says where a path of the host lies for us.
pub fn is_started_at_boot(at: impl Fn(&str) -> PathBuf, unit: &str) -> bool {
    let default = DIRS.into_iter().find_map(|dir| at(dir).join("default.target").read_link().ok());
    let default = default.as_deref().and_then(Path::file_name);
    let (mut known, mut next) = (BTreeSet::new(), vec![unit.to_owned()]);
    while let Some(unit) = next.pop() {
        if BOOT.contains(&unit.as_str()) || default.is_some_and(|default| default == unit.as_str()) {
            return true;
        }
        next.extend(pulled_in_by(&at, &unit).into_iter().filter(|by| !known.contains(by)));
        known.insert(unit);
    }
    false
}

/// The units that pull this one in by a link, as systemd reads it (`process_deps` in its src/core/load-dropin.c):
/// `systemctl enable` makes one, and distributions may. Where it leads does not matter, unless that is `/dev/null`; of
/// several of one name the first counts. What /run has is gone at the next boot.
fn pulled_in_by(at: impl Fn(&str) -> PathBuf, unit: &str) -> Vec<String> {
    let mut found = BTreeMap::new();
    for dir in DIRS.into_iter().filter(|dir| *dir != names::path::RUNTIME_UNITS) {
        for entry in host::fs::list(&at(dir)).unwrap_or_default() {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(puller) = PULLING.iter().find_map(|kind| name.strip_suffix(kind)) else { continue };
            let link = at(&format!("{dir}/{name}")).join(unit);
            if link.symlink_metadata().is_ok() {
                let counts = link.read_link().is_ok_and(|target| target != Path::new("/dev/null"));
                found.entry(name.to_owned()).or_insert(counts.then(|| puller.to_owned()));
            }
        }
    }
    found.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_started_at_boot_when_what_is_started_pulls_it_in() {
        const VENDOR: &str = "/usr/lib/systemd/system";
        let case = |links: &[(&str, &str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::below(dir.path());
            for (dir, name, target) in links {
                let link = root.path(dir).join(name);
                host::fs::create_dir_all(link.parent().unwrap(), 0o755).unwrap();
                match *target {
                    "" => host::fs::write(&link, b"", 0o644).unwrap(),
                    target => host::fs::symlink(Path::new(target), &link).unwrap(),
                }
            }
            Units::of(&root).is_enabled("a.service")
        };
        let etc = names::path::UNITS;
        let link = "multi-user.target.wants/a.service";
        assert!(!case(&[]));
        assert!(case(&[(etc, link, "/somewhere/a.service")]));
        assert!(case(&[(VENDOR, link, "../a.service")]));
        assert!(case(&[(etc, "default.target.requires/a.service", "x")]));
        assert!(!case(&[(etc, "multi-user.target.other/a.service", "x")]));
        assert!(!case(&[(etc, link, "")]), "no link");
        assert!(!case(&[(names::path::RUNTIME_UNITS, link, "x")]), "gone at the next boot");
        assert!(!case(&[(etc, link, "/dev/null"), (VENDOR, link, "x")]), "masked");
        let by_b = (etc, "b.target.wants/a.service", "x");
        assert!(!case(&[by_b]), "nobody starts b.target");
        assert!(case(&[by_b, (VENDOR, "graphical.target.wants/b.target", "x")]));
        assert!(!case(&[by_b, (etc, "a.service.upholds/b.target", "x")]), "a ring");
        assert!(case(&[by_b, (etc, "default.target", "/lib/systemd/system/b.target")]));
    }

    #[test]
    fn words_are_quoted_where_systemd_would_split_or_expand_them() {
        assert_eq!(quote("--v=2"), "--v=2");
        assert_eq!(quote("--a=b c"), "\"--a=b c\"");
        assert_eq!(quote("--a=5%$x\"\\"), "\"--a=5%%$$x\\\"\\\\\"");
    }

    #[test]
    fn the_digest_covers_the_unit_file_and_its_inputs() {
        let unit = |inputs, template| Unit::new("a.service", inputs, template, "").inputs;
        assert_eq!(unit("x", "[Unit] @INPUTS@"), unit("x", "[Unit] @INPUTS@"));
        assert_ne!(unit("x", "[Unit] @INPUTS@"), unit("y", "[Unit] @INPUTS@"));
        assert_ne!(unit("x", "[Unit] @INPUTS@"), unit("x", "[Unit]  @INPUTS@"));
        let filled = Unit::new("a.service", "x", "a @INPUTS@ @LIMITS@", "L");
        assert_eq!(filled.text, format!("a {} L", filled.inputs));
    }
}
