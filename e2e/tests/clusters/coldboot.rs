//! Power cuts of a node at rest: the kubelet alone brings its control plane back from the disk, the
//! API's own pods take over without a gap, and no acknowledged write is lost. Nobody runs a command.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::cases::Cases;
use e2e::node::{Inputs, Node};
use e2e::onlooker::copies_that_ran;
use e2e::sampler::Limit;
use e2e::shared;
use e2e::whole::{AT_REST, COMPONENTS, static_pods, wait_settled, wait_whole};

use crate::doctor;

pub(crate) fn coldboot_of_a_node_at_rest() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("coldboot", node)?;
        wait_settled(node)?;
        no_registry_can_be_reached(node)?;
        let cuts = if Inputs::get().soak { 10 } else { 1 };
        for cut in 1..=cuts {
            let what = format!("{cut} of {cuts}");
            doctor::comes_back(node)?;
            cases.take(by_its_copies(node, || cases.comes_back(&what, |_| Ok(()))));
        }
        cases.end()
    })
}

pub(crate) fn coldboot_without_cni_or_tokens() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("coldboot", node)?;
        wait_settled(node)?;
        no_token_is_valid(node)?;
        cases.take(cases.comes_back("no CNI state, no token valid", forget_cni));
        cases.end()
    })
}

pub(crate) fn coldboot_without_the_label() -> Result<()> {
    shared::cluster(|node| {
        let mut cases = Cases::begin("coldboot", node)?;
        wait_settled(node)?;
        cases.take(without_its_label(&cases));
        cases.end()
    })
}

/// Does something in which a copy of each component has to run: the kubelet has accepted it.
pub(crate) fn by_its_copies(node: &Node, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let ((), ran) = copies_that_ran(node, work)?;
    for component in COMPONENTS {
        let name = component.strip_prefix("kube-system_").unwrap_or(component);
        ensure!(ran.contains(name), "no copy of {name} ran; of these: {ran:?}");
    }
    Ok(())
}

/// The sandboxes' network has no way out: what is not on the disk cannot be had.
fn no_registry_can_be_reached(node: &Node) -> Result<()> {
    let images = node.exec(&["ctr", "-n", "k8s.io", "images", "list", "-q"])?.success()?.stdout;
    let hosts = images.lines().filter_map(|name| name.split_once('/')).map(|(host, _)| host);
    let hosts: BTreeSet<_> = hosts.filter(|host| host.contains('.')).collect();
    ensure!(!hosts.is_empty(), "the images come from nowhere: {images}");
    for host in hosts {
        let url = format!("https://{host}/v2/");
        let ended = node.exec(&["curl", "-sk", "--max-time", "5", &url])?;
        ensure!(!ended.status.success(), "{url} can be reached from the node: {}", ended.stdout);
    }
    let route = node.exec(&["ip", "route", "get", "192.0.2.1"])?;
    let ping = node.exec(&["curl", "-s", "--max-time", "5", "http://192.0.2.1/"])?;
    ensure!(!ping.status.success(), "the node has a way out: {}", route.stdout);
    Ok(())
}

fn forget_cni(disk: &Path) -> Result<()> {
    // Written by flannel's pod, which runs only when the API is there, and by CNI plugins.
    for (dir, must_be_there) in [("etc/cni/net.d", true), ("var/lib/cni", true)] {
        let dir = disk.join(dir);
        let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        ensure!(!must_be_there || !entries.is_empty(), "{} was empty already", dir.display());
        host::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// What a power cut that lasts longer than every token does: the ServiceAccounts of running pods are
/// made anew, with other UIDs, so that every token that was given out before is refused. And the
/// checkpoints hold none that could be.
fn no_token_is_valid(node: &Node) -> Result<()> {
    let pods = node.json(&["get", "pods", "--all-namespaces"])?;
    let pods = pods["items"].as_array().context("no pods")?;
    let accounts: BTreeSet<_> = pods
        .iter()
        .filter(|pod| pod.to_string().contains("serviceAccountToken"))
        .filter_map(|pod| {
            Some((pod["metadata"]["namespace"].as_str()?, pod["spec"]["serviceAccountName"].as_str()?))
        })
        .collect();
    ensure!(accounts.len() >= 2, "only these have tokens: {accounts:?}");
    for (namespace, account) in &accounts {
        let path = ["-n", namespace, "get", "serviceaccount", account];
        let before = node.json(&path)?;
        node.kubectl_with(&before.to_string(), &["replace", "--force", "-f", "-"])?.success()?;
        let after = node.json(&path)?;
        ensure!(before["metadata"]["uid"] != after["metadata"]["uid"], "{account} is the one it was");
    }
    // A JSON web token is three parts in base64, of which two begin with `{"`. A certificate may hold such letters by
    // chance, but never a dot.
    let token = r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.";
    let found = node.exec(&["grep", "-rIlE", token, "/var/lib/kubestrap/checkpoints", "/etc/kubernetes"])?;
    ensure!(found.stdout.is_empty(), "there are tokens on the disk: {}", found.stdout);
    Ok(())
}

/// The kubelet comes up and the Node object has no control-plane label: the API's own pods do not
/// fit there. The copies serve until somebody gives the label back.
fn without_its_label(cases: &Cases) -> Result<()> {
    const LABEL: &str = "node-role.kubernetes.io/control-plane";
    let copies = COMPONENTS.len();
    cases.during("no label: off and back", Limit::Off, |node| {
        node.get(&["label", "node", node.name(), &format!("{LABEL}-")])?;
        cases.off_and_back("no label", |_| Ok(()))
    })?;
    // Longer than the 30 s after which a guardian that is not wanted would go.
    cases.during("no label: 35 s without it", Limit::Seamless, |node| {
        std::thread::sleep(Duration::from_secs(35));
        let files = static_pods(node)?;
        ensure!(files.len() == AT_REST.len() + copies, "static pods: {files:?}");
        Ok(())
    })?;
    cases.during("no label: given back", Limit::Seamless, |node| {
        node.get(&["label", "node", node.name(), &format!("{LABEL}=")])?;
        wait_whole(node).map(drop)
    })
}
