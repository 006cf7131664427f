//! The way from the host's loopback to the node's API: bytes in, bytes out, each direction ends
//! by itself.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::error::{Result, Tried};

/// Where the API of a node is, in the node.
const API: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), names::port::KUBE_APISERVER);

/// Connections served at once; more wait in the listener's queue. For a user's kubectl, not for
/// load: that runs inside the fabric.
const MOST: usize = 256;

/// A thread that copies needs its buffer and little more.
const STACK: usize = 64 * 1024;

/// Serves the listener (of the host's network namespace) for ever on threads of its own.
pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    serve_to(listener, API)
}

fn serve_to(listener: TcpListener, to: SocketAddr) -> Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    spawn("forward", move || accept(&listener, to, &open)).tried(|| "start a thread".into())
}

fn accept(listener: &TcpListener, to: SocketAddr, open: &Arc<AtomicUsize>) {
    loop {
        if open.load(Ordering::Acquire) >= MOST {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let Ok((client, _)) = listener.accept() else {
            // Out of file descriptors, most likely.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let slot = Slot::taken(open);
        // Without a thread for it the connection is closed.
        let _ = spawn("forward", move || {
            relay(client, to);
            drop(slot);
        });
    }
}

/// Counts a connection for as long as it lives.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn taken(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn relay(client: TcpStream, to: SocketAddr) {
    let Ok(api) = TcpStream::connect_timeout(&to, Duration::from_secs(10)) else {
        // A reset, as from a port where nobody listens, rather than an orderly end.
        let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
        return;
    };
    let _ = (client.set_nodelay(true), api.set_nodelay(true));
    thread::scope(|scope| {
        let back = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || copy(&api, &client));
        if back.is_ok() {
            copy(&client, &api);
        }
    });
}

/// Copies until one side ends; an end of `from` becomes an end of what `to` reads. An error ends
/// both directions.
fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(n) if to.write_all(&buffer[..n]).is_ok() => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_ends_by_itself() {
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = front.local_addr().unwrap();
        serve_to(front, api.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = api.accept().unwrap();
            let mut all = Vec::new();
            // Only after the client's end is the answer written.
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all.repeat(3)).unwrap();
        });
        let mut client = TcpStream::connect(at).unwrap();
        let sent = vec![7; 100_000];
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        server.join().unwrap();
        assert_eq!(got.len(), 300_000);
    }

    #[test]
    fn a_dead_api_is_a_reset() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = front.local_addr().unwrap();
        serve_to(front, gone).unwrap();
        let mut client = TcpStream::connect(at).unwrap();
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
