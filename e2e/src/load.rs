//! Load as users make it, bounded in rate and time: new TLS connections and requests on kept
//! connections, half of them reads, half of them writes. It counts every request that failed,
//! the longest time without a success, and remembers every acknowledged write, so that the test
//! can read all of them back.
//!
//! It runs open loop (a slow server gets no fewer requests) on one thread inside a network
//! namespace of the sandbox, as a client on another machine of that network would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use serde_json::json;

use crate::background::Background;
use crate::ceiling::{Ceiling, POD, eventually};
use crate::exchange::{
    CONFIG_MAPS, PATIENCE, connect, finish, fresh, get, inside, ms, object as object_of, request,
};
use crate::identity::Identity;
use crate::inputs::Inputs;
use crate::node::Node;
use crate::runner;
use crate::witness::{OFTEN, Pauses, Witness};

/// The longest time without a success that a client may see, pauses of the machine's disk left out.
const LONGEST_GAP: Duration = Duration::from_millis(250);
/// The slowest request that it may see.
const SLOWEST: Duration = Duration::from_secs(1);

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

/// How many acknowledged writes prove something when all of them are read back.
const ENOUGH: usize = 50;

/// How many objects the writers change in turn.
const OBJECTS: u64 = 20;

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
    /// The longest gap when pauses of the disk are left out, in milliseconds: of each gap what is
    /// left of it when the time is taken away for which the disk took nothing from anybody.
    pub longest_gap_but_disk_ms: u64,
    /// The slowest request, in milliseconds.
    pub slowest_ms: u64,
    /// What that was: on which kind of connection, and when, since the load began.
    pub slowest: String,
    /// Kept connections that the server asked to move (GOAWAY) or closed while idle.
    pub moved: u64,
    /// How long the load ran, in milliseconds.
    pub duration_ms: u64,
    /// Every acknowledged value, for each object.
    #[serde(skip)]
    pub acknowledged: BTreeMap<String, BTreeSet<u64>>,
}

impl Report {
    /// Whether no request failed.
    ///
    /// # Errors
    /// With the first that did.
    pub fn none_failed(&self) -> Result<()> {
        let shown: Vec<_> = self.failures.iter().take(10).collect();
        ensure!(self.failures.is_empty(), "{} requests failed: {shown:#?}", self.failures.len());
        Ok(())
    }

    /// Whether no request failed, and none was kept waiting: in repetitions, which have a quiet
    /// machine, for no longer than what is promised. A single run only has to show that nobody had
    /// to ask twice, because a machine that is busy with others pauses for longer than a promise.
    ///
    /// # Errors
    /// With the first that failed, or the time.
    pub fn is_seamless(&self, inputs: &Inputs) -> Result<()> {
        self.none_failed()?;
        if inputs.soak {
            ensure!(self.longest_gap_but_disk_ms < ms(LONGEST_GAP), "{}", self.gap());
            ensure!(
                self.slowest_ms < ms(SLOWEST),
                "slowest request {} ms: {}",
                self.slowest_ms,
                self.slowest
            );
        }
        Ok(())
    }

    fn gap(&self) -> String {
        let Self { longest_gap_ms, longest_gap_at_ms, longest_gap_but_disk_ms, .. } = self;
        let but = if longest_gap_but_disk_ms < longest_gap_ms {
            format!("; {longest_gap_but_disk_ms} ms but for pauses of the disk")
        } else {
            String::new()
        };
        format!("longest gap {longest_gap_ms} ms (at {longest_gap_at_ms} ms{but})")
    }

    /// One line for a test's output.
    pub fn summary(&self) -> String {
        format!(
            "{} of {} failed, {}, slowest {} ms ({}), {} connections moved, {} s",
            self.failures.len(),
            self.total,
            self.gap(),
            self.slowest_ms,
            self.slowest,
            self.moved,
            self.duration_ms / 1000
        )
    }
}

/// Load that runs until it is finished, dropped, or its time is up.
pub struct Load {
    work: Background<Report>,
    identity: Identity,
    netns: PathBuf,
    begun: Arc<AtomicBool>,
    /// How many writes were acknowledged so far.
    written: Arc<AtomicUsize>,
}

impl Load {
    /// Waits until a node's API is ready (no longer than `patience`), then begins.
    ///
    /// # Errors
    /// When nothing is rendered on the node yet.
    pub fn start(node: &Node, rate: Rate, patience: Duration) -> Result<Self> {
        let (identity, netns) = node.client()?;
        Ok(Self::begin(identity, netns, rate, patience))
    }

    /// As [`Load::start`], on any API, from inside a network namespace.
    pub fn begin(identity: Identity, netns: PathBuf, rate: Rate, patience: Duration) -> Self {
        let (identity2, netns2) = (identity.clone(), netns.clone());
        let begun = Arc::new(AtomicBool::new(false));
        let begun2 = Arc::clone(&begun);
        let written = Arc::new(AtomicUsize::new(0));
        let written2 = Arc::clone(&written);
        // The nodes' disks lie beside it.
        let dir = netns.parent().map(Path::to_owned).unwrap_or_default();
        let work = Background::spawn(move |stop| {
            let witness = Witness::start(&dir, OFTEN)?;
            let (mut report, gaps) = inside(&netns2, async {
                wait_until_ready(&identity2, patience, stop).await?;
                create_objects(&identity2).await?;
                begun2.store(true, Ordering::Relaxed);
                drive(identity2, rate, written2, stop).await
            })?;
            report.longest_gap_but_disk_ms = but_disk(&gaps, &witness.so_far());
            Ok(report)
        });
        Self { work, identity, netns, begun, written }
    }

    /// Waits until its objects are there: from then on a request may fail.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn begun(&self, limit: Duration) -> Result<()> {
        eventually("the load's beginning", limit, || {
            ensure!(self.begun.load(Ordering::Relaxed), "it has made no object yet");
            Ok(())
        })
    }

    /// Stops the load, waits for what is under way, and reads every acknowledged write back.
    ///
    /// # Errors
    /// When the API never became ready or an acknowledged write is lost.
    pub fn finish(self) -> Result<Report> {
        let report = self.work.end()?;
        runner::keep("load.json", &serde_json::to_vec_pretty(&report)?)?;
        inside(&self.netns, read_back(&self.identity, &report.acknowledged))?;
        Ok(report)
    }

    /// As [`Load::finish`], where requests may have failed: says what became of them. It goes on until enough writes were
    /// acknowledged to prove anything.
    ///
    /// # Errors
    /// As [`Load::finish`], and when there are never enough.
    pub fn reads_back(self) -> Result<()> {
        eventually("enough acknowledged writes", POD, || {
            let written = self.written.load(Ordering::Relaxed);
            ensure!(written >= ENOUGH, "{written} of {ENOUGH}");
            Ok(())
        })?;
        let report = self.finish()?;
        let acknowledged: usize = report.acknowledged.values().map(BTreeSet::len).sum();
        eprintln!("{acknowledged} acknowledged writes, all read back; {}", report.summary());
        for failure in report.failures.iter().take(3) {
            eprintln!("  the first that failed: {failure}");
        }
        Ok(())
    }
}

async fn wait_until_ready(identity: &Identity, patience: Duration, stop: &AtomicBool) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let ready = fresh(identity, get("/readyz")).await.is_ok()
            && fresh(identity, get("/api/v1/namespaces/default")).await.is_ok();
        if ready {
            return Ok(());
        }
        ensure!(!stop.load(Ordering::Relaxed), "stopped before the API was ready");
        if Instant::now() > deadline {
            return Err(Ceiling::new("a ready API", patience, "it is not").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Times without a success, from when to when.
type Gaps = Vec<(Instant, Instant)>;

fn but_disk(gaps: &Gaps, pauses: &Pauses) -> u64 {
    let left = gaps.iter().map(|(from, to)| (*to - *from).saturating_sub(pauses.within(*from, *to)));
    ms(left.max().unwrap_or_default())
}

struct Shared {
    identity: Identity,
    began: Instant,
    written: Arc<AtomicUsize>,
    report: Mutex<(Report, Gaps, Instant)>,
}

impl Shared {
    fn record(&self, kind: &str, began: Instant, write: Option<(String, u64)>, result: Result<()>) {
        let Ok(mut guard) = self.report.lock() else { return };
        let (report, gaps, last) = &mut *guard;
        report.total += 1;
        let now = Instant::now();
        if ms(now - began) > report.slowest_ms {
            report.slowest_ms = ms(now - began);
            let verb = if write.is_some() { "write" } else { "read" };
            report.slowest = format!("{kind}, {verb}, at {} ms", ms(began - self.began));
        }
        match result {
            Ok(()) => {
                if ms(now - *last) > report.longest_gap_ms {
                    report.longest_gap_ms = ms(now - *last);
                    report.longest_gap_at_ms = ms(*last - self.began);
                }
                gaps.push((*last, now));
                *last = now;
                if let Some((name, value)) = write {
                    report.acknowledged.entry(name).or_default().insert(value);
                    self.written.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => report.failures.push(format!("{} ms: {error:#}", ms(began - self.began))),
        }
    }
}

async fn drive(
    identity: Identity,
    rate: Rate,
    written: Arc<AtomicUsize>,
    stop: &AtomicBool,
) -> Result<(Report, Gaps)> {
    let began = Instant::now();
    let report = Mutex::new((Report::default(), Gaps::new(), began));
    let shared = Arc::new(Shared { identity, began, written, report });
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
    let mut guard = shared.report.lock().map_err(|_| anyhow!("a request panicked"))?;
    let mut report = guard.0.clone();
    report.duration_ms = ms(began.elapsed());
    Ok((report, std::mem::take(&mut guard.1)))
}

async fn one_fresh(shared: &Shared, count: u64) {
    let began = Instant::now();
    let (request, write) = choose("new", count);
    let result = fresh(&shared.identity, request).await.map(drop);
    shared.record("new connection", began, write, result);
}

async fn one_kept(shared: &Arc<Shared>, connection: &Kept, count: u64) {
    let began = Instant::now();
    let (request, write) = choose("kept", count);
    let result = tokio::time::timeout(PATIENCE, connection.send(shared, request)).await;
    let result = result.unwrap_or_else(|_| Err(anyhow!("kept connection: no answer in {PATIENCE:?}")));
    shared.record("kept connection", began, write, result);
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
    format!("{CONFIG_MAPS}/{name}")
}

/// New ones: what an earlier load wrote into them would be taken for this one's.
async fn create_objects(identity: &Identity) -> Result<()> {
    let all = get(CONFIG_MAPS);
    let list = object_of(identity, all).await?;
    let there: BTreeSet<_> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect();
    for client in ["new", "kept"] {
        for number in 0..OBJECTS {
            let name = object(client, number);
            if there.contains(name.as_str()) {
                let delete = request(Method::DELETE, &path(&name), "application/json", String::new());
                fresh(identity, delete).await.with_context(|| format!("cannot delete ConfigMap {name}"))?;
            }
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            let path = path(&name) + "?fieldManager=load&force=true";
            let request = request(Method::PATCH, &path, "application/apply-patch+yaml", body.to_string());
            fresh(identity, request).await.with_context(|| format!("cannot create ConfigMap {name}"))?;
        }
    }
    Ok(())
}

/// How many requests of a kept connection may be under way; others wait for their turn. hyper opens 100 streams before the
/// server has said how many it takes (`initial_max_send_streams`), and of one that waits in there when the server asks the
/// connection to move it says only that it is gone (`Client::poll` of proto/h2/client.rs), not that it was never sent. Go's
/// client, which is kubectl's, sends such a one again.
const UNDER_WAY: usize = 90;

/// One HTTP/2 connection that is kept as long as the server lets it be.
struct Kept {
    sender: tokio::sync::Mutex<Option<hyper::client::conn::http2::SendRequest<Full<Bytes>>>>,
    turns: tokio::sync::Semaphore,
}

impl Default for Kept {
    fn default() -> Self {
        Self { sender: tokio::sync::Mutex::default(), turns: tokio::sync::Semaphore::new(UNDER_WAY) }
    }
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
        let _turn = self.turns.acquire().await?;
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
        let object = object_of(identity, get(&path(name))).await?;
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
