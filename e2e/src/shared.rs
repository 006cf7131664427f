//! One cluster for all tests that leave it as whole as they found it: a bring-up, and the minute until what runs
//! is proven, are most of what such a test would take. One that fails takes its cluster with it, and the next one makes
//! another. For tests that begin with the oldest Kubernetes there is a second one.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::background::lock;
use crate::node::{Inputs, Node};

/// Where the newest bundle lies in the node of the oldest release.
pub const NEWEST_BUNDLE: &str = "/opt/kubestrap/newest";

/// The cluster while nobody has it.
static NEWEST: Mutex<Option<Node>> = Mutex::new(None);
/// That of the oldest release.
static OLDEST: Mutex<Option<Node>> = Mutex::new(None);

/// Does something with the cluster.
///
/// # Errors
/// When it cannot be made, or the work fails.
pub fn cluster(work: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    with(&NEWEST, || Node::with_cluster("shared"), work)
}

/// Does something with a cluster of the oldest release that is built; the newest one's bundle lies beside its own.
///
/// # Errors
/// When it cannot be made, or the work fails.
pub fn oldest(work: impl FnOnce(&Node) -> Result<()>) -> Result<()> {
    with(&OLDEST, make_oldest, work)
}

fn with(
    resting: &Mutex<Option<Node>>,
    make: impl FnOnce() -> Result<Node>,
    work: impl FnOnce(&Node) -> Result<()>,
) -> Result<()> {
    let found = lock(resting).take();
    let node = match found {
        Some(node) => node,
        None => make()?,
    };
    work(&node)?;
    *lock(resting) = Some(node);
    Ok(())
}

fn make_oldest() -> Result<Node> {
    let mut inputs = Inputs::get();
    let newest = inputs.bundle.clone();
    inputs.bundle = inputs.older_bundle.clone().context("no bundle of an older release was built")?;
    ensure!(inputs.bundle != newest, "both bundles are one");
    let node = Node::create_with_mounts(inputs, "oldest", &[(&newest, NEWEST_BUNDLE)])?;
    node.up(&[])?.success()?;
    Ok(node)
}

/// From now on this is the cluster: a test that brings one up leaves it to those after it.
pub fn put(node: Node) {
    // What was there is deleted when the lock is free again.
    let before = lock(&NEWEST).replace(node);
    drop(before);
}

/// Deletes the clusters, if there are any: the last thing that a run of tests does.
pub fn end() {
    for resting in [&NEWEST, &OLDEST] {
        drop(lock(resting).take());
    }
}
