//! Who listens on a port: sockets from the kernel's table, their owners from `/proc`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;

use host::proc::{self, ProcessId};

/// One listening socket of one process; never means another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId {
    /// The process that holds it.
    pub process: ProcessId,
    /// The socket's inode.
    pub inode: u64,
}

impl ListenerId {
    /// Sorts older instances first: by the start of the process, then by the rest.
    pub(crate) fn age_key(&self) -> (u64, i32, u64) {
        (self.process.started, self.process.pid, self.inode)
    }
}

/// A listening TCP socket and who holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Which one it is.
    pub id: ListenerId,
    /// Where it listens; `[::]` takes IPv4 too, as Go's wildcard listeners do.
    pub address: SocketAddr,
    /// The user it was made by: only sockets of one user can share a port.
    pub uid: u32,
    /// The container its process runs in, if any.
    pub container: Option<String>,
    /// Its number in the process's table of open files.
    pub fd: i32,
}

/// The kernel's table of sockets could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the kernel's table of sockets, {table}")]
pub struct ListError {
    /// The file.
    pub table: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

/// All sockets that listen on `port` in the calling thread's network namespace, the oldest
/// process's first. A socket whose process `/proc` does not show is left out.
///
/// Takes some milliseconds: processes of the sockets' users are searched before all others, and
/// what is behind the listeners in the kernel's table is not looked at.
///
/// # Errors
/// [`ListError`] when the kernel's table cannot be read.
pub fn listeners(port: u16) -> Result<Vec<Listener>, ListError> {
    Ok(scan(port)?.listeners)
}

/// The inodes of all sockets that listen on `port` in the calling thread's network namespace, in order: the
/// same ones are the same listeners. Much cheaper than [`listeners`], as no process is looked at.
///
/// # Errors
/// [`ListError`] when the kernel's table cannot be read.
pub fn listening(port: u16) -> Result<Vec<u64>, ListError> {
    let mut inodes: Vec<u64> = sockets(port)?.iter().map(|socket| socket.inode).collect();
    inodes.sort_unstable();
    Ok(inodes)
}

/// What [`scan`] found.
pub(crate) struct Scan {
    pub(crate) listeners: Vec<Listener>,
    /// How many sockets listen on the port whose owner cannot be seen.
    pub(crate) hidden: usize,
}

pub(crate) fn scan(port: u16) -> Result<Scan, ListError> {
    let sockets = sockets(port)?;
    let mut owners = owners(&sockets);
    let found = sockets.len();
    let mut listeners: Vec<_> = sockets
        .into_iter()
        .filter_map(|socket| {
            let (process, fd) = owners.remove(&socket.inode)?;
            Some(Listener {
                id: ListenerId { process, inode: socket.inode },
                address: socket.address,
                uid: socket.uid,
                container: proc::container_of(process.pid),
                fd,
            })
        })
        .collect();
    listeners.sort_by_key(|l| l.id.age_key());
    Ok(Scan { hidden: found - listeners.len(), listeners })
}

fn sockets(port: u16) -> Result<Vec<Socket>, ListError> {
    let mut sockets = Vec::new();
    for table in TABLES {
        // The kernel lists all listening sockets first (Documentation/networking/proc_net_tcp.rst);
        // behind them there may be thousands of connections.
        let listening = rows(table)?.map_while(|row| match row {
            Ok(row) => (row.state == LISTEN).then_some(Ok(row.socket)),
            Err(error) => Some(Err(error)),
        });
        for socket in listening {
            let socket = socket?;
            if socket.address.port() == port {
                sockets.push(socket);
            }
        }
    }
    Ok(sockets)
}

/// The kernel's tables of TCP sockets in the calling thread's network namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", TABLE_V6];
/// That of IPv6.
pub(crate) const TABLE_V6: &str = "/proc/thread-self/net/tcp6";

/// Values of include/net/tcp_states.h.
const LISTEN: u8 = 10;
pub(crate) const ESTABLISHED: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    uid: u32,
    /// 0: nobody has accepted the connection yet.
    pub(crate) inode: u64,
}

/// A socket, and what it is connected to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) socket: Socket,
    pub(crate) remote: SocketAddr,
    pub(crate) state: u8,
}

/// What the kernel knows of each socket of a table.
pub(crate) fn rows(table: &'static str) -> Result<impl Iterator<Item = Result<Row, ListError>>, ListError> {
    let failed = move |source| ListError { table, source };
    let file = match File::open(table) {
        // A kernel without IPv6 has no table of it.
        Err(e) if e.kind() == io::ErrorKind::NotFound && table == TABLE_V6 => None,
        file => Some(file.map_err(failed)?),
    };
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).lines().skip(1));
    Ok(lines.filter_map(move |line| line.map_err(failed).map(|line| parse_line(&line)).transpose()))
}

/// A line of `/proc/net/tcp{,6}`: `sl local remote state queues timer retransmits uid timeout inode …`.
fn parse_line(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = parse_socket_address(fields.next()?)?;
    let remote = parse_socket_address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Row { socket: Socket { address, uid, inode }, remote, state })
}

fn parse_socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    Some(SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// An address as the kernel prints it: 32-bit words of network-order bytes, each as a native number.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// Finds who holds the sockets, and under which number: inode → process, descriptor.
fn owners(sockets: &[Socket]) -> HashMap<u64, (ProcessId, i32)> {
    let mut found = HashMap::new();
    if sockets.is_empty() {
        return found;
    }
    // Nearly always the owner still is the user that made the socket: look there first.
    let made_by = |pid: i32| {
        let owner = fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid());
        owner.is_some_and(|uid| sockets.iter().any(|s| s.uid == uid))
    };
    let mut pids = proc::pids();
    pids.sort_by_cached_key(|&pid| (!made_by(pid), pid));
    for pid in pids {
        if sockets.iter().all(|s| found.contains_key(&s.inode)) {
            break;
        }
        let Some(process) = ProcessId::of(pid) else { continue };
        for (inode, fd) in open_sockets(pid) {
            if sockets.iter().any(|s| s.inode == inode) {
                found.entry(inode).or_insert((process, fd));
            }
        }
    }
    found
}

/// The sockets that a process has open: inode and descriptor. Empty when it is gone or not ours to see.
pub(crate) fn open_sockets(pid: i32) -> impl Iterator<Item = (u64, i32)> {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((inode, entry.file_name().to_str()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_tables_are_understood() {
        let v4 = "   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65532        0 10507 1 0 100 0 0 10 0";
        let row = parse_line(v4).unwrap();
        assert_eq!(row.state, LISTEN);
        let address = "127.0.0.1:6443".parse().unwrap();
        assert_eq!(row.socket, Socket { address, uid: 65532, inode: 10507 });

        let v6 = "   1: 00000000000000000000000001000000:192B 00000000000000000000000001000000:BC1A 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0 100 0 0 10 0";
        let row = parse_line(v6).unwrap();
        assert_eq!(row.state, ESTABLISHED);
        assert_eq!(row.socket.address, "[::1]:6443".parse().unwrap());
        assert_eq!(row.remote, "[::1]:48154".parse().unwrap());
        assert_eq!(parse_line("  sl  local_address rem_address   st"), None);
    }

    #[test]
    fn a_listener_of_this_process_is_found_with_its_owner() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = listeners(address.port()).unwrap();
        let [listener] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(listening(address.port()).unwrap(), [listener.id.inode]);
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!((listener.id.process, listener.address), (me, address));
        assert_eq!(listener.fd, std::os::fd::AsRawFd::as_raw_fd(&socket));
        assert_eq!(listener.uid, rustix::process::geteuid().as_raw());
    }
}
