//! What runs on a host beside its files: the programs that it has, the container runtime, the kubelet. The one way to
//! them: whoever gives a [`crate::Root`] another machine has everything above it at work on that one.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;

use cri::{Cri, CriError};
use host::command::{Command, CommandError, Output};

use crate::{KUBELET_HEALTHZ, preflight};

/// What a machine answers in its own time.
pub type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// What runs on a host.
pub trait Machine: fmt::Debug + Send + Sync {
    /// Runs a program and waits for its end.
    ///
    /// # Errors
    /// [`CommandError`].
    fn run(&self, command: Command) -> Result<Output, CommandError>;

    /// The same while `feed` writes what the program reads.
    ///
    /// # Errors
    /// [`CommandError`].
    fn run_fed(&self, command: Command, feed: &mut dyn FnMut(&mut dyn Write))
    -> Result<Output, CommandError>;

    /// What a variable says in the environment of a process; none when no process of that name has it.
    fn variable(&self, process: &str, variable: &str) -> Option<String>;

    /// The container runtime at a socket. That nobody listens there is found out here.
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError>;

    /// Whether the kubelet is healthy; the error is a clause for a message.
    fn kubelet(&self) -> Answer<'_, (), String>;
}

/// The machine that we run on.
#[derive(Debug)]
pub(crate) struct This;

impl Machine for This {
    fn run(&self, command: Command) -> Result<Output, CommandError> {
        command.run()
    }

    fn run_fed(
        &self,
        command: Command,
        feed: &mut dyn FnMut(&mut dyn Write),
    ) -> Result<Output, CommandError> {
        command.run_fed(feed).map(|(output, ())| output)
    }

    fn variable(&self, process: &str, variable: &str) -> Option<String> {
        host::proc::pids().into_iter().find_map(|pid| variable_of(pid, process, variable))
    }

    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        Box::pin(async move { Cri::connect(&socket).await })
    }

    fn kubelet(&self) -> Answer<'_, (), String> {
        Box::pin(preflight::kubelet_healthz(KUBELET_HEALTHZ))
    }
}

/// What a process of this name has, when it is one of our own pid namespace: a host sees the processes of its
/// sandboxes too.
fn variable_of(pid: i32, process: &str, variable: &str) -> Option<String> {
    if host::proc::name(pid)? != process || !host::proc::is_of_our_namespace(pid) {
        return None;
    }
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|entry| {
        let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        (key == variable).then(|| value.to_owned())
    })
}

/// Nothing runs there: a disk that is looked at.
#[derive(Debug)]
pub(crate) struct Off;

impl Off {
    fn refuse(command: &Command) -> CommandError {
        CommandError::Spawn { command: command.line(), source: io::ErrorKind::HostUnreachable.into() }
    }
}

impl Machine for Off {
    fn run(&self, command: Command) -> Result<Output, CommandError> {
        Err(Self::refuse(&command))
    }

    fn run_fed(
        &self,
        command: Command,
        _feed: &mut dyn FnMut(&mut dyn Write),
    ) -> Result<Output, CommandError> {
        Err(Self::refuse(&command))
    }

    fn variable(&self, _process: &str, _variable: &str) -> Option<String> {
        None
    }

    /// A socket is a file of the disk's.
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        This.runtime(socket)
    }

    fn kubelet(&self) -> Answer<'_, (), String> {
        Box::pin(async { Err("no kubelet runs there".to_owned()) })
    }
}
