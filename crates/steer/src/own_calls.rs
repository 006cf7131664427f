//! An apiserver's calls to itself, and those of them that reached another one.
//!
//! An apiserver calls itself by connections from `::1` with a token and a certificate that only it knows: while it
//! starts, and whenever one that it kept has ended. The kernel tells whose call it is by the caller's PID namespace
//! (Linux 6.10). Before that it takes a guess, and one that reached another apiserver is answered 401 for as long as it
//! lives, and its caller never gets Ready. Cut off, it calls again within seconds.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;

use host::proc::ProcessId;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use crate::duplicate::duplicate;
use crate::listener::{ESTABLISHED, Row, TABLE_V6, open_sockets, rows};
use crate::{ListError, Listener, ListenerId};

/// Where an instance's calls to itself end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OwnCalls {
    /// It has made none that is still open.
    #[default]
    None,
    /// With itself.
    Arrived,
    /// One reached another instance a moment ago: it is about to call again.
    Astray,
}

/// A connection from `::1` by which an apiserver meant to call itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCall {
    /// Who calls.
    pub caller: ListenerId,
    /// Who answers.
    pub reached: ListenerId,
    /// The caller's end: its inode and its number in the caller's table of open files.
    end: (u64, i32),
}

impl OwnCall {
    /// True when another one answers than who was meant.
    pub fn is_astray(&self) -> bool {
        self.caller != self.reached
    }

    /// Ends the connection for both sides. All is well when it has ended meanwhile.
    ///
    /// # Errors
    /// What the kernel answered, without CAP_SYS_PTRACE for instance.
    pub fn cut(&self) -> std::io::Result<()> {
        let (inode, fd) = self.end;
        let socket = match duplicate(self.caller.process, fd) {
            Err(Errno::SRCH | Errno::BADF | Errno::INVAL) => return Ok(()),
            socket => socket?,
        };
        // The number may mean another file by now.
        if fstat(&socket)?.st_ino != inode {
            return Ok(());
        }
        match shutdown(&socket, Shutdown::Both) {
            Err(Errno::NOTCONN) => Ok(()),
            ended => Ok(ended?),
        }
    }
}

/// A PID namespace, as nsfs numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PidNamespace {
    pub(crate) device: u32,
    pub(crate) inode: u32,
}

impl PidNamespace {
    /// That of a process; `None` when it is gone, or not ours to see.
    fn of(process: ProcessId) -> Option<Self> {
        let found = fs::metadata(format!("/proc/{}/ns/pid", process.pid)).ok()?;
        Some(Self { device: found.dev().try_into().ok()?, inode: found.ino().try_into().ok()? })
    }
}

/// Those of the processes that share their PID namespace with none of the others, as containers do: who is in it
/// is that process.
pub(crate) fn told_by_namespace(all: impl Iterator<Item = (ProcessId, u16)>) -> Vec<(u16, PidNamespace)> {
    let all: Vec<_> = all.filter_map(|(process, slot)| Some((slot, PidNamespace::of(process)?))).collect();
    let alone =
        |(_, namespace): &&(u16, PidNamespace)| all.iter().filter(|(_, n)| n == namespace).count() == 1;
    all.iter().filter(alone).copied().collect()
}

/// The open connections from `::1` to `port` between these listeners' processes, in the calling thread's network
/// namespace. Takes some milliseconds: the whole table of IPv6 sockets is read.
///
/// # Errors
/// [`ListError`] when the kernel's table cannot be read.
pub fn own_calls(port: u16, listeners: &[Listener]) -> Result<Vec<OwnCall>, ListError> {
    const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let mut calling = Vec::new();
    let mut answering = HashMap::new();
    for row in rows(TABLE_V6)? {
        let Row { socket, remote, state } = row?;
        if state != ESTABLISHED || socket.address.ip() != LOOPBACK || remote.ip() != LOOPBACK {
            continue;
        }
        if remote.port() == port {
            calling.push((socket.inode, socket.address.port()));
        } else if socket.address.port() == port {
            answering.insert(remote.port(), socket.inode);
        }
    }
    if calling.is_empty() {
        return Ok(Vec::new());
    }
    let holders: HashMap<u64, (ListenerId, i32)> = listeners
        .iter()
        .flat_map(|listener| {
            open_sockets(listener.id.process.pid).map(|(inode, fd)| (inode, (listener.id, fd)))
        })
        .collect();
    let call = |(inode, from)| {
        let &(caller, fd) = holders.get(&inode)?;
        let &(reached, _) = holders.get(answering.get(&from)?)?;
        Some(OwnCall { caller, reached, end: (inode, fd) })
    };
    Ok(calling.into_iter().filter_map(call).collect())
}
