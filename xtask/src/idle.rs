//! Work beside the tests on clusters, in what they leave of the processors.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host::command::Command;

/// Where the hierarchy with the controller `cpu` usually is: cgroup v1's, v2's.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];

/// The group's name. One is enough for all runs.
const NAME: &str = "kubestrap-idle";

/// A cgroup whose processes run while no other one wants to (`cpu.idle`, from Linux 5.15 on). The policy `SCHED_IDLE` counts
/// only among the processes of one cgroup or session, and each sandbox has cgroups of its own.
///
/// It goes when this is dropped and nothing runs in it.
pub(crate) struct Idle {
    /// None where it cannot be made: what would run in it runs with `SCHED_IDLE` then.
    group: Option<PathBuf>,
}

impl Idle {
    /// Makes the group if this host has such groups.
    pub(crate) fn new() -> Self {
        Self::called(NAME)
    }

    fn called(name: &str) -> Self {
        let groups = HIERARCHIES.iter().map(|hierarchy| Path::new(hierarchy).join(name));
        Self { group: groups.into_iter().find(|group| make(group).is_ok()) }
    }

    /// A program that runs in it, with all that it starts.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let idle = Command::new("chrt").args(["--idle", "0"]);
        let idle = match &self.group {
            // The shell joins the group, and becomes the program. Another run that ends may just have removed the group.
            Some(group) => {
                idle.args(["sh", "-c", "echo 0 > \"$0\"; exec \"$@\""]).arg(group.join("cgroup.procs"))
            }
            None => idle,
        };
        idle.arg(program)
    }
}

impl Idle {
    /// From now on what runs in it gets its share like everybody else: nothing is left that it could disturb, and beside
    /// others it would never end.
    pub(crate) fn wake(&self) {
        if let Some(group) = &self.group {
            // Whoever cannot be woken ends later.
            let _ = set(group, b"0");
        }
    }
}

fn set(group: &Path, idle: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(group.join("cpu.idle"))?.write_all(idle)
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let made = set(group, b"1");
    if made.is_err() {
        let _ = fs::remove_dir(group);
    }
    made
}

impl Drop for Idle {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            // Another run may still work in it, and removes it.
            let _ = fs::remove_dir(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_in_the_group_where_there_is_one_and_with_its_arguments() {
        let name = format!("{NAME}-{}", std::process::id());
        let idle = Idle::called(&name);
        let script = "echo \"$1\"; cat /proc/self/cgroup";
        let said = idle.command("sh").args(["-c", script, "sh", "an argument"]).run().unwrap().text();
        assert!(said.starts_with("an argument\n"), "{said}");
        assert_eq!(said.contains(&name), idle.group.is_some(), "{said}");
        let lost = Idle { group: Some("/no/such/group".into()) };
        assert_eq!(lost.command("echo").arg("an argument").run().unwrap().text(), "an argument");
        idle.wake();
        let group = idle.group.as_ref().map(|group| fs::read_to_string(group.join("cpu.idle")).unwrap());
        assert!(group.is_none_or(|idle| idle.trim() == "0"));
        let none = Idle { group: None };
        assert_eq!(none.command("echo").arg("an argument").run().unwrap().text(), "an argument");
    }
}
