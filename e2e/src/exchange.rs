//! One HTTP request over a TLS connection of its own, from inside a network namespace: what the load, the sampler
//! and the watches are made of.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::Identity;

/// A request that takes longer has failed. It is far longer than anything that answers takes on a machine that is busy with
/// others: half of the apiserver's own limit (`--request-timeout`, 60 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the tests' writes go: objects of a namespace that every cluster has.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn inside<T: Send>(netns: &Path, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    host::netns::run_in(netns, || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    })?
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request(Method::GET, path, "application/json", String::new())
}

pub(crate) fn request(method: Method, path: &str, kind: &str, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    // Both protocols want the authority: HTTP/1 as a header, HTTP/2 within the URI.
    *request.uri_mut() = format!("https://kubernetes{path}").parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(http::header::HOST, http::HeaderValue::from_static("kubernetes"));
    if let Ok(kind) = http::HeaderValue::from_str(kind) {
        headers.insert(http::header::CONTENT_TYPE, kind);
    }
    request
}

pub(crate) async fn connect(identity: &Identity, protocol: &str) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(identity.address).await.context("connect")?;
    tcp.set_nodelay(true)?;
    let connector = TlsConnector::from(identity.tls(protocol));
    connector.connect(identity.server_name.clone(), tcp).await.context("TLS handshake")
}

/// One request on a connection of its own.
pub(crate) async fn fresh(identity: &Identity, request: Request<Full<Bytes>>) -> Result<Bytes> {
    let exchange = async {
        let (response, _connection) = open(identity, "http/1.1", request).await?;
        finish(response).await
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(anyhow!("new connection: no answer in {PATIENCE:?}")))
}

/// A JSON object that is asked for on a connection of its own.
pub(crate) async fn object(identity: &Identity, request: Request<Full<Bytes>>) -> Result<Value> {
    Ok(serde_json::from_slice(&fresh(identity, request).await?)?)
}

/// What drives a connection; it is closed when this is dropped.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The beginning of an answer, on a connection of its own of one of the protocols `http/1.1` and `h2`.
pub(crate) async fn open(
    identity: &Identity,
    protocol: &str,
    mut request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, Connection)> {
    use hyper::client::conn::{http1, http2};
    let stream = TokioIo::new(connect(identity, protocol).await?);
    if protocol == "h2" {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        let connection = Connection(tokio::spawn(async { drop(connection.await) }));
        return Ok((sender.send_request(request).await.context("new connection")?, connection));
    }
    *request.uri_mut() = request.uri().path_and_query().context("no path")?.as_str().parse()?;
    let (mut sender, connection) = http1::handshake(stream).await?;
    let connection = Connection(tokio::spawn(async { drop(connection.await) }));
    Ok((sender.send_request(request).await.context("new connection")?, connection))
}

pub(crate) async fn finish(response: Response<Incoming>) -> Result<Bytes> {
    let status = response.status();
    let body = response.into_body().collect().await.context("the answer was cut off")?.to_bytes();
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        // Of a health endpoint: what is not well.
        let red: Vec<_> = text.lines().filter(|line| line.starts_with("[-]")).collect();
        let shown = if red.is_empty() { text.chars().take(200).collect() } else { red.join(", ") };
        bail!("{status}: {shown}");
    }
    Ok(body)
}
