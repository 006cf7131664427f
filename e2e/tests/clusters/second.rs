//! A second node, which was a worker so far: with the control-plane label it gets an apiserver and a guardian, without
//! it both go, and nothing is left on its disk. The first one serves all the time.

use std::net::IpAddr;
use std::process::Child;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::ceiling::{POD, ROLLOUT, SETTLED, eventually};
use e2e::node::Node;
use e2e::onlooker::guardians;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{CHECKPOINTS, good, listeners, static_pods, wait_whole};

use crate::drained::drain_moves_what_can_move;
use crate::workload::node_addresses;

const NAME: &str = "second";
const LABEL: &str = "node-role.kubernetes.io/control-plane";
const APISERVER: &str = "kube-system_kube-apiserver";

pub(crate) fn second_node_is_taken_in_and_let_go() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("second", node)?;
        let second = cases.during("a worker joins", Limit::Seamless, join)?;
        cases.take(
            cases.during("pods move to it", Limit::Seamless, |node| drain_moves_what_can_move(node, NAME)),
        );
        let mut etcd = way_to_etcd(node, &second)?;
        cases.take(cases.during("it gets the label", Limit::Seamless, |node| taken_in(node, &second)));
        cases.take(cases.during("it loses the label", Limit::Seamless, |node| let_go(node, &second)));
        cases.take(cases.during("it leaves", Limit::Seamless, |node| {
            // First what runs there: whose node is gone without a word is waited for, for 40 s (the pod garbage
            // collector's quarantine).
            node.get(&[
                "drain",
                NAME,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                &format!("--timeout={}s", ROLLOUT.as_secs()),
            ])?;
            node.get(&["delete", "node", NAME])?;
            second.delete()?;
            etcd.wait()?;
            wait_whole(node).map(drop)
        }));
        cases.end()
    })
}

/// A worker, by the command that the first node prints.
fn join(node: &Node) -> Result<Node> {
    let second = node.create_beside(NAME)?;
    crate::join::run(&second, &crate::join::command(node)?, &[])?.success()?;
    Ok(second)
}

/// The IPv4 one comes first.
fn address(node: &Node) -> Result<IpAddr> {
    node_addresses(node)?.first().copied().context("the node has no address")
}

/// The apiserver looks for an etcd on its own node; this leads to the first one's.
fn way_to_etcd(node: &Node, second: &Node) -> Result<Child> {
    let there = format!("TCP:{}:2379", address(node)?);
    second.spawn(&["socat", "TCP-LISTEN:2379,bind=127.0.0.1,fork,reuseaddr", &there])
}

fn taken_in(node: &Node, second: &Node) -> Result<()> {
    let began = Instant::now();
    node.get(&["label", "node", NAME, &format!("{LABEL}=")])?;
    eventually("a guardian on the second node", POD, || {
        let found = guardians(second)?;
        ensure!(found.len() == 1, "these run: {:?}", found.keys());
        Ok(())
    })?;
    eprintln!("second: its guardian runs after {:.1} s", began.elapsed().as_secs_f32());
    eventually("a good checkpoint of its apiserver", SETTLED, || {
        let found = good(second, APISERVER)?;
        found.map(drop).with_context(|| format!("none; static pods: {:?}", static_pods(second)))
    })?;
    let listening = listeners(second)?;
    ensure!(listening.len() == 1, "these listen on the second node: {listening:?}");
    Ok(())
}

fn let_go(node: &Node, second: &Node) -> Result<()> {
    let began = Instant::now();
    node.get(&["label", "node", NAME, &format!("{LABEL}-")])?;
    eventually("nothing of the control plane on the second node", ROLLOUT, || {
        let (files, running, listening) = (static_pods(second)?, guardians(second)?, listeners(second)?);
        let kept =
            second.shell(&format!("find {CHECKPOINTS} /etc/kubernetes/kubestrap -type f -o -type l"))?;
        let kept: Vec<_> = kept.lines().collect();
        ensure!(files.is_empty() && kept.is_empty(), "files: {files:?} {kept:?}");
        ensure!(running.is_empty() && listening.is_empty(), "processes: {:?} {listening:?}", running.keys());
        Ok(())
    })?;
    eprintln!("second: nothing is left after {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}
