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

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;

use crate::cgroup::Cgroups;
use crate::error::{Result, Tried};
use crate::record::Record;
use crate::state;

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

/// What a node's power supply is given.
pub(crate) struct Supply<'a> {
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

/// Starts a node's power supply from the calling thread, whose network namespace becomes the
/// node's. The thread has to live until the supply has said something.
///
/// When we are killed before it is in its cgroup, so is the supply; afterwards it is found there.
pub(crate) fn supply(supply: Supply<'_>) -> Result<()> {
    let mut command = command(supply.program);
    command.arg("sandbox-supply").arg(supply.home).env("KUBESTRAP_LOG", "info");
    command.stdin(Stdio::from(supply.api)).stdout(Stdio::from(supply.say)).stderr(Stdio::from(supply.log));
    let mut doors = supply.doors;
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, on values that exist already;
    // nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            die_with_parent(Some(parent))?;
            join(&mut doors)?;
            keep_only_standard_files()
        });
    }
    command.spawn().tried(|| format!("run {}", supply.program.display())).map(drop)
}

/// Keeps every file that whoever made the node had open by chance (a lock, a pipe to a pager) from
/// living on with the node: only stdin, stdout and stderr go to the next program.
fn keep_only_standard_files() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: marks descriptors as close-on-exec; no memory is touched and none is closed now.
    let result = unsafe { libc::close_range(3, u32::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Starts pid 1 of the node at `home`: this program again, in a new pid namespace and in the
/// cgroup that systemd takes for its own. It says what is to be said on `say`, and is killed when
/// we end.
pub(crate) fn pid1(home: &Path, console: &Path, record: &Record, say: Option<&File>) -> Result<Child> {
    let cgroups = Cgroups::mounted()?;
    let group = state::systemd_group(record);
    cgroups.create(&group)?;
    let mut doors = cgroups.doors(&group)?;
    let mut command = command("/proc/self/exe");
    command.arg0("kubestrap").arg("sandbox-supply").arg("--pid1").arg(console).arg(home);
    command.env("KUBESTRAP_LOG", "info").stdin(Stdio::null());
    if let Some(say) = say {
        command.stdout(say.try_clone().tried(|| "hand on a pipe".into())?);
    }
    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || {
            // From inside, a parent outside has no number.
            die_with_parent(None)?;
            join(&mut doors)
        });
    }
    let what = || "start pid 1".to_owned();
    // Only children are in a new pid namespace. The way back is for the threads that we start later:
    // they cannot be where their process is not.
    let ours = File::open("/proc/self/ns/pid").tried(what)?;
    unshare(CloneFlags::CLONE_NEWPID).tried(what)?;
    let child = command.spawn().tried(what);
    setns(ours, CloneFlags::CLONE_NEWPID).tried(what)?;
    child
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
