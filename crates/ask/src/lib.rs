//! One HTTP question over a connection of its own, with a time limit, to an IP address: enough to
//! ask an apiserver or an etcd how it is.
//!
//! ```text
//!  url ─▶ address ─▶ connect ─▶ TLS (tls: whom to trust, whom to be) ─▶ GET or POST ─▶ Answer
//!                    └ a probe brings a connection that it made itself: converse
//! ```
//!
//! HTTP/1.0, so that the answer is never chunked and ends with the connection. What went wrong says
//! where it went wrong: nobody there, not the one that is trusted, cut off, or silent.

mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use tls::{Identity, TlsError, tls, unverified};

/// More of an answer than this is not read, in bytes. `/readyz?verbose` has some 3000; the member list
/// of a large etcd some 10 000.
const LARGEST: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The URL cannot be used: nobody was asked.
    #[error("{url}: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No connection. Refused: nobody listens there.
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
    /// The connection broke. With TLS 1.3 a client's certificate is refused this way, too.
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

impl AskError {
    /// True when nobody was asked: that says nothing about how anybody is.
    pub fn is_unasked(&self) -> bool {
        matches!(self, Self::Url { .. })
    }

    /// What of the server's certificate is not as it has to be; none where the failure is another one.
    pub fn distrust(&self) -> Option<Distrust> {
        let Self::Tls { source, .. } = self else { return None };
        let Some(rustls::Error::InvalidCertificate(problem)) = source.get_ref()?.downcast_ref() else {
            return None;
        };
        Some(match problem {
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Distrust::TooEarly,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Distrust::TooLate,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Distrust::Name
            }
            _ => Distrust::Issuer,
        })
    }
}

/// Why a server's certificate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// By this host's clock its validity has not begun.
    TooEarly,
    /// By this host's clock it has ended.
    TooLate,
    /// It is for other names and addresses than the one that was dialled.
    Name,
    /// Nobody whom we trust has signed it, or it is not good for a server.
    Issuer,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The text.
    pub body: String,
    /// What the server's clock shows, as its header says it (RFC 9110, 6.6.1).
    pub date: Option<String>,
}

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What to ask for.
    pub path: &'a str,
    /// With a body it is a POST of JSON, else a GET.
    pub body: Option<&'a str>,
}

impl Question<'_> {
    fn text(&self, address: SocketAddr) -> String {
        let path = self.path;
        let head = format!("HTTP/1.0\r\nHost: {address}\r\nUser-Agent: kubestrap\r\n");
        match self.body {
            None => format!("GET {path} {head}\r\n"),
            Some(body) => format!(
                "POST {path} {head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        }
    }
}

/// The address of a URL with an IP address in it, and whether it is one of TLS.
///
/// # Errors
/// [`AskError::Url`].
pub fn address(url: &str, default_port: u16) -> Result<(SocketAddr, bool), AskError> {
    let bad = |why| AskError::Url { url: url.to_owned(), why };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it is no URL"))?;
    let host = rest.split('/').next().unwrap_or_default();
    let named = || bad("its host is a name, which is not resolved here");
    let address = if let Ok(address) = host.parse::<SocketAddr>() {
        address
    } else {
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        SocketAddr::new(ip.parse::<IpAddr>().map_err(|_| named())?, default_port)
    };
    Ok((address, scheme == "https"))
}

/// Asks whoever a URL names, by TLS where the URL says so; its certificate has to be valid for the
/// URL's address. The limit is for everything from connecting to the end of the answer.
///
/// # Errors
/// [`AskError`] when there is no answer; one that is not 200 is an answer.
pub async fn ask(
    url: &str,
    default_port: u16,
    tls: Option<Arc<ClientConfig>>,
    question: Question<'_>,
    limit: Duration,
) -> Result<Answer, AskError> {
    let (address, encrypted) = address(url, default_port)?;
    let tls = tls.filter(|_| encrypted).map(|tls| (tls, ServerName::from(address.ip())));
    let answer = async {
        let stream =
            TcpStream::connect(address).await.map_err(|source| AskError::Connect { address, source })?;
        converse(address, stream, tls, question).await
    };
    within(address, limit, answer).await
}

/// Gives up after a time.
///
/// # Errors
/// [`AskError::TimedOut`], or the work's own error.
pub async fn within<T, E: From<AskError>>(
    address: SocketAddr,
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timed_out = |_| Err(AskError::TimedOut { address, limit }.into());
    tokio::time::timeout(limit, work).await.unwrap_or_else(timed_out)
}

/// Asks over a connection that is there already.
///
/// # Errors
/// [`AskError`] when there is no answer.
pub async fn converse(
    address: SocketAddr,
    stream: TcpStream,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    question: Question<'_>,
) -> Result<Answer, AskError> {
    let request = question.text(address);
    let lost = |source| AskError::Lost { address, source };
    let answer = match tls {
        None => exchange(stream, &request).await.map_err(lost)?,
        Some((tls, name)) => {
            let handshake = TlsConnector::from(tls).connect(name, stream).await;
            let stream = handshake.map_err(|source| AskError::Tls { address, source })?;
            exchange(stream, &request).await.map_err(lost)?
        }
    };
    parse(&answer).ok_or(AskError::NotHttp { address })
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(LARGEST).read_to_end(&mut answer).await {
        // Closed without TLS's goodbye: an answer that came is an answer.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        result => drop(result?),
    }
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut words = head.lines().next()?.split_ascii_whitespace();
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let date = headers.find(|(name, _)| name.eq_ignore_ascii_case("date"));
    Some(Answer {
        status: words.next()?.parse().ok()?,
        body: body.to_owned(),
        date: date.map(|(_, value)| value.trim().to_owned()),
    })
}

#[cfg(test)]
mod tests;
