//! Asks one apiserver instance whether it is Ready, by a connection that the steering program sends
//! to exactly that instance: from loopback, from the source port of its slot.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ask::{Answer, AskError, Question};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};

/// An instance did not answer the probe: it cannot be called Ready.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The reserved source port could not be had (below 1024: CAP_NET_BIND_SERVICE).
    #[error("cannot use source port {port} for the probe")]
    Source {
        /// The port.
        port: u16,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It was asked, and there is no answer. A refused connection: it does not listen any more.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// What an instance says of itself: the body has a line for each check with `?verbose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness(pub Answer);

impl Readiness {
    /// True when the instance is Ready.
    pub fn is_ready(&self) -> bool {
        self.0.status == 200
    }

    /// The checks that fail, by name: the lines `[-]poststarthook/start-… failed: reason withheld`.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        self.0.body.lines().filter_map(|line| line.strip_prefix("[-]")?.split_ascii_whitespace().next())
    }
}

/// A question that can be put to each instance.
#[derive(Debug, Clone)]
pub struct Probe {
    /// An address of the port, loopback unless the apiserver listens on one address only.
    pub address: SocketAddr,
    /// The name that the server's certificate must have.
    pub server_name: ServerName<'static>,
    /// See [`ask::tls`].
    pub tls: Arc<ClientConfig>,
    /// What to ask for. `/readyz?verbose` names the check that fails.
    pub path: String,
    /// For everything from connecting to the end of the answer.
    pub timeout: Duration,
}

impl Probe {
    /// Asks the instance that the source port belongs to ([`crate::Steerer::probe_port`]). Instances
    /// can be asked at the same time; a second question to the same one waits for the first to end.
    /// Dropping the future ends it cleanly.
    ///
    /// # Errors
    /// [`ProbeError`] when there is no answer; an answer that is not 200 is no error.
    pub async fn ready(&self, source_port: u16) -> Result<Readiness, ProbeError> {
        let question = Question { path: &self.path, body: None };
        self.ask(source_port, question).await.map(Readiness)
    }

    /// Asks that instance something else, as [`Probe::ready`] does. With a body it is a POST of JSON.
    ///
    /// # Errors
    /// [`ProbeError`] when there is no answer; any status is an answer.
    pub async fn ask(&self, source_port: u16, question: Question<'_>) -> Result<Answer, ProbeError> {
        ask::within(self.address, self.timeout, self.converse(source_port, question)).await
    }

    /// What the instance lacks to be Ready, in its own words or the kernel's; none when it is Ready.
    pub async fn lacking(&self, source_port: u16) -> Option<String> {
        match self.ready(source_port).await {
            Ok(readiness) if readiness.is_ready() => None,
            Ok(readiness) => {
                let failing: Vec<_> = readiness.failing().collect();
                Some(format!("/readyz: {} {}", readiness.0.status, failing.join(", ")))
            }
            Err(error) => Some(host::error::chain(&error)),
        }
    }

    async fn converse(&self, source_port: u16, question: Question<'_>) -> Result<Answer, ProbeError> {
        let stream = connect(self.address, source_port).await?;
        let tls = (Arc::clone(&self.tls), self.server_name.clone());
        Ok(ask::converse(self.address, stream, Some(tls), question).await?)
    }
}

/// Connects from loopback and the reserved port. While the port's last connection still exists
/// (another probe of this instance, or a child process that was forked just then and has not come
/// to its exec) it waits.
async fn connect(address: SocketAddr, port: u16) -> Result<TcpStream, ProbeError> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        let socket = bound(address, port).map_err(|source| ProbeError::Source { port, source })?;
        match socket.connect(address).await {
            Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => tokio::time::sleep(PAUSE).await,
            result => return Ok(result.map_err(|source| AskError::Connect { address, source })?),
        }
    }
}

/// A socket with the reserved port. It is reset when it closes: neither end keeps a TIME_WAIT that
/// would be in the next probe's way.
fn bound(address: SocketAddr, port: u16) -> io::Result<TcpSocket> {
    let (socket, ip): (_, IpAddr) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::LOCALHOST.into()),
    };
    socket.set_reuseaddr(true)?;
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::new(ip, port))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_checks_that_fail() {
        let body = "[+]ping ok\n[-]etcd failed: reason withheld\n\
            [-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
        let readiness = Readiness(Answer { status: 500, body: body.to_owned(), date: None });
        assert!(!readiness.is_ready());
        assert_eq!(readiness.failing().collect::<Vec<_>>(), ["etcd", "poststarthook/rbac/bootstrap-roles"]);
    }
}
