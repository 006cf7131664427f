//! Starting processes that `host::command` is not for: those that outlive who started them, and
//! those that begin their life in another cgroup.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::SigSet;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::error::{Result, Tried};

/// What pid 1 says when it is up; anything else is why it is not.
pub(crate) const BOOTED: &str = "up";

/// PATH of everything in a node: what was installed in it comes first.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[expect(clippy::disallowed_methods, reason = "these processes outlive the one that starts them")]
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).current_dir("/");
    command
}

/// What a node's launcher is given.
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Path,
    /// The sandbox's directory.
    pub(crate) home: &'a Path,
    /// The API's listener, open in the host's network namespace.
    pub(crate) api: OwnedFd,
    /// Where it and pid 1 say how it went.
    pub(crate) say: OwnedFd,
    pub(crate) log: File,
    /// See `Cgroups::doors`.
    pub(crate) doors: Vec<File>,
}

/// Starts the launcher of a node from the calling thread, whose network namespace becomes the
/// node's, and waits until it has started pid 1 (or said why not).
///
/// When we are killed, so is the launcher; what it has started by then is found in the cgroup.
pub(crate) fn launcher(launch: Launch<'_>) -> Result<()> {
    let mut command = command(launch.program);
    command.arg("sandbox-init").arg(launch.home).env("KUBESTRAP_LOG", "info");
    command.stdin(Stdio::from(launch.api)).stdout(Stdio::from(launch.say)).stderr(Stdio::from(launch.log));
    let mut doors = launch.doors;
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, on values that exist already;
    // nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(Some(parent))?;
            join(&mut doors)
        });
    }
    let status = command.status().tried(|| format!("run {}", launch.program.display()))?;
    // What it had to say is in the pipe.
    tracing::debug!(%status, "launcher ended");
    Ok(())
}

/// Keeps every file that whoever made the node had open by chance (a lock, a pipe to a pager) from
/// living on in the node: only stdin, stdout and stderr go to the next program.
pub(crate) fn keep_only_standard_files() -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: marks descriptors as close-on-exec; no memory is touched and none is closed now.
    let result = unsafe { libc::close_range(3, u32::MAX, flags) };
    let result = if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    result.tried(|| "keep open files out of the node".into())
}

/// Starts pid 1 of the node at `home`: this program again, in the pid namespace that the calling
/// process has just made, on the same stdin, stdout and stderr.
pub(crate) fn pid1(home: &Path) -> Result<()> {
    let mut command = command("/proc/self/exe");
    command.arg0("kubestrap").args(["sandbox-init", "--pid1"]).arg(home).env("KUBESTRAP_LOG", "info");
    command.spawn().tried(|| "start pid 1".into()).map(drop)
}

/// A process to start, with all that its child side needs opened and computed already.
pub(crate) struct Start<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) environment: &'a [(String, String)],
    pub(crate) directory: &'a Path,
    /// See `Cgroups::doors`.
    pub(crate) doors: Vec<File>,
}

impl Start<'_> {
    fn command(&self) -> io::Result<Command> {
        let (program, args) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = command(program);
        command.args(args).envs(self.environment.iter().map(|(k, v)| (k, v))).current_dir(self.directory);
        Ok(command)
    }

    /// Starts a service's process: its own session, output appended to `log`, `limits` set.
    pub(crate) fn service(self, log: File, limits: Vec<(Resource, Rlimit)>) -> io::Result<i32> {
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        let mut doors = self.doors;
        // SAFETY: between fork and exec only system calls are made, on values that exist already;
        // nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                join(&mut doors)?;
                rustix::process::setsid()?;
                for (resource, limit) in &limits {
                    setrlimit(*resource, *limit)?;
                }
                Ok(SigSet::empty().thread_set_mask()?)
            });
        }
        Ok(command.spawn()?.id().cast_signed())
    }

    /// Starts a process on our own stdin, stdout and stderr that dies with us. We are outside of
    /// its pid namespace.
    pub(crate) fn attached(self) -> io::Result<Child> {
        let mut command = self.command()?;
        let mut doors = self.doors;
        // SAFETY: as above.
        unsafe {
            command.pre_exec(move || {
                // From inside, a parent outside has no number.
                die_with_parent(None)?;
                join(&mut doors)?;
                Ok(SigSet::empty().thread_set_mask()?)
            });
        }
        command.spawn()
    }
}

/// Makes the kernel end us when our parent ends. `parent` is its number as we must see it: when it
/// was killed before this call, somebody else has taken us in.
fn die_with_parent(parent: Option<rustix::process::Pid>) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() == parent { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::SRCH)) }
}

fn join(doors: &mut [File]) -> io::Result<()> {
    doors.iter_mut().try_for_each(|door| door.write_all(b"0"))
}
