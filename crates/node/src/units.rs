//! Unit files, and `systemctl`: the one way in which units are handled.

use std::time::Duration;

use host::command::{Command, CommandError};

use crate::Root;
use crate::content::sha256_hex;
use crate::facts::Facts;

/// The variable by which a running process tells what it was started with: the digest of its
/// configuration and programs. Comparing it with the digest of what is on disk says whether a
/// restart is due, whatever happened in between.
pub const INPUTS_VARIABLE: &str = "KUBESTRAP_INPUTS";

/// How long one call of `systemctl` may take; containerd may need a while to load a full disk's
/// state before it says that it is ready.
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(90);

/// One unit, as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, such as `kubelet.service`.
    pub name: &'static str,
    /// The digest that the running process must carry in [`INPUTS_VARIABLE`].
    pub inputs: String,
    /// The unit file's text.
    pub text: String,
}

impl Unit {
    /// Fills a template's `@INPUTS@` and `@LIMITS@`. The digest covers `inputs` and the rest of
    /// the unit file itself.
    pub(crate) fn new(name: &'static str, inputs: &str, template: &str, limits: &str) -> Self {
        let text = template.replace("@LIMITS@", limits);
        let inputs = sha256_hex(format!("{inputs}\n{text}").as_bytes());
        Self { name, text: text.replace("@INPUTS@", &inputs), inputs }
    }

    /// The path of the unit file.
    pub fn path(&self) -> String {
        path(self.name)
    }
}

/// Where the unit file of that name lies.
pub(crate) fn path(name: &str) -> String {
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

fn systemctl(args: &[&str]) -> Command {
    Command::new("systemctl").args(args).timeout(SYSTEMCTL_LIMIT)
}

/// Makes the init system read changed unit files.
///
/// # Errors
/// [`CommandError`] when `systemctl` is missing or fails.
pub fn daemon_reload() -> Result<(), CommandError> {
    systemctl(&["daemon-reload"]).run().map(drop)
}

/// Has a unit started at every boot.
///
/// # Errors
/// As [`daemon_reload`].
pub fn enable(unit: &str) -> Result<(), CommandError> {
    systemctl(&["enable", "--quiet", unit]).run().map(drop)
}

/// Starts a unit, or starts it again when it runs.
///
/// # Errors
/// As [`daemon_reload`].
pub fn restart(unit: &str) -> Result<(), CommandError> {
    systemctl(&["restart", unit]).run().map(drop)
}

/// Starts a unit.
///
/// # Errors
/// As [`daemon_reload`].
pub fn start(unit: &str) -> Result<(), CommandError> {
    systemctl(&["start", unit]).run().map(drop)
}

/// Stops a unit and keeps it from being started at boot; one that does not exist is fine.
///
/// # Errors
/// As [`daemon_reload`].
pub fn disable_now(unit: &str) -> Result<(), CommandError> {
    systemctl(&["disable", "--quiet", "--now", unit]).run().map(drop)
}

/// True when the unit runs.
pub fn is_active(unit: &str) -> bool {
    systemctl(&["is-active", "--quiet", unit]).run_unchecked().is_ok_and(|(status, _)| status.success())
}

/// True when the unit is started at boot: `systemctl enable` makes a link in the target that the
/// unit names.
pub fn is_enabled(root: &Root, unit: &str) -> bool {
    root.path(names::path::UNITS).join("multi-user.target.wants").join(unit).is_symlink()
}

#[cfg(test)]
mod tests {
    use super::*;

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
