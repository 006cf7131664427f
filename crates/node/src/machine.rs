//! What runs on a host beside its files: the programs that it has, the container runtime, the kubelet. The one way to
//! them: whoever gives a [`crate::Root`] another machine has everything above it at work on that one.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use cri::{Cri, CriError};
use host::command::{Command, CommandError, Output};
use host::proc::ProcessId;

use crate::{KUBELET_HEALTHZ, preflight};

/// How the command of containerd's shims begins (`containerd-shim-runc-v2`; the kernel keeps fifteen characters).
const SHIM: &str = "containerd-shim";
/// How long what runs in containers may take to end once it is killed.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How often that is looked at.
const END_POLL: Duration = Duration::from_millis(100);

/// What a machine answers in its own time.
pub type Answer<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// How a process was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What the variable says in its environment.
    pub value: String,
    /// When that was; none where it cannot be told.
    pub at: Option<SystemTime>,
}

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

    /// The process of that name that has a variable in its environment; none when there is none.
    fn started_with(&self, process: &str, variable: &str) -> Option<Started>;

    /// Ends all that runs in these containers, and what watches over them. They are named by their ids.
    ///
    /// # Errors
    /// What the kernel answered, or that they did not end.
    fn end_containers(&self, ids: &BTreeSet<String>) -> io::Result<()>;

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

    fn started_with(&self, process: &str, variable: &str) -> Option<Started> {
        host::proc::pids().into_iter().find_map(|pid| {
            let process_id = ProcessId::of(pid)?;
            let value = variable_of(pid, process, variable)?;
            Some(Started { value, at: process_id.started_at() })
        })
    }

    fn end_containers(&self, ids: &BTreeSet<String>) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let left: Vec<ProcessId> =
                host::proc::pids().into_iter().filter_map(|pid| of_containers(pid, ids)).collect();
            if left.is_empty() {
                return Ok(());
            }
            if began.elapsed() > END_LIMIT {
                let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
                let why = format!("processes {} do not end", pids.join(", "));
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            // One that is gone meanwhile has ended.
            for process in left {
                let _ = process.kill();
            }
            std::thread::sleep(END_POLL);
        }
    }

    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        Box::pin(async move { Cri::connect(&socket).await })
    }

    fn kubelet(&self) -> Answer<'_, (), String> {
        Box::pin(preflight::kubelet_healthz(KUBELET_HEALTHZ))
    }
}

/// A process that runs in one of these containers, or is the shim of one: the shim's command line names it.
fn of_containers(pid: i32, ids: &BTreeSet<String>) -> Option<ProcessId> {
    let process = ProcessId::of(pid)?;
    let in_one = || host::proc::container_of(pid).is_some_and(|id| ids.contains(&id));
    let is_shim = || {
        host::proc::name(pid).is_some_and(|name| name.starts_with(SHIM))
            && host::proc::is_of_our_namespace(pid)
    };
    let names_one = || {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| std::str::from_utf8(word).is_ok_and(|word| ids.contains(word)))
    };
    // A zombie runs nothing, and its parent may be slow.
    (host::proc::is_alive(pid) && (in_one() || is_shim() && names_one())).then_some(process)
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

    fn started_with(&self, _process: &str, _variable: &str) -> Option<Started> {
        None
    }

    fn end_containers(&self, _ids: &BTreeSet<String>) -> io::Result<()> {
        Ok(())
    }

    /// A socket is a file of the disk's.
    fn runtime(&self, socket: PathBuf) -> Answer<'_, Cri, CriError> {
        This.runtime(socket)
    }

    fn kubelet(&self) -> Answer<'_, (), String> {
        Box::pin(async { Err("no kubelet runs there".to_owned()) })
    }
}
