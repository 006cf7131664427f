//! systemd's unit files: with which arguments programs are started, and whether that is done at boot. The one place that
//! reads their text: what kubestrap writes itself it knows already, and a node's root may be one where no systemd can be
//! asked.

use std::path::Path;

use ::checks::{Check, Kind};
use node::units::{DIRS, is_started_at_boot};

use crate::files::Files;

/// One unit with its drop-ins.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    name: String,
    text: String,
    enabled: bool,
    masked: bool,
}

impl Unit {
    /// The unit of that name; none when no directory has it.
    pub(crate) fn read(files: &Files, name: &str) -> Option<Self> {
        let path =
            DIRS.iter().map(|dir| format!("{dir}/{name}")).find(|p| files.exists(p).unwrap_or(false))?;
        let masked = files.path(&path).ends_with("dev/null");
        let mut text = files.text(&path).unwrap_or_default();
        for drop_in in node::drop_ins::drop_ins(|path| files.path(path), name) {
            text.push('\n');
            text.push_str(&files.text(drop_in).unwrap_or_default());
        }
        let enabled = is_started_at_boot(|path| files.path(path), name);
        Some(Self { name: name.to_owned(), text, enabled, masked })
    }

    /// The program that it starts.
    pub(crate) fn program(&self) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.trim().strip_prefix("ExecStart="));
        let last = lines.rfind(|command| !command.trim().is_empty())?;
        let program = last.split_ascii_whitespace().next()?;
        Some(program.trim_start_matches(['@', '-', ':', '+', '!', '|']))
    }

    /// The value of a flag on its command line, or in a variable that makes part of it; the last
    /// one counts.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let lines = self.text.lines().filter(|line| !line.trim_start().starts_with(['#', ';']));
        let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == '"' || c == '\''));
        // `Environment="NAME=--flag=value"` has the flag in the middle of a word.
        words.filter_map(|word| word[word.find(name)?..].strip_prefix(name)?.strip_prefix('=')).next_back()
    }

    /// Whether its program is there.
    pub(crate) fn installed(&self, check: &Kind, files: &Files) -> Check {
        let remedy = "put the program back; `kubestrap up` installs it";
        match self.program() {
            None => Check::failed(check, format!("the unit {} starts no program", self.name), remedy),
            Some(program) if !is_program(&files.path(program)) => Check::failed(
                check,
                format!("the unit {} starts {program}, which is no program", self.name),
                remedy,
            ),
            Some(program) => Check::ok(check, format!("{program} is there")),
        }
    }

    /// Whether it is started at boot.
    pub(crate) fn enabled_check(&self, check: &Kind) -> Check {
        let name = &self.name;
        if self.masked {
            return Check::failed(
                check,
                format!("the unit {name} is masked"),
                format!("run: systemctl unmask {name}; systemctl enable --now {name}"),
            );
        }
        if self.enabled {
            return Check::ok(check, format!("the unit {name} is started at boot"));
        }
        Check::failed(
            check,
            format!("the unit {name} is not started at boot"),
            format!("run: systemctl enable {name}"),
        )
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use ::checks::{Outcome, kind};
    use node::Root;

    use super::*;

    fn write(dir: &Path, path: &str, text: &str, mode: u32) {
        let path = dir.join(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), mode).unwrap();
    }

    #[test]
    fn kubeadm_s_unit_with_its_drop_in_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        write(
            dir.path(),
            "lib/systemd/system/kubelet.service",
            "[Service]\nExecStart=/usr/bin/kubelet\n",
            0o644,
        );
        write(
            dir.path(),
            "usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
            "[Service]\nEnvironment=\"KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/other.yaml\"\n# --config=/no\n\
             ExecStart=\nExecStart=-/opt/kubelet $KUBELET_CONFIG_ARGS --kubeconfig=\"/etc/x.conf\"\n",
            0o644,
        );
        let unit = Unit::read(&files, "kubelet.service").unwrap();
        assert_eq!(unit.program(), Some("/opt/kubelet"));
        assert_eq!(unit.flag("--config"), Some("/var/lib/kubelet/other.yaml"));
        assert_eq!(unit.enabled_check(&kind::KUBELET_ENABLED).result, Outcome::Failed);
        assert_eq!(unit.installed(&kind::KUBELET_INSTALLED, &files).result, Outcome::Failed);
        write(dir.path(), "opt/kubelet", "", 0o644);
        assert_eq!(
            unit.installed(&kind::KUBELET_INSTALLED, &files).result,
            Outcome::Failed,
            "not executable"
        );
        write(dir.path(), "opt/kubelet", "", 0o755);
        assert_eq!(unit.installed(&kind::KUBELET_INSTALLED, &files).result, Outcome::Ok);
        write(dir.path(), "etc/systemd/system/multi-user.target.wants/x", "", 0o644);
        symlink(
            "/lib/systemd/system/kubelet.service",
            dir.path().join("etc/systemd/system/multi-user.target.wants/kubelet.service"),
        )
        .unwrap();
        let unit = Unit::read(&files, "kubelet.service").unwrap();
        assert_eq!(unit.enabled_check(&kind::KUBELET_ENABLED).result, Outcome::Ok);
    }

    #[test]
    fn a_masked_unit_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Root::below(dir.path()));
        write(dir.path(), "dev/null", "", 0o644);
        host::fs::create_dir_all(&dir.path().join("etc/systemd/system"), 0o755).unwrap();
        symlink("/dev/null", dir.path().join("etc/systemd/system/kubelet.service")).unwrap();
        let check = Unit::read(&files, "kubelet.service").unwrap().enabled_check(&kind::KUBELET_ENABLED);
        assert_eq!(check.what, "the unit kubelet.service is masked");
    }
}
