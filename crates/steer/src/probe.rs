//! Asks one apiserver instance whether it is Ready, by a connection that the steering program sends
//! to exactly that instance: from loopback, from the source port of its slot.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// More of an answer than this is not read, in bytes. `/readyz?verbose` has some 3000.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// A client certificate with its key, both as PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The chain, the client's own certificate first.
    pub certificates: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
}

/// TLS cannot be set up with what was given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate or key could be read.
    #[error("cannot read the {what}")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// rustls does not take it.
    #[error("cannot use the {what}")]
    Unusable {
        /// Which of the inputs.
        what: &'static str,
        /// Why not.
        source: rustls::Error,
    },
}

/// How to check the server and what to show it: CA certificates as PEM, and a client certificate
/// unless anonymous requests to the path are allowed.
///
/// # Errors
/// [`TlsError`] when something cannot be read or does not fit together.
pub fn tls(ca: &[u8], identity: Option<Identity<'_>>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "CA certificates")? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { what: "CA certificates", source })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unusable { what: "protocol versions", source })?
        .with_root_certificates(roots);
    let Some(identity) = identity else { return Ok(Arc::new(config.with_no_client_auth())) };
    let chain = certificates(identity.certificates, "client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key)
        .map_err(|source| TlsError::Pem { what: "client key", source })?;
    let config = config
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Unusable { what: "client certificate", source })?;
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what, source };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(failed)?;
    if all.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(all) }
}

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
    /// No connection. Refused: the instance does not listen any more.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The TLS handshake failed: another certificate than expected, for example.
    #[error("no TLS with {address}")]
    Tls {
        /// With whom.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("lost {address} while it answered")]
    Lost {
        /// Whom.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It answered something that is not HTTP.
    #[error("{address} did not answer in HTTP")]
    NotHttp {
        /// Who.
        address: SocketAddr,
    },
    /// It took too long.
    #[error("{address} did not answer within {} ms", limit.as_millis())]
    TimedOut {
        /// Who.
        address: SocketAddr,
        /// The limit.
        limit: Duration,
    },
}

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The HTTP status: 200 is Ready.
    pub status: u16,
    /// The text, with `?verbose` a line for each check.
    pub body: String,
}

impl Readiness {
    /// True when the instance is Ready.
    pub fn is_ready(&self) -> bool {
        self.status == 200
    }

    /// The checks that fail, by name: the lines `[-]poststarthook/start-… failed: reason withheld`.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        self.body.lines().filter_map(|line| line.strip_prefix("[-]")?.split_ascii_whitespace().next())
    }
}

/// A question that can be put to each instance.
#[derive(Debug, Clone)]
pub struct Probe {
    /// An address of the port, loopback unless the apiserver listens on one address only.
    pub address: SocketAddr,
    /// The name that the server's certificate must have.
    pub server_name: ServerName<'static>,
    /// See [`tls`].
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
        let (address, limit) = (self.address, self.timeout);
        tokio::time::timeout(limit, self.ask(source_port))
            .await
            .unwrap_or(Err(ProbeError::TimedOut { address, limit }))
    }

    async fn ask(&self, source_port: u16) -> Result<Readiness, ProbeError> {
        let address = self.address;
        let stream = connect(address, source_port).await?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(self.server_name.clone(), stream)
            .await
            .map_err(|source| ProbeError::Tls { address, source })?;
        let answer = self.exchange(stream).await.map_err(|source| ProbeError::Lost { address, source })?;
        parse(&answer).ok_or(ProbeError::NotHttp { address })
    }

    /// HTTP/1.0: the answer is never chunked and ends with the connection.
    async fn exchange(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<u8>> {
        let Self { path, address, .. } = self;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: kubestrap\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.take(ANSWER_LIMIT).read_to_end(&mut answer).await {
            // Closed without TLS's goodbye: an answer that came is an answer.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
            result => drop(result?),
        }
        Ok(answer)
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
            result => return result.map_err(|source| ProbeError::Connect { address, source }),
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

fn parse(answer: &[u8]) -> Option<Readiness> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split_ascii_whitespace();
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    Some(Readiness { status: words.next()?.parse().ok()?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_checks_that_fail() {
        let answer = b"HTTP/1.0 500 Internal Server Error\r\nContent-Type: text/plain\r\n\r\n\
            [+]ping ok\n[-]etcd failed: reason withheld\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
        let readiness = parse(answer).unwrap();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.failing().collect::<Vec<_>>(), ["etcd", "poststarthook/rbac/bootstrap-roles"]);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\nok").unwrap().is_ready());
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn empty_pem_is_an_error_that_says_which() {
        let error = tls(b"", None).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the CA certificates");
    }
}
