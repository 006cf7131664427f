//! A node's power supply: the one process of it that is outside of it. While it lives, the node
//! does; it carries bytes between the host's loopback and the node's API, and keeps what the
//! node's console shows.
//!
//! ```text
//! kubestrap sandbox create ── starts ──▶ supply ── starts ──▶ pid 1
//!   a thread in the node's new           in the node's network   in namespaces of its own:
//!   network namespace, with the API's    and cgroup; says "up"   mounts, pivots, becomes
//!   listener open on the host            when systemd did        systemd
//! ```
//!
//! It gets the API's listener as stdin, a pipe to whoever waits as stdout, the console's log as
//! stderr. It is found by its cgroup, and ends with pid 1, and pid 1 with it.

mod console;
mod forward;
mod rootfs;
pub(crate) mod spawn;

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Child;

use host::command::Command;
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use self::console::Console;
use crate::error::{Result, Tried, chain};
use crate::node::record_at;
use crate::systemd::SYSTEMD;

/// The abstract socket, in the node's network namespace, at which `kubestrap-booted.service` says
/// that systemd is up.
const BOOTED_SOCKET: &[u8] = b"kubestrap-booted";

/// What the hidden verb `sandbox-supply` does for the sandbox whose directory is `home`: as the
/// supply it returns when the node is off, as the node's pid 1 (with that console) only when it
/// could not become systemd.
///
/// # Errors
/// What went wrong; it was also said to whoever boots the node.
pub fn main(home: &Path, console: Option<&Path>) -> Result<()> {
    let mut say = Some(take_pipe()?);
    let result = match console {
        None => supply(home, &mut say),
        Some(console) => pid1(home, console).map(|never| match never {}),
    };
    if let (Err(error), Some(mut say)) = (&result, say) {
        // Nobody may listen any more.
        let _ = say.write_all(chain(error).as_bytes());
    }
    result
}

/// Takes the pipe off stdout: its end is the end of the message, so nobody else may hold it.
fn take_pipe() -> Result<File> {
    let pipe = owned(std::io::stdout())?;
    nix::unistd::dup2_stdout(std::io::stderr()).tried(|| "replace stdout".into())?;
    Ok(File::from(pipe))
}

fn owned(fd: impl AsFd) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().tried(|| "take an open file".into())
}

fn supply(home: &Path, say: &mut Option<File>) -> Result<()> {
    let what = || "leave whoever started this".to_owned();
    // What the terminal sends to those in its foreground is not for the node. We may outlive who
    // started us: from here on we are in the node's cgroup, where any verb finds us.
    rustix::process::setsid().tried(what)?;
    rustix::process::set_parent_process_death_signal(None).tried(what)?;
    let console = Console::open(File::from(owned(std::io::stderr())?))?;
    let booted = listen_for_boot()?;
    let api = TcpListener::from(owned(std::io::stdin())?);
    let pid1 = spawn::pid1(home, console.path(), &record_at(home)?, say.as_ref())?;
    forward::serve(api)?;
    watch(pid1, console, &booted, say)
}

fn listen_for_boot() -> Result<UnixDatagram> {
    let what = || "listen for the end of the boot".to_owned();
    let address = SocketAddr::from_abstract_name(BOOTED_SOCKET).tried(what)?;
    UnixDatagram::bind_addr(&address).tried(what)
}

/// Keeps the console and passes on the news until pid 1 ends.
fn watch(mut pid1: Child, mut console: Console, booted: &UnixDatagram, say: &mut Option<File>) -> Result<()> {
    let what = || "watch pid 1".to_owned();
    let number = Pid::from_raw(pid1.id().cast_signed()).ok_or(rustix::io::Errno::SRCH).tried(what)?;
    let ended = pidfd_open(number, PidfdFlags::empty()).tried(what)?;
    loop {
        let mut fds = [&ended as &dyn AsFd, &console, booted]
            .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).tried(what),
        }
        let [has_ended, shows, says] = fds.map(|fd| !fd.revents().is_empty());
        if shows {
            console.keep();
        }
        if has_ended {
            return pid1.wait().tried(what).map(drop);
        }
        if says
            && heard(booted)
            && let Some(mut say) = say.take()
        {
            // Whoever booted the node may have been killed meanwhile.
            let _ = say.write_all(spawn::BOOTED.as_bytes());
        }
    }
}

/// Reads one message of sd_notify(3), sent by `systemd-notify --ready`.
fn heard(booted: &UnixDatagram) -> bool {
    let mut message = [0; 512];
    let length = booted.recv(&mut message).unwrap_or_default();
    message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

fn pid1(home: &Path, console: &Path) -> Result<Infallible> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let record = record_at(home)?;
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).tried(|| "make namespaces".into())?;
    nix::unistd::sethostname(record.hostname.as_str()).tried(|| "set the host name".into())?;
    rootfs::enter(home, &record, console)?;
    take_console()?;
    // See https://systemd.io/CONTAINER_INTERFACE. A dumb terminal is asked nothing and gets no colours.
    let systemd = Command::new(SYSTEMD).env_clear().env("PATH", spawn::PATH);
    Err(systemd.env("container", "kubestrap").env("TERM", "dumb").exec().into())
}

fn take_console() -> Result<()> {
    let what = || "open the console".to_owned();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let console = rustix::fs::open("/dev/console", flags, rustix::fs::Mode::empty()).tried(what)?;
    nix::unistd::dup2_stdin(&console).tried(what)?;
    nix::unistd::dup2_stdout(&console).tried(what)?;
    nix::unistd::dup2_stderr(&console).tried(what)
}
