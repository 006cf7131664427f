//! The kubelet of the oldest release that is built accepts the checkpoints, too: its rules for static
//! pods are others than those of the newest one, which every other test runs.

use anyhow::{Context, Result, ensure};
use e2e::node::{Inputs, Node};
use e2e::sampler::Sampler;
use e2e::whole::{wait_settled, wait_whole};

use crate::coldboot::{SETTLED, WHOLE, by_its_copies, comes_back};

#[test]
#[ignore = "takes long and is not shown to hold yet: run by its name or by --soak"]
fn accepted_by_the_kubelet_of_the_oldest_release() -> Result<()> {
    let mut inputs = Inputs::get();
    let newest = inputs.bundle.clone();
    inputs.bundle = inputs.older_bundle.clone().context("no bundle of an older release was built")?;
    ensure!(inputs.bundle != newest, "both bundles are one");
    let node = Node::create_with(inputs, "accepted")?;
    node.up(&[])?.success()?;
    let kubelet = node.exec(&["kubelet", "--version"])?.success()?.stdout;
    eprintln!("accepted: {}", kubelet.trim());
    ensure!(kubelet.contains("v1.36."), "not the kubelet that is meant: {kubelet}");
    wait_whole(&node, WHOLE)?;
    wait_settled(&node, SETTLED)?;
    let sampler = Sampler::start(&node)?;
    by_its_copies(&node, || comes_back(&node, &sampler, "accepted", |_| Ok(())))
}
