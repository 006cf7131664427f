//! Another process's listener in our hands, for as short a time as can be: while we hold a
//! duplicate, the death of its owner does not close it, and what waits in its queue hangs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use host::proc::ProcessId;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::error::SteerError;
use crate::listener::Listener;

/// IPPROTO_MPTCP of linux/in.h.
const MPTCP: u32 = 262;

/// A duplicate of a socket that still listens. Drop it soon.
#[derive(Debug)]
pub(crate) struct Duplicate(OwnedFd);

impl AsFd for Duplicate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Duplicate {
    /// Takes a duplicate; `None` when the listener is gone.
    pub(crate) fn of(listener: &Listener) -> Result<Option<Self>, SteerError> {
        match duplicate(listener.id.process, listener.fd) {
            Ok(fd) => Self::checked(fd, listener),
            Err(Errno::SRCH | Errno::BADF | Errno::INVAL) => Ok(None),
            Err(Errno::NOSYS) => Err(SteerError::NotSupported { why: "pidfd_getfd (Linux 5.6) is missing" }),
            Err(e @ (Errno::PERM | Errno::ACCESS)) => Err(SteerError::NotPermitted {
                what: "to take a duplicate of another process's listener (CAP_SYS_PTRACE)",
                source: e.into(),
            }),
            Err(e) => Err(SteerError::Kernel { what: "taking a duplicate of a listener", source: e.into() }),
        }
    }

    /// The socket's cookie: a number that the kernel gives no other socket.
    pub(crate) fn cookie(&self) -> Result<u64, SteerError> {
        sockopt::socket_cookie(&self.0).map_err(reading)
    }

    fn checked(fd: OwnedFd, listener: &Listener) -> Result<Option<Self>, SteerError> {
        // The number may mean another file by now.
        let same = fstat(&fd).map_err(reading)?.st_ino == listener.id.inode;
        if !same || !sockopt::socket_acceptconn(&fd).map_err(reading)? {
            return Ok(None);
        }
        if sockopt::socket_protocol(&fd).map_err(reading)?.is_some_and(|p| p.as_raw().get() == MPTCP) {
            return Err(SteerError::NotSupported {
                why: "the listener speaks Multipath TCP; run its Go program with GODEBUG=multipathtcp=0",
            });
        }
        if !sockopt::socket_reuseport(&fd).map_err(reading)? {
            return Err(SteerError::NotShared { address: listener.address });
        }
        Ok(Some(Self(fd)))
    }
}

/// A duplicate of what the process has open under this number.
pub(crate) fn duplicate(process: ProcessId, fd: i32) -> rustix::io::Result<OwnedFd> {
    let pid = Pid::from_raw(process.pid).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
}

fn reading(source: Errno) -> SteerError {
    SteerError::Kernel { what: "asking a listener's options", source: io::Error::from(source) }
}
