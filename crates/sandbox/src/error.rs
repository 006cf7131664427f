//! Why something could not be done to a sandbox.

pub(crate) use host::error::chain;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::name::{BadName, Name};

/// The result of an operation on sandboxes.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that the host lacks, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What the user can do.
    pub remedy: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.remedy)
    }
}

/// Why something could not be done to a sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that cannot be a host name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// A mount that is not `SRC:DST[:ro]` with absolute paths.
    #[error("`{0}` is no mount: write SRC:DST or SRC:DST:ro with absolute paths")]
    BadMount(String),
    /// An address outside of the fabric's network, or one that is its bridge's.
    #[error("{0} cannot be a node's address: it must be one of 10.89.0.2 to 10.89.0.254")]
    BadAddress(Ipv4Addr),
    /// A sandbox of that name exists.
    #[error("sandbox {name} exists already ({state})")]
    Exists {
        /// Its name.
        name: Name,
        /// `running` or `off`.
        state: &'static str,
    },
    /// It runs, and so it keeps its address.
    #[error("sandbox {0} is on: it keeps its address until its power is cut")]
    On(Name),
    /// Another sandbox has the address.
    #[error("address {address} belongs to sandbox {owner}")]
    AddressTaken {
        /// The address that was asked for.
        address: Ipv4Addr,
        /// Whose it is.
        owner: Name,
    },
    /// Another sandbox has the loopback port.
    #[error("API port {port} belongs to sandbox {owner}")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
        /// Whose it is.
        owner: Name,
    },
    /// Some process on the host listens on the loopback port.
    #[error("port {port} on 127.0.0.1, where sandbox {name} offers its API, is in use by another process")]
    PortBusy {
        /// The sandbox.
        name: Name,
        /// Its recorded port.
        port: u16,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No address is left.
    #[error("all addresses of 10.89.0.0/24 are taken")]
    NoAddressLeft,
    /// No sandbox of that name.
    #[error("there is no sandbox {0}")]
    NotFound(Name),
    /// There is a directory where the sandbox would be, and no sandbox made it.
    #[error("{} was not made as a sandbox: it holds other files", .0.display())]
    NotOurs(PathBuf),
    /// `create` was killed before it was done.
    #[error("sandbox {0} is half-made: its creation was interrupted")]
    HalfMade(Name),
    /// The operation needs a running node.
    #[error("sandbox {0} is off")]
    Off(Name),
    /// The operation needs a node that has a root of its own already.
    #[error("sandbox {0} is still booting")]
    Booting(Name),
    /// Its disk has not what this version boots.
    #[error("sandbox {0} was made by another version of kubestrap, and this one cannot boot it")]
    OtherVersion(Name),
    /// No cluster has been brought up in it yet.
    #[error("sandbox {0} has no kubeconfig yet")]
    NoKubeconfig(Name),
    /// The kubeconfig is not what it should be.
    #[error("the kubeconfig of sandbox {name} cannot be read: {reason}")]
    BadKubeconfig {
        /// The sandbox.
        name: Name,
        /// What is wrong with it.
        reason: String,
    },
    /// The state directory is where it cannot be.
    #[error("sandboxes cannot be kept in {}: {reason}", dir.display())]
    BadDir {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The root that was given cannot be a node's.
    #[error("{} cannot be a node's root: {reason}", root.display())]
    BadRoot {
        /// The directory.
        root: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// The host lacks something; all of it is listed.
    #[error("this host cannot run sandboxes:{}", list(.0))]
    Unsupported(Vec<Problem>),
    /// A sandbox's record cannot be read.
    #[error("{} is no sandbox record this version can read", path.display())]
    BadRecord {
        /// The record.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// pid 1 of the node did not come up.
    #[error("sandbox {name} did not come up: {reason}")]
    Boot {
        /// The sandbox.
        name: Name,
        /// What it said.
        reason: String,
    },
    /// The program that was to run in the node could not be started.
    #[error("cannot run `{command}` in the node")]
    Program {
        /// The program and its arguments.
        command: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A process of the node outlived SIGKILL for too long.
    #[error("processes of sandbox {name} do not end: {pids:?}")]
    Undead {
        /// The sandbox.
        name: Name,
        /// Their numbers.
        pids: Vec<i32>,
    },
    /// A cgroup could not be made, joined or removed.
    #[error("cannot {verb} cgroup {}", path.display())]
    Cgroup {
        /// What was tried.
        verb: &'static str,
        /// The cgroup's directory.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] host::fs::FsError),
    /// A child process failed.
    #[error(transparent)]
    Command(#[from] host::command::CommandError),
    /// A network namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] host::netns::NetnsError),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  - " + &problem.to_string())
}

/// Turns a failed system call into [`Error::System`].
pub(crate) trait Tried<T> {
    /// `what` completes the sentence "cannot …".
    fn tried(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Tried<T> for std::result::Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::System { what: what(), source: e.into() })
    }
}
