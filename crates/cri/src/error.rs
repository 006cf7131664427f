//! Why the container runtime did not answer as hoped, told apart by what a person can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};

/// A call to the container runtime that failed.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// Nobody listens on the socket: it does not exist or refuses connections.
    #[error("no container runtime listens on {}", socket.display())]
    NotRunning {
        /// The runtime's socket.
        socket: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The socket is there, but this user may not use it.
    #[error("not allowed to use {}", socket.display())]
    Denied {
        /// The runtime's socket.
        socket: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The runtime took the call and did not answer in time.
    #[error("container runtime on {} did not answer {call} within {} s", socket.display(), limit.as_secs_f32())]
    Timeout {
        /// The runtime's socket.
        socket: PathBuf,
        /// The CRI call.
        call: &'static str,
        /// The limit that was set.
        limit: Duration,
    },
    /// Something answers, but it does not speak CRI v1: containerd before 1.6, or its CRI plugin is
    /// disabled (as Docker's packages ship it).
    #[error("the program on {} does not offer CRI v1 ({call})", socket.display())]
    NoCri {
        /// The runtime's socket.
        socket: PathBuf,
        /// The CRI call.
        call: &'static str,
    },
    /// The runtime runs but cannot serve yet, or lost the connection in the middle of the call.
    #[error("container runtime on {} is not ready for {call}: {message}", socket.display())]
    NotReady {
        /// The runtime's socket.
        socket: PathBuf,
        /// The CRI call.
        call: &'static str,
        /// What it said.
        message: String,
    },
    /// What was asked for does not exist.
    #[error("{call}: {message}")]
    NotFound {
        /// The CRI call.
        call: &'static str,
        /// What the runtime said.
        message: String,
    },
    /// The runtime refused the call.
    #[error("container runtime on {} refused {call}: {code:?}: {message}", socket.display())]
    Refused {
        /// The runtime's socket.
        socket: PathBuf,
        /// The CRI call.
        call: &'static str,
        /// gRPC's status code.
        code: Code,
        /// What the runtime said.
        message: String,
    },
    /// A container's log file could not be read.
    #[error("cannot read container log {}", path.display())]
    Log {
        /// The log file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl CriError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRunning { .. } => Some("is containerd running? see `systemctl status containerd`"),
            Self::Denied { .. } => Some("run this as root"),
            Self::Timeout { .. } => Some("containerd hangs: see its log, and restart it if it stays so"),
            Self::NoCri { .. } => Some(
                "enable the cri plugin: remove it from `disabled_plugins` in /etc/containerd/config.toml, \
                 and use containerd 2 or newer",
            ),
            Self::NotReady { .. } => Some("see containerd's log; its cri plugin may have failed to load"),
            Self::NotFound { .. } | Self::Refused { .. } | Self::Log { .. } => None,
        }
    }

    /// A connection that could not be made.
    pub(crate) fn from_io(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied { socket, source }
        } else {
            Self::NotRunning { socket, source }
        }
    }

    /// What a gRPC status means for the one who called.
    pub(crate) fn from_status(socket: &Path, call: &'static str, limit: Duration, status: &Status) -> Self {
        if let Some(cause) = io_cause(status) {
            return Self::from_io(socket, cause);
        }
        let message = status.message().to_owned();
        let socket = socket.to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound { call, message },
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout { socket, call, limit },
            Code::Unimplemented => Self::NoCri { socket, call },
            Code::Unavailable => Self::NotReady { socket, call, message },
            code => Self::Refused { socket, call, code, message },
        }
    }
}

/// The refused connection that lies below a status, if that is what happened: tonic connects again
/// on its own and wraps the kernel's answer several times.
fn io_cause(status: &Status) -> Option<io::Error> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied
            )
            .then(|| io::Error::new(io.kind(), io.to_string()));
        }
        cause = error.source();
    }
    None
}
