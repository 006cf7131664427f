//! Control groups of both versions with one face: a group is a path below the root of every
//! mounted hierarchy (cgroup v1 has many, v2 has one).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a dead process may keep its group from being removed.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
    cpuset: bool,
}

/// All mounted hierarchies.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Finds what is mounted.
    pub(crate) fn mounted() -> Result<Self> {
        Ok(Self::parse(&host::fs::read_to_string(Path::new("/proc/self/mountinfo"))?))
    }

    /// From the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    fn parse(mountinfo: &str) -> Self {
        let mut seen = BTreeSet::new();
        let mut hierarchies = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(device), Some(mount), Some(kind)) = (left.get(2), left.get(4), right.first()) else {
                continue;
            };
            // The same hierarchy may be mounted in several places.
            if !kind.starts_with("cgroup") || !seen.insert((*device).to_owned()) {
                continue;
            }
            let options = right.get(2).unwrap_or(&"");
            let cpuset = options.split(',').any(|o| o == "cpuset");
            hierarchies.push(Hierarchy { mount: PathBuf::from(mount), v2: *kind == "cgroup2", cpuset });
        }
        Self { hierarchies }
    }

    /// True when there is no hierarchy at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// True when a node's systemd finds here what it would mount otherwise, where no verb of ours
    /// could find it: v2 alone, or v1 with the two that systemd has beside the controllers.
    pub(crate) fn suit_systemd(&self) -> bool {
        let mounted = |at: &str, v2| self.hierarchies.iter().any(|h| h.mount == Path::new(at) && h.v2 == v2);
        mounted("/sys/fs/cgroup", true)
            || (mounted("/sys/fs/cgroup/unified", true) && mounted("/sys/fs/cgroup/systemd", false))
    }

    /// Makes a group, its parents too, in every hierarchy, able to take processes.
    pub(crate) fn create(&self, group: &str) -> Result<()> {
        let deadline = Instant::now() + REMOVE_LIMIT;
        for hierarchy in &self.hierarchies {
            // Whoever removes the last sandbox takes the parent along, perhaps just now.
            loop {
                match create_in(hierarchy, group) {
                    Err(error) if is_gone(&error) && Instant::now() < deadline => {}
                    other => break other?,
                }
            }
        }
        Ok(())
    }

    /// The files that take a process into the group: each gets "0" written by that process.
    pub(crate) fn doors(&self, group: &str) -> Result<Vec<File>> {
        let open = |hierarchy: &Hierarchy| {
            let path = at(hierarchy, group).join("cgroup.procs");
            OpenOptions::new().write(true).open(&path).map_err(|source| Error::Cgroup {
                verb: "join",
                path,
                source,
            })
        };
        self.hierarchies.iter().map(open).collect()
    }

    /// The processes of the group and all groups below, by their numbers in our pid namespace.
    pub(crate) fn pids(&self, group: &str) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            collect(&at(hierarchy, group), &mut pids);
        }
        pids
    }

    /// True when the group exists in some hierarchy.
    pub(crate) fn exists(&self, group: &str) -> bool {
        self.hierarchies.iter().any(|h| at(h, group).exists())
    }

    /// Removes the group and all below; those must have no living process. The parent goes too
    /// when it is empty then.
    pub(crate) fn remove(&self, group: &str) -> Result<()> {
        let deadline = Instant::now() + REMOVE_LIMIT;
        for hierarchy in &self.hierarchies {
            let dir = at(hierarchy, group);
            remove_tree(&dir, deadline)?;
            if let Some(parent) = dir.parent().filter(|p| *p != hierarchy.mount) {
                // Another sandbox may be in it.
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }
}

fn at(hierarchy: &Hierarchy, group: &str) -> PathBuf {
    hierarchy.mount.join(group.trim_start_matches('/'))
}

fn create_in(hierarchy: &Hierarchy, group: &str) -> Result<()> {
    let mut dir = hierarchy.mount.clone();
    for part in group.split('/').filter(|p| !p.is_empty()) {
        if hierarchy.v2 {
            enable_controllers(&dir);
        }
        let child = dir.join(part);
        match fs::create_dir(&child) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::Cgroup { verb: "create", path: child, source: e });
            }
            _ => {}
        }
        if hierarchy.cpuset && !hierarchy.v2 {
            inherit_cpuset(&dir, &child)?;
        }
        dir = child;
    }
    Ok(())
}

/// Whether a file or directory was not there, or went away between its opening and its use: the
/// kernel says ENODEV then (fs/kernfs/file.c, `kernfs_get_active`).
fn is_gone(error: &Error) -> bool {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV);
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(gone) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Hands all controllers of a v2 group to its children. Refused where processes sit in the group
/// itself; what is missing then shows when the kubelet looks for it, with its name.
fn enable_controllers(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_ascii_whitespace() {
        let _ = write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// A new v1 cpuset is empty and takes no process until it is filled.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = child.join(file);
        if fs::read_to_string(&path).is_ok_and(|text| !text.trim().is_empty()) {
            continue;
        }
        let value = host::fs::read_to_string(&parent.join(file))?;
        let filled = match value.trim() {
            // The parent that was filled has gone, and another one is there that nobody filled yet.
            "" => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is empty", parent.join(file).display()),
            )),
            value => write(&path, value),
        };
        filled.map_err(|source| Error::Cgroup { verb: "fill", path, source })?;
    }
    Ok(())
}

/// Control files take one write and know no rename, so `host::fs::write` is not for them.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn read_pids(dir: &Path, pids: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process that our pid namespace cannot name.
    pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|pid| *pid > 0));
}

fn collect(dir: &Path, pids: &mut BTreeSet<i32>) {
    read_pids(dir, pids);
    for child in children(dir) {
        collect(&child, pids);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(dir: &Path, deadline: Instant) -> Result<()> {
    for child in children(dir) {
        remove_tree(&child, deadline)?;
    }
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The last process has ended but the kernel has not let go of the group yet.
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(source) => return Err(Error::Cgroup { verb: "remove", path: dir.to_owned(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hierarchy_is_found_once() {
        let text = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 31 0:29 / /elsewhere rw,relatime - cgroup cgroup rw,cpu
";
        let found = Cgroups::parse(text).hierarchies;
        let h = |mount: &str, v2, cpuset| Hierarchy { mount: mount.into(), v2, cpuset };
        assert_eq!(
            found,
            [
                h("/sys/fs/cgroup/cpu", false, false),
                h("/sys/fs/cgroup/cpuset", false, true),
                h("/sys/fs/cgroup/unified", true, false)
            ]
        );
    }

    #[test]
    fn systemd_wants_v2_or_its_two_beside_v1() {
        let suit = |lines: &[&str]| {
            let line = |(n, l): (usize, &&str)| format!("1 1 0:{n} / /sys/fs/cgroup{l} none rw\n");
            Cgroups::parse(&lines.iter().enumerate().map(line).collect::<String>()).suit_systemd()
        };
        let (v1, v2, named) = ("/cpu rw - cgroup", "/unified rw - cgroup2", "/systemd rw - cgroup");
        assert!(suit(&[" rw - cgroup2"]) && suit(&[v1, v2, named]));
        assert!(!suit(&[v1, v2]) && !suit(&[v1, named]) && !suit(&[]));
    }

    #[test]
    fn groups_are_made_while_their_neighbours_go() {
        let cgroups = Cgroups::mounted().unwrap();
        let parent = format!("kubestrap-neighbours-{}", std::process::id());
        let rounds = |name: &str| {
            let group = format!("{parent}/{name}");
            (0..200).try_for_each(|_| {
                cgroups.create(&group)?;
                assert!(cgroups.hierarchies.iter().all(|h| takes_processes(h, &group)), "{group}");
                cgroups.remove(&group)
            })
        };
        let outcomes = std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(|| rounds("a")), scope.spawn(|| rounds("b")));
            [a.join(), b.join()]
        });
        let left = cgroups.exists(&parent);
        // A failed test leaves nothing either.
        cgroups.remove(&parent).unwrap();
        for outcome in outcomes {
            outcome.unwrap().unwrap();
        }
        assert!(!left);
    }

    /// A v1 cpuset without processors or memory takes none (cpuset(7)).
    fn takes_processes(hierarchy: &Hierarchy, group: &str) -> bool {
        let filled = |file| !fs::read_to_string(at(hierarchy, group).join(file)).unwrap().trim().is_empty();
        !hierarchy.cpuset || hierarchy.v2 || ["cpuset.cpus", "cpuset.mems"].into_iter().all(filled)
    }

    #[test]
    fn a_group_is_made_and_removed_in_every_hierarchy() {
        let cgroups = Cgroups::mounted().unwrap();
        assert!(!cgroups.is_empty(), "no cgroup hierarchy is mounted on this machine");
        let parent = format!("/kubestrap-sandbox/test-{}", std::process::id());
        let group = format!("{parent}/a/b");
        cgroups.create(&group).unwrap();
        let made = cgroups.hierarchies.iter().all(|h| at(h, &group).exists());
        let empty = cgroups.pids(&parent).is_empty();
        cgroups.remove(&parent).unwrap();
        assert!(made && empty);
        assert!(!cgroups.exists(&parent));
    }
}
