//! Watches as controllers have them, and whether they see all: one client writes objects, many watch them, and each
//! has to be told of every write, in order.
//!
//! A watch that ends is opened again from the last version that it saw, as client-go does it. One that cannot go on
//! from there has missed something.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::background::{Background, lock};
use crate::exchange::{CONFIG_MAPS, PATIENCE, get, inside, ms, object, open, request};
use crate::identity::Identity;
use crate::node::Node;

/// How many watches are open at the same time, every other one over HTTP/1.1.
const WATCHES: usize = 20;
/// How often something is written.
const EVERY: Duration = Duration::from_millis(200);
/// How many objects are changed in turn.
const OBJECTS: usize = 50;
/// How long after the last write the last watch may be told of it.
const CATCH_UP: Duration = Duration::from_mins(2);

const LABEL: &str = "watched";

/// An object's name and version, and when it was written or seen.
type Version = (String, String, Instant);

/// One watch, over all the connections that it takes.
pub(crate) struct Follower {
    identity: Identity,
    protocol: &'static str,
    /// With the query's beginning.
    path: String,
    version: String,
    /// How often it was opened.
    pub(crate) opened: usize,
    began: Instant,
    /// When it could not be opened or go on from its last version, in milliseconds since it began, and why.
    pub(crate) failures: Vec<String>,
}

impl Follower {
    /// Of what the list at a path (which has a query) holds, from what it holds now.
    pub(crate) async fn new(identity: &Identity, protocol: &'static str, path: &str) -> Result<Self> {
        let list = object(identity, get(path)).await?;
        let version = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?;
        Ok(Self {
            identity: identity.clone(),
            protocol,
            path: path.to_owned(),
            version: version.to_owned(),
            opened: 0,
            began: Instant::now(),
            failures: Vec::new(),
        })
    }

    /// Tells of each event until it is told to end.
    pub(crate) async fn follow(&mut self, over: &AtomicBool, mut each: impl FnMut(&Value)) {
        while !over.load(Ordering::Relaxed) {
            if let Err(error) = self.once(over, &mut each).await {
                self.failures.push(format!("{} ms: {error:#}", ms(self.began.elapsed())));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn once(&mut self, over: &AtomicBool, each: &mut impl FnMut(&Value)) -> Result<()> {
        let path = format!("{}&watch=1&allowWatchBookmarks=true&resourceVersion={}", self.path, self.version);
        let opening = open(&self.identity, self.protocol, get(&path));
        let (response, _connection) = tokio::time::timeout(PATIENCE, opening).await.context("a watch")??;
        ensure!(response.status().is_success(), "a watch: {}", response.status());
        self.opened += 1;
        let mut body = response.into_body();
        let mut text = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let frame = match tokio::time::timeout(EVERY, body.frame()).await {
                Err(_) => continue,
                // However it ended, the next one goes on.
                Ok(None | Some(Err(_))) => return Ok(()),
                Ok(Some(Ok(frame))) => frame,
            };
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                self.take(&line, each)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8], each: &mut impl FnMut(&Value)) -> Result<()> {
        let event: Value = serde_json::from_slice(line).context("an event")?;
        if event["type"] == "ERROR" {
            bail!("a watch from version {} was told {}", self.version, event["object"]);
        }
        let version = &event["object"]["metadata"]["resourceVersion"];
        version.as_str().context("an object without a version")?.clone_into(&mut self.version);
        if event["type"] != "BOOKMARK" {
            each(&event);
        }
        Ok(())
    }
}

/// Watches and their writer, until they are ended.
pub struct Watches(Background<String>);

impl Watches {
    /// Opens all watches of a node's API, and begins to write.
    ///
    /// # Errors
    /// When nothing is rendered on the node yet.
    pub fn start(node: &Node) -> Result<Self> {
        let (identity, netns) = node.client()?;
        Ok(Self(Background::spawn(move |stop| run(&identity, &netns, stop))))
    }

    /// Ends the writing, and checks that each watch saw each write; says how it went.
    ///
    /// # Errors
    /// With what was missed, or what failed.
    pub fn end(self) -> Result<String> {
        self.0.end()
    }
}

fn run(identity: &Identity, netns: &Path, stop: &AtomicBool) -> Result<String> {
    inside(netns, async {
        let over = Arc::new(AtomicBool::new(false));
        let mut watches = Vec::new();
        for number in 0..WATCHES {
            let protocol = if number.is_multiple_of(2) { "h2" } else { "http/1.1" };
            let path = format!("{CONFIG_MAPS}?labelSelector={LABEL}");
            watches.push(Watch::open(Follower::new(identity, protocol, &path).await?, &over));
        }
        let (written, failures) = write(identity, stop).await;
        let deadline = Instant::now() + CATCH_UP;
        while watches.iter().any(|watch| watch.behind(written.last())) && Instant::now() < deadline {
            tokio::time::sleep(EVERY).await;
        }
        over.store(true, Ordering::Relaxed);
        ensure!(failures.is_empty(), "{} writes failed: {failures:#?}", failures.len());
        ensure!(!written.is_empty(), "nothing was written");
        let (mut opened, mut slowest) = (0, Duration::ZERO);
        for watch in watches {
            let (follower, seen) = watch.end().await?;
            ensure!(follower.failures.is_empty(), "a watch failed: {:#?}", follower.failures);
            slowest = slowest.max(compare(&written, &seen)?);
            opened += follower.opened;
        }
        Ok(format!(
            "{WATCHES} watches were told of all {} writes, the slowest after {} ms, and were opened {opened} times",
            written.len(),
            ms(slowest)
        ))
    })
}

/// One of the watches, and what it has seen.
struct Watch {
    task: tokio::task::JoinHandle<Follower>,
    seen: Arc<Mutex<Vec<Version>>>,
}

impl Watch {
    fn open(mut follower: Follower, over: &Arc<AtomicBool>) -> Self {
        let (seen, over) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(over));
        let ours = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let each = |event: &Value| lock(&ours).push(version(&event["object"], Instant::now()));
            follower.follow(&over, each).await;
            follower
        });
        Self { task, seen }
    }

    fn behind(&self, last: Option<&Version>) -> bool {
        last.is_some_and(|(_, wanted, _)| lock(&self.seen).last().is_none_or(|(_, seen, _)| seen != wanted))
    }

    async fn end(self) -> Result<(Follower, Vec<Version>)> {
        let follower = self.task.await?;
        Ok((follower, std::mem::take(&mut *lock(&self.seen))))
    }
}

fn version(object: &Value, at: Instant) -> Version {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("name"), text("resourceVersion"), at)
}

/// What was written, and what was not: when, in milliseconds since the writing began, and why.
type Written = (Vec<Version>, Vec<String>);

/// One after the other: so the versions are in order.
async fn write(identity: &Identity, stop: &AtomicBool) -> Written {
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut written, mut failures) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        let at = Instant::now();
        match object(identity, one_write(written.len())).await {
            Ok(answer) => written.push(version(&answer, at)),
            Err(error) => failures.push(format!("{} ms: {error:#}", ms(at - began))),
        }
    }
    (written, failures)
}

fn one_write(number: usize) -> Request<Full<Bytes>> {
    let name = format!("{LABEL}-{}", number % OBJECTS);
    // Other data than any before it, or it would be no write.
    let data = json!({"write": format!("{number} {:?}", SystemTime::now())});
    let metadata = json!({"name": name, "labels": {LABEL: ""}});
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    let path = format!("{CONFIG_MAPS}/{name}?fieldManager={LABEL}&force=true");
    request(Method::PATCH, &path, "application/apply-patch+yaml", body.to_string())
}

/// How long after its writing the slowest was seen.
fn compare(written: &[Version], seen: &[Version]) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for (number, (name, version, at)) in written.iter().enumerate() {
        let Some((seen_name, seen_version, seen_at)) = seen.get(number) else {
            bail!(
                "a watch has seen {} of {} writes: {name} {version} is the first it missed",
                seen.len(),
                written.len()
            );
        };
        ensure!(
            (name, version) == (seen_name, seen_version),
            "a watch was told of {seen_name} {seen_version}, where {name} {version} was written"
        );
        slowest = slowest.max(seen_at.saturating_duration_since(*at));
    }
    ensure!(seen.len() == written.len(), "a watch was told of {} writes of {}", seen.len(), written.len());
    Ok(slowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of: &[(&str, &str)]) -> Vec<Version> {
        of.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned(), Instant::now())).collect()
    }

    #[test]
    fn an_event_that_is_missed_told_twice_or_out_of_order_is_found() {
        let written = versions(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert!(compare(&written, &versions(&[("a", "1"), ("b", "2"), ("a", "3")])).is_ok());
        for wrong in [
            &[("a", "1"), ("a", "3")][..],
            &[("a", "1"), ("b", "2")],
            &[("a", "1"), ("a", "3"), ("b", "2")],
            &[("a", "1"), ("b", "2"), ("a", "3"), ("a", "3")],
        ] {
            assert!(compare(&written, &versions(wrong)).is_err(), "{wrong:?}");
        }
    }
}
