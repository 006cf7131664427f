//! Running a program in a node, from outside.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;

use host::proc::ProcessId;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::cgroup::Cgroups;
use crate::error::{Error, Result, Tried};
use crate::record::Record;
use crate::supply::spawn::Start;

/// Signals that are handed on to the program.
const HANDED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs `argv` in the node whose pid 1 is `init` and returns its exit status. Enters the node's
/// namespaces, so the calling process is of little use afterwards.
pub(crate) fn exec(
    record: &Record,
    init: ProcessId,
    argv: &[String],
    environment: &[(String, String)],
) -> Result<u8> {
    let off = || Error::Off(record.name.clone());
    let cgroups = Cgroups::mounted()?;
    let group = format!("{}/exec", record.cgroup);
    cgroups.create(&group)?;
    let doors = cgroups.doors(&group)?;
    let pid = rustix::process::Pid::from_raw(init.pid).ok_or_else(off)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| off())?;
    // The number may have become somebody else's between the look at it and the line above.
    if !init.exists() {
        return Err(off());
    }
    let outside = root()?;
    setns(
        pidfd,
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .tried(|| format!("enter sandbox {}", record.name))?;
    // Until it has mounted its own, pid 1 is where we are: what was meant for the node is not for the host.
    if root()? == outside {
        return Err(Error::Booting(record.name.clone()));
    }
    let signals = listen()?;
    let start = Start { argv, environment, directory: Path::new("/root"), doors };
    let child = start.attached().map_err(|source| Error::Program { command: argv.join(" "), source })?;
    wait(child, &signals)
}

/// Which directory is the root of the calling process.
fn root() -> Result<(u64, u64)> {
    let stat = std::fs::metadata("/").tried(|| "look at the root directory".into())?;
    Ok((stat.dev(), stat.ino()))
}

/// From here on these signals wait until they are asked for.
fn listen() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    for signal in HANDED_ON {
        signals.add(signal);
    }
    signals.thread_block().tried(|| "block signals".into())?;
    Ok(signals)
}

fn wait(mut child: Child, signals: &SigSet) -> Result<u8> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let at_terminal = std::io::stdin().is_terminal();
    loop {
        if let Some(status) = child.try_wait().tried(|| "wait for the program".into())? {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            return Ok(u8::try_from(code).unwrap_or(u8::MAX));
        }
        match signals.wait().tried(|| "wait for a signal".into())? {
            Signal::SIGCHLD => {}
            // The program is in the terminal's foreground too and got it already.
            Signal::SIGINT | Signal::SIGQUIT if at_terminal => {}
            signal => {
                // It may have ended just now.
                let _ = kill(pid, signal);
            }
        }
    }
}
