//! Load as users make it, bounded in rate and time: new TLS connections and requests on kept
//! connections, half of them reads, half of them writes. It counts every request that failed,
//! the longest time without a success, and remembers every acknowledged write, so that the test
//! can read all of them back.
//!
//! It runs open loop (a slow server gets no fewer requests) on one thread inside a network
//! namespace of the sandbox, as a client on another machine of that network would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::Identity;

/// How much load. The defaults are what two cores carry with room to spare.
#[derive(Debug, Clone)]
pub struct Rate {
    /// New TLS connections a second, one request each.
    pub new_connections: u32,
    /// Requests a second on kept connections.
    pub kept_requests: u32,
    /// How many kept (HTTP/2) connections carry them.
    pub kept_connections: usize,
    /// The load stops by itself after this time.
    pub limit: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { new_connections: 50, kept_requests: 50, kept_connections: 2, limit: Duration::from_mins(5) }
    }
}

impl Rate {
    /// A few requests on new connections, for as long as a test with power cuts takes: what it is
    /// for is the writes that are read back.
    pub fn trickle() -> Self {
        Self { new_connections: 10, kept_requests: 0, kept_connections: 0, limit: Duration::from_hours(1) }
    }
}

/// Where writes go: one ConfigMap a writer, in this namespace.
const NAMESPACE: &str = "default";
/// How many objects the writers change in turn.
const OBJECTS: u64 = 20;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happened to all requests.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests that were made.
    pub total: u64,
    /// Requests that failed, each with the time since the load began and why.
    pub failures: Vec<String>,
    /// Longest time between two successes that followed each other, in milliseconds.
    pub longest_gap_ms: u64,
    /// When that gap began, in milliseconds since the load began.
    pub longest_gap_at_ms: u64,
    /// The slowest request, in milliseconds.
    pub slowest_ms: u64,
    /// Kept connections that the server asked to move (GOAWAY) or closed while idle.
    pub moved: u64,
    /// How long the load ran, in milliseconds.
    pub duration_ms: u64,
    /// Every acknowledged value, for each object.
    #[serde(skip)]
    pub acknowledged: BTreeMap<String, BTreeSet<u64>>,
}

impl Report {
    /// One line for a test's output.
    pub fn summary(&self) -> String {
        format!(
            "{} of {} failed, longest gap {} ms (at {} ms), slowest {} ms, {} connections moved, {} s",
            self.failures.len(),
            self.total,
            self.longest_gap_ms,
            self.longest_gap_at_ms,
            self.slowest_ms,
            self.moved,
            self.duration_ms / 1000
        )
    }
}

/// Load that runs until it is stopped, dropped, or its time is up.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Report>>>,
    identity: Identity,
    netns: PathBuf,
}

impl Load {
    /// Waits until the API is ready (no longer than `patience`), then begins.
    pub fn start(identity: Identity, netns: PathBuf, rate: Rate, patience: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (identity2, netns2, stop2) = (identity.clone(), netns.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            inside(&netns2, async move {
                wait_until_ready(&identity2, patience, &stop2).await?;
                drive(identity2, rate, stop2).await
            })
        });
        Self { stop, thread: Some(thread), identity, netns }
    }

    /// Stops the load, waits for what is under way, and reads every acknowledged write back.
    ///
    /// # Errors
    /// When the API never became ready or an acknowledged write is lost.
    pub fn finish(mut self) -> Result<Report> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the load was finished before")?;
        let report = thread.join().map_err(|_| anyhow!("the load's thread panicked"))??;
        let identity = self.identity.clone();
        let written = report.acknowledged.clone();
        inside(&self.netns, async move { read_back(&identity, &written).await })?;
        Ok(report)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn inside<T: Send>(
    netns: &std::path::Path,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    host::netns::run_in(netns, || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    })?
}

async fn wait_until_ready(identity: &Identity, patience: Duration, stop: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let ready = fresh(identity, get("/readyz")).await.is_ok()
            && fresh(identity, get(&format!("/api/v1/namespaces/{NAMESPACE}"))).await.is_ok();
        if ready {
            return Ok(());
        }
        ensure!(!stop.load(Ordering::Relaxed), "stopped before the API was ready");
        ensure!(Instant::now() < deadline, "the API was not ready within {} s", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Shared {
    identity: Identity,
    began: Instant,
    report: Mutex<(Report, Instant)>,
}

impl Shared {
    fn record(&self, began: Instant, write: Option<(String, u64)>, result: Result<()>) {
        let Ok(mut guard) = self.report.lock() else { return };
        let (report, last) = &mut *guard;
        report.total += 1;
        let now = Instant::now();
        report.slowest_ms = report.slowest_ms.max(ms(now - began));
        match result {
            Ok(()) => {
                if ms(now - *last) > report.longest_gap_ms {
                    report.longest_gap_ms = ms(now - *last);
                    report.longest_gap_at_ms = ms(*last - self.began);
                }
                *last = now;
                if let Some((name, value)) = write {
                    report.acknowledged.entry(name).or_default().insert(value);
                }
            }
            Err(error) => report.failures.push(format!("{} ms: {error:#}", ms(began - self.began))),
        }
    }
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn drive(identity: Identity, rate: Rate, stop: Arc<AtomicBool>) -> Result<Report> {
    create_objects(&identity).await?;
    let began = Instant::now();
    let shared =
        Arc::new(Shared { identity, began, report: Mutex::new((Report::default(), Instant::now())) });
    let kept: Vec<_> = (0..rate.kept_connections).map(|_| Arc::new(Kept::default())).collect();
    for connection in &kept {
        connection.sender(&shared).await?;
    }
    let mut under_way = tokio::task::JoinSet::new();
    let mut fresh_clock = tokio::time::interval(Duration::from_secs(1) / rate.new_connections.max(1));
    let mut kept_clock = tokio::time::interval(Duration::from_secs(1) / rate.kept_requests.max(1));
    let (mut fresh_count, mut kept_count) = (0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) && began.elapsed() < rate.limit {
        tokio::select! {
            _ = fresh_clock.tick(), if rate.new_connections > 0 => {
                fresh_count += 1;
                let shared = shared.clone();
                under_way.spawn(async move { one_fresh(&shared, fresh_count).await });
            }
            _ = kept_clock.tick(), if rate.kept_requests > 0 => {
                kept_count += 1;
                let connection = kept[usize::try_from(kept_count)? % kept.len()].clone();
                let shared = shared.clone();
                under_way.spawn(async move { one_kept(&shared, &connection, kept_count).await });
            }
        }
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    let guard = shared.report.lock().map_err(|_| anyhow!("a request panicked"))?;
    let mut report = guard.0.clone();
    report.duration_ms = ms(began.elapsed());
    Ok(report)
}

async fn one_fresh(shared: &Shared, count: u64) {
    let began = Instant::now();
    let (request, write) = choose("new", count);
    let result = fresh(&shared.identity, request).await.map(drop);
    shared.record(began, write, result);
}

async fn one_kept(shared: &Arc<Shared>, connection: &Kept, count: u64) {
    let began = Instant::now();
    let (request, write) = choose("kept", count);
    let result = tokio::time::timeout(PATIENCE, connection.send(shared, request)).await;
    let result = result.unwrap_or_else(|_| Err(anyhow!("kept connection: no answer in {PATIENCE:?}")));
    shared.record(began, write, result);
}

/// Every other request is a write; each object gets rising values.
fn choose(client: &str, count: u64) -> (Request<Full<Bytes>>, Option<(String, u64)>) {
    let name = object(client, count / 2 % OBJECTS);
    if count.is_multiple_of(2) {
        return (get(&path(&name)), None);
    }
    let patch = json!({"data": {format!("v{count}"): "", "last": count.to_string()}});
    let request = request(Method::PATCH, &path(&name), "application/merge-patch+json", patch.to_string());
    (request, Some((name, count)))
}

fn object(client: &str, number: u64) -> String {
    format!("load-{client}-{number}")
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}")
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

async fn create_objects(identity: &Identity) -> Result<()> {
    for client in ["new", "kept"] {
        for number in 0..OBJECTS {
            let name = object(client, number);
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            let path = path(&name) + "?fieldManager=load&force=true";
            let request = request(Method::PATCH, &path, "application/apply-patch+yaml", body.to_string());
            fresh(identity, request).await.with_context(|| format!("cannot create ConfigMap {name}"))?;
        }
    }
    Ok(())
}

async fn connect(identity: &Identity, protocol: &str) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(identity.address).await.context("connect")?;
    tcp.set_nodelay(true)?;
    let connector = TlsConnector::from(identity.tls(protocol));
    connector.connect(identity.server_name.clone(), tcp).await.context("TLS handshake")
}

/// One request on a connection of its own.
pub(crate) async fn fresh(identity: &Identity, request: Request<Full<Bytes>>) -> Result<Bytes> {
    let exchange = async {
        let stream = connect(identity, "http/1.1").await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = request;
        *request.uri_mut() = request.uri().path_and_query().context("no path")?.as_str().parse()?;
        let response = sender.send_request(request).await.context("new connection")?;
        let answer = finish(response).await;
        connection.abort();
        answer
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(anyhow!("new connection: no answer in {PATIENCE:?}")))
}

async fn finish(response: http::Response<hyper::body::Incoming>) -> Result<Bytes> {
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

/// One HTTP/2 connection that is kept as long as the server lets it be.
#[derive(Default)]
struct Kept {
    sender: tokio::sync::Mutex<Option<hyper::client::conn::http2::SendRequest<Full<Bytes>>>>,
}

impl Kept {
    async fn sender(&self, shared: &Shared) -> Result<hyper::client::conn::http2::SendRequest<Full<Bytes>>> {
        let mut slot = self.sender.lock().await;
        if let Some(sender) = slot.as_ref().filter(|s| s.is_ready()) {
            return Ok(sender.clone());
        }
        if slot.is_some()
            && let Ok(mut guard) = shared.report.lock()
        {
            guard.0.moved += 1;
        }
        let stream = connect(&shared.identity, "h2").await?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    /// A request that the server did not begin to handle because it asked the connection to move
    /// (RFC 9113, 6.8: streams above the GOAWAY's last one) goes out again on the next
    /// connection, as every HTTP/2 client does it; anything else that fails has failed.
    async fn send(&self, shared: &Shared, request: Request<Full<Bytes>>) -> Result<()> {
        for _ in 0..3 {
            let mut sender = self.sender(shared).await?;
            match sender.try_send_request(request.clone()).await {
                Ok(response) => return finish(response).await.map(drop).context("kept connection"),
                Err(error) if error.message().is_some() || refused(error.error()) => {}
                Err(error) => return Err(anyhow!(error.into_error()).context("kept connection")),
            }
        }
        bail!("kept connection: sent away three times")
    }
}

/// True when the server said that it never began to handle the request.
fn refused(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let moved =
                error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
            return moved || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

async fn read_back(identity: &Identity, written: &BTreeMap<String, BTreeSet<u64>>) -> Result<()> {
    for (name, values) in written {
        let body = fresh(identity, get(&path(name))).await?;
        let object: serde_json::Value = serde_json::from_slice(&body)?;
        for value in values {
            ensure!(
                object["data"].get(format!("v{value}")).is_some(),
                "acknowledged write lost: ConfigMap {name} has no v{value} (last: {})",
                object["data"]["last"]
            );
        }
    }
    Ok(())
}
