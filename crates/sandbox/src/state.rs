//! Whether a node runs, read from its cgroup: its pid 1 is the process there that is number 1 in
//! a pid namespace of its own.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use host::proc::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup::Cgroups;
use crate::error::{Error, Result};
use crate::record::Record;

/// How long the kernel may take to end all of a node's processes. A power cut takes some
/// milliseconds; only a process in uninterruptible sleep (a dead disk) takes longer.
const DEATH_LIMIT: Duration = Duration::from_secs(30);

/// The cgroup of a node's power supply.
pub(crate) fn supply_group(record: &Record) -> String {
    format!("{}/supply", record.cgroup)
}

/// The cgroup that a node's pid 1 starts in. systemd takes it for the root of its own, makes
/// `init.scope` and `system.slice` in it, and leaves alone what is beside it: the kubelet's pods,
/// and the controllers that they need.
pub(crate) fn systemd_group(record: &Record) -> String {
    format!("{}/systemd", record.cgroup)
}

/// The node's pid 1, seen from the host; `None` when the node is off.
pub(crate) fn pid1(cgroups: &Cgroups, record: &Record) -> Option<ProcessId> {
    cgroups.pids(&systemd_group(record)).into_iter().find(|pid| is_pid1(*pid)).and_then(ProcessId::of)
}

fn is_pid1(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    let dead = field("State:").trim_start().starts_with(['Z', 'X']);
    // Its numbers in each namespace from ours inwards: a container's first process has three.
    let numbers: Vec<&str> = field("NSpid:").split_ascii_whitespace().collect();
    !dead && numbers.len() == 2 && numbers.last() == Some(&"1")
}

/// Ends everything that runs in the node's cgroup at once and waits until it is gone. Killing
/// pid 1 lets the kernel kill all of its pid namespace, before anybody can do anything about it.
pub(crate) fn kill_all(cgroups: &Cgroups, record: &Record) -> Result<()> {
    if let Some(process) = pid1(cgroups, record) {
        kill(process.pid, DEATH_LIMIT);
    }
    let deadline = Instant::now() + DEATH_LIMIT;
    loop {
        // What is left entered from outside, or never got as far as having a pid 1.
        let pids: Vec<i32> =
            cgroups.pids(&record.cgroup).into_iter().filter(|p| host::proc::is_alive(*p)).collect();
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Undead { name: record.name.clone(), pids });
        }
        for pid in pids {
            kill(pid, Duration::from_millis(200));
        }
    }
}

fn kill(pid: i32, limit: Duration) {
    let Some(fd) = pidfd(pid) else { return };
    // It may have ended just now.
    let _ = pidfd_send_signal(&fd, Signal::KILL);
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let _ = poll(&mut fds, Timespec::try_from(limit).ok().as_ref());
}

fn pidfd(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}
