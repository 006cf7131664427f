//! Is this host fit? Everything that is wrong at once, each with its cause and its remedy.
//!
//! Two sets of checks: [`host`] before a host is made a node, [`start`] before a control plane is
//! brought up on a node.

mod around;
mod endpoint;
mod host;
mod input;
mod ports;
mod ranges;
mod start;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use around::{Foreign, foreign_cni};
pub use host::host;
pub use input::HostInput;
pub use ports::{Holder, Listener, ports_of};
pub use start::{Certificate, StartInput, start};

/// How long a kubelet may take to answer `/healthz`.
const HEALTHZ_LIMIT: Duration = Duration::from_secs(3);

/// Asks a kubelet whether it is healthy. The error is what it said, or why it said nothing.
///
/// # Errors
/// A clause for a message.
pub async fn kubelet_healthz(address: SocketAddr) -> Result<(), String> {
    let answer = tokio::time::timeout(HEALTHZ_LIMIT, ask_healthz(address)).await;
    let answer =
        answer.map_err(|_| format!("no answer from {address} within {} s", HEALTHZ_LIMIT.as_secs()))?;
    let answer = answer.map_err(|error| format!("{address}: {error}"))?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        Ok(())
    } else {
        Err(format!("{address} answered {:?}", answer.lines().last().unwrap_or_default()))
    }
}

async fn ask_healthz(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn serve(answer: &'static str) -> SocketAddr {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_kubelet_s_health_is_what_it_answers() {
        assert_eq!(kubelet_healthz(serve("HTTP/1.1 200 OK\r\n\r\nok")).await, Ok(()));
        let error =
            kubelet_healthz(serve("HTTP/1.1 500 Error\r\n\r\nPLEG is not healthy")).await.unwrap_err();
        assert!(error.ends_with("answered \"PLEG is not healthy\""), "{error}");
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(kubelet_healthz(closed).await.unwrap_err().contains("refused"));
    }
}
