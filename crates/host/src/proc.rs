//! What `/proc` knows of a process: when it started, which cgroup (and so which container and
//! pod) it is in, whether it still is the one that was meant.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What the kernel counts a process's start in, in milliseconds (`USER_HZ` of include/asm-generic/param.h; programs see no
/// other one).
const TICK: u64 = 10;

/// How often the clock is compared with the uptime: whoever reads both may have to wait between.
const READINGS: u32 = 5;

/// A process that cannot be taken for another one that got its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`, see proc(5)).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` when there is none.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in brackets and may hold anything, spaces too.
        let rest = &stat[stat.rfind(')')? + 1..];
        let started = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Asks this very process to end (SIGTERM), and none that got its number later.
    ///
    /// # Errors
    /// When it is gone, or not ours to end.
    pub fn terminate(self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends this very process without asking (SIGKILL).
    ///
    /// # Errors
    /// As [`ProcessId::terminate`].
    pub fn kill(self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        if !self.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(pidfd_send_signal(process, signal)?)
    }

    /// When it started, by the clock as it is set now, to some hundredths of a second: rather later than it was. None where
    /// /proc does not say how long the machine is up.
    pub fn started_at(self) -> Option<SystemTime> {
        booted_at()?.checked_add(self.after_boot()?)
    }

    /// How long it has been there; none where /proc does not say how long the machine is up.
    pub fn age(self) -> Option<Duration> {
        Some(uptime()?.saturating_sub(self.after_boot()?))
    }

    fn after_boot(self) -> Option<Duration> {
        self.started.checked_mul(TICK).map(Duration::from_millis)
    }

    /// True while this very process exists (a zombie exists too).
    pub fn exists(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// When the machine was booted, by the clock as it is set now. Clock and uptime are read one after the other: of some
/// readings the one counts between which the least time was.
fn booted_at() -> Option<SystemTime> {
    let read = || {
        let up = uptime()?;
        SystemTime::now().checked_sub(up)
    };
    (0..READINGS).filter_map(|_| read()).min()
}

/// How long the machine is up (proc(5), `/proc/uptime`).
fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_ascii_whitespace().next()?.parse().ok()?).ok()
}

/// True for a process that is no zombie (the third field of `/proc/<pid>/stat`, see proc(5)).
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rfind(')').and_then(|at| stat[at + 1..].split_ascii_whitespace().next());
    state.is_some_and(|state| !matches!(state, "Z" | "X"))
}

/// All process numbers of our pid namespace.
pub fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The container that a process runs in, read from its cgroup path; `None` outside of one.
///
/// The path's last component that is 64 hexadecimal digits is the container's id, with
/// containerd's and CRI-O's decorations (`cri-containerd-<id>.scope`) taken off.
pub fn container_of(pid: i32) -> Option<String> {
    container_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

fn container_in(cgroups: &str) -> Option<String> {
    cgroups.lines().find_map(|line| {
        let name = line.rsplit('/').next()?.trim_end_matches(".scope");
        let id = name.rsplit('-').next()?.rsplit(':').next()?;
        (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

/// The processes of this name that systemd started for a unit, in our pid namespace: a host sees the processes of its
/// sandboxes too.
pub fn of_unit(unit: &str, name: &str) -> Vec<ProcessId> {
    let is_of_it = |pid: i32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        self::name(pid).as_deref() == Some(name) && in_unit(&cgroups, unit) && is_of_our_namespace(pid)
    };
    // First which it is, then what it is: the other way round another one could get the number in between.
    pids().into_iter().filter_map(ProcessId::of).filter(|process| is_of_it(process.pid)).collect()
}

/// By its cgroup, in which only systemd and root put somebody.
fn in_unit(cgroups: &str, unit: &str) -> bool {
    cgroups.lines().any(|line| line.rsplit('/').next() == Some(unit))
}

/// Whether a process is one of our own pid namespace.
pub fn is_of_our_namespace(pid: i32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace("self").is_some_and(|ours| namespace(&pid.to_string()) == Some(ours))
}

/// The process's command name (`/proc/<pid>/comm`).
pub fn name(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// The file of a process's network namespace.
pub fn netns(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_exists_and_keeps_its_identity() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.exists());
        let another = ProcessId { started: me.started + 1, ..me };
        assert!(!another.exists());
        assert_eq!(another.terminate().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_started_before_now_and_after_its_parent() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let started = me.started_at().unwrap();
        let ago = SystemTime::now().duration_since(started).unwrap();
        assert!(ago < Duration::from_mins(10), "this test runs no longer: {ago:?}");
        let init = ProcessId::of(1).unwrap().started_at().unwrap();
        assert!(init < started, "{init:?} {started:?}");
        let later = ProcessId { started: me.started + 100, ..me }.started_at().unwrap();
        let after = later.duration_since(started).unwrap();
        assert!((900..1100).contains(&after.as_millis()), "{after:?}");
    }

    #[test]
    fn the_container_is_found_in_every_driver_s_path() {
        let id = "a".repeat(64);
        for line in [
            format!("5:memory:/demo/kubepods/burstable/pod1/{id}"),
            format!("0::/kubepods.slice/pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(container_in(&line), Some(id.clone()), "{line}");
        }
        assert_eq!(container_in("0::/user.slice"), None);
    }

    #[test]
    fn a_unit_s_process_is_known_by_its_cgroup() {
        for line in
            ["0::/system.slice/kubelet.service", "1:name=systemd:/demo/a/system.slice/kubelet.service\n0::/"]
        {
            assert!(in_unit(line, "kubelet.service"), "{line}");
        }
        assert!(!in_unit("0::/kubepods/kubelet.service/x\n", "kubelet.service"));
        assert_eq!(of_unit("none.service", "none"), []);
    }
}
