//! A node's pid 1.
//!
//! ```text
//! kubestrap sandbox create ── starts ──▶ launcher ── starts ──▶ pid 1
//!   a thread in the node's new           in the node's cgroup;  mounts, pivots, listens for
//!   network namespace, with the          makes the other        systemctl, starts units, says
//!   API's listener open on the host      namespaces, ends       "up" on stdout
//! ```
//!
//! A process cannot move itself into a new pid namespace, only its children: hence two steps.
//! Both get the API's listener as stdin, a pipe to whoever waits as stdout, the log as stderr.

mod control;
mod forward;
mod manager;
mod rootfs;
mod service;
pub(crate) mod spawn;
mod units;
mod words;

use std::convert::Infallible;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};

use crate::error::{Result, Tried, chain};
use crate::node::record_at;

pub(crate) use control::{Answer, Request, ask};
pub(crate) use manager::log_path;
pub(crate) use units::{UNIT_DIR, full_name, load};

/// What the hidden verb `sandbox-init` does for the sandbox whose directory is `home`: as pid 1
/// it never returns unless it failed, as launcher it returns when pid 1 has been started.
///
/// # Errors
/// What went wrong; it was also said on stdout, to whoever boots the node.
pub fn main(home: &Path, as_pid1: bool) -> Result<()> {
    let result = if as_pid1 { pid1(home).map(|never| match never {}) } else { launch(home) };
    if let Err(error) = &result {
        let _ = std::io::stdout().write_all(chain(error).as_bytes());
    }
    result
}

fn launch(home: &Path) -> Result<()> {
    // What the terminal sends to those in its foreground is not for the node.
    rustix::process::setsid().tried(|| "make a session".into())?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .tried(|| "make namespaces".into())?;
    spawn::keep_only_standard_files()?;
    spawn::pid1(home)
}

fn pid1(home: &Path) -> Result<Infallible> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let record = record_at(home)?;
    nix::unistd::sethostname(record.hostname.as_str()).tried(|| "set the host name".into())?;
    rootfs::enter(home, &record)?;
    let mut manager = manager::Manager::new(&record.cgroup)?;
    forward::serve(take_listener()?)?;
    manager.start_enabled();
    say_booted()?;
    manager.run()
}

/// Takes the API's listener off stdin.
fn take_listener() -> Result<TcpListener> {
    let listener =
        std::io::stdin().as_fd().try_clone_to_owned().tried(|| "take the API's listener".into())?;
    let null = std::fs::File::open("/dev/null").tried(|| "open /dev/null".into())?;
    nix::unistd::dup2_stdin(null).tried(|| "replace stdin".into())?;
    Ok(TcpListener::from(listener))
}

/// Tells whoever waits, and lets go of the pipe: its end is the end of the message.
fn say_booted() -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(spawn::BOOTED.as_bytes()).and_then(|()| out.flush()).tried(|| "say so".into())?;
    nix::unistd::dup2_stdout(std::io::stderr()).tried(|| "replace stdout".into())
}
