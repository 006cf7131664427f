//! One HTTP request over a connection of its own, with a time limit, to an IP address: enough to ask
//! an etcd how it is. HTTP/1.0, so that the answer is never chunked and ends with the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// For everything from connecting to the end of the answer.
const LIMIT: Duration = Duration::from_secs(3);
/// More of an answer than this is not read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The URL cannot be used.
    #[error("{url}: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The connection could not be made, or broke.
    #[error("cannot ask {address}")]
    Connection {
        /// Who was asked.
        address: SocketAddr,
        /// What the kernel or TLS said.
        source: io::Error,
    },
    /// It took too long.
    #[error("no answer from {address} within {} s", LIMIT.as_secs())]
    TimedOut {
        /// Who was asked.
        address: SocketAddr,
    },
    /// It answered something else than HTTP.
    #[error("{address} did not answer in HTTP")]
    NotHttp {
        /// Who was asked.
        address: SocketAddr,
    },
}

impl HttpError {
    /// True when it was never asked: that says nothing about how it is.
    pub(crate) fn is_unasked(&self) -> bool {
        matches!(self, Self::Url { .. })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Trusts these authorities and shows this certificate, all PEM.
///
/// # Errors
/// A clause that says what cannot be used.
pub(crate) fn tls(ca: &str, certificate: &str, key: &str) -> Result<Arc<ClientConfig>, String> {
    let unreadable = |what: &str, error: &dyn std::fmt::Display| format!("cannot use the {what}: {error}");
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let authority = authority.map_err(|e| unreadable("CA's certificate", &e))?;
        roots.add(authority).map_err(|e| unreadable("CA's certificate", &e))?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|e| unreadable("client certificate", &e))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| unreadable("client key", &e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unreadable("TLS versions", &e))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|e| unreadable("client certificate", &e))?;
    Ok(Arc::new(config))
}

/// The address of a URL with an IP address in it, and whether it is one of TLS.
pub(crate) fn address(url: &str, default_port: u16) -> Result<(SocketAddr, bool), HttpError> {
    let bad = |why| HttpError::Url { url: url.to_owned(), why };
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

/// Asks. With a body it is a POST of JSON.
///
/// # Errors
/// [`HttpError`] when there is no answer; one that is not 200 is an answer.
pub(crate) async fn ask(
    url: &str,
    default_port: u16,
    path: &str,
    tls: Option<Arc<ClientConfig>>,
    body: Option<&str>,
) -> Result<Answer, HttpError> {
    let (address, encrypted) = address(url, default_port)?;
    let request = request(address, path, body);
    let exchange = async {
        let tcp = TcpStream::connect(address).await?;
        match tls.filter(|_| encrypted) {
            Some(tls) => {
                exchange(TlsConnector::from(tls).connect(address.ip().into(), tcp).await?, &request).await
            }
            None => exchange(tcp, &request).await,
        }
    };
    let answer = tokio::time::timeout(LIMIT, exchange).await.map_err(|_| HttpError::TimedOut { address })?;
    let answer = answer.map_err(|source| HttpError::Connection { address, source })?;
    parse(&answer).ok_or(HttpError::NotHttp { address })
}

fn request(address: SocketAddr, path: &str, body: Option<&str>) -> String {
    let head = format!("HTTP/1.0\r\nHost: {address}\r\nUser-Agent: kubestrap\r\n");
    match body {
        None => format!("GET {path} {head}\r\n"),
        Some(body) => {
            format!(
                "POST {path} {head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(LARGEST).read_to_end(&mut answer).await {
        // Closed without TLS's goodbye: an answer that came is an answer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
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
    Some(Answer { status: words.next()?.parse().ok()?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_addresses() {
        let of = |url: &str| address(url, 2379).map(|(address, tls)| (address.to_string(), tls));
        assert_eq!(of("https://10.0.0.1:2379").unwrap(), ("10.0.0.1:2379".to_owned(), true));
        assert_eq!(of("http://10.0.0.1").unwrap(), ("10.0.0.1:2379".to_owned(), false));
        assert_eq!(of("https://[::1]:4001/").unwrap(), ("[::1]:4001".to_owned(), true));
        assert_eq!(of("https://[::1]").unwrap(), ("[::1]:2379".to_owned(), true));
        assert!(of("https://etcd.example:2379").unwrap_err().is_unasked());
        assert!(of("10.0.0.1").is_err());
    }

    #[test]
    fn answers_are_told_from_noise() {
        let answer =
            parse(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{\"health\":\"false\"}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{\"health\":\"false\"}"));
        assert_eq!(parse(b"SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
    }

    #[tokio::test]
    async fn a_post_carries_its_body() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = ask(&url, 1, "/v3/x", None, Some("{\"a\":1}")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        let request = server.join().unwrap();
        assert!(request.starts_with("POST /v3/x HTTP/1.0\r\n"), "{request}");
        assert!(request.ends_with("Content-Length: 7\r\n\r\n{\"a\":1}"), "{request}");
    }
}
