//! Clusters for all tests that leave them as whole as they found them: a bring-up, and the minute until what runs is proven,
//! are most of what such a test would take. There are as many as tests run at once. One that fails takes its cluster with
//! it, and the next one makes another. Tests that begin with the oldest Kubernetes have their own.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::background::lock;
use crate::inputs::Inputs;
use crate::node::Node;

/// Where the newest bundle lies in the node of the oldest release.
pub const NEWEST_BUNDLE: &str = "/opt/kubestrap/newest";

/// The clusters that nobody has.
static NEWEST: Mutex<Vec<Node>> = Mutex::new(Vec::new());
/// Those of the oldest release.
static OLDEST: Mutex<Vec<Node>> = Mutex::new(Vec::new());

/// Does something with a cluster.
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
    resting: &Mutex<Vec<Node>>,
    make: impl FnOnce() -> Result<Node>,
    work: impl FnOnce(&Node) -> Result<()>,
) -> Result<()> {
    let found = lock(resting).pop();
    let node = match found {
        Some(node) => node,
        None => make()?,
    };
    work(&node)?;
    lock(resting).push(node);
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
    let before = std::mem::replace(&mut *lock(&NEWEST), vec![node]);
    drop(before);
}

/// Nobody has them any more: whoever comes makes another.
pub fn end() {
    for resting in [&NEWEST, &OLDEST] {
        drop(std::mem::take(&mut *lock(resting)));
    }
}
