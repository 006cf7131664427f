//! Power cuts of a node at rest: the kubelet alone brings its control plane back from the disk, the
//! API's own pods take over without a gap, and no acknowledged write is lost. Nobody runs a command.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::load::{Load, Rate};
use e2e::node::{Inputs, Node};
use e2e::onlooker::copies_that_ran;
use e2e::sampler::{Cases, Limit, Sampler};
use e2e::whole::{AT_REST, COMPONENTS, static_pods, wait_settled, wait_whole};

/// How long the API may take from the power-on: many times what it takes on a machine that has
/// nothing else to do. The bench `coldboot` measures; this finds what never comes back.
pub(crate) const BACK: Duration = Duration::from_mins(1);

/// How long all of it may take: pods of the add-ons included, which wait for one another.
pub(crate) const WHOLE: Duration = Duration::from_mins(4);

/// How long a generation takes to be good.
pub(crate) const SETTLED: Duration = Duration::from_mins(3);

#[test]
fn coldboot_of_a_node_at_rest() -> Result<()> {
    let node = Node::with_cluster("coldboot")?;
    wait_whole(&node, WHOLE)?;
    wait_settled(&node, SETTLED)?;
    no_registry_can_be_reached(&node)?;
    let sampler = Sampler::start(&node)?;
    let (identity, netns) = node.client()?;
    let writer = Load::start(identity, netns, Rate::trickle(), BACK);
    let cuts = if Inputs::get().soak { 10 } else { 1 };
    let mut cases = Cases::default();
    for cut in 1..=cuts {
        let what = format!("coldboot {cut} of {cuts}");
        cases.take(by_its_copies(&node, || comes_back(&node, &sampler, &what, |_| Ok(()))));
    }
    let what = "coldboot: no CNI state, no token valid";
    no_token_is_valid(&node)?;
    cases.take(comes_back(&node, &sampler, what, forget_cni));
    cases.take(without_its_label(&node, &sampler));
    cases.take(reads_back(writer));
    cases.end()
}

/// Ends the writer, which reads back every write that was acknowledged.
pub(crate) fn reads_back(writer: Load) -> Result<()> {
    let report = writer.finish()?;
    let acknowledged: usize = report.acknowledged.values().map(BTreeSet::len).sum();
    eprintln!("{acknowledged} acknowledged writes, all read back; {}", report.summary());
    for failure in report.failures.iter().take(3) {
        eprintln!("  the first that failed: {failure}");
    }
    ensure!(acknowledged > 50, "only {acknowledged} writes were acknowledged: they prove nothing");
    Ok(())
}

/// Cuts the power, and waits until all is as it was. From the first answer on the API stays.
pub(crate) fn comes_back(
    node: &Node,
    sampler: &Sampler,
    what: &str,
    while_off: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    sampler.during(&format!("{what}: off and back"), Limit::Off, || {
        let on = node.power_cycle(while_off)?;
        let api = sampler.answers_since(on, BACK)?;
        eprintln!("{what}: the API answers {:.1} s after power-on", api.as_secs_f32());
        Ok(())
    })?;
    sampler.during(&format!("{what}: taken over by the API's pods"), Limit::Seamless, || {
        let whole = wait_whole(node, WHOLE)?;
        eprintln!("{what}: whole {:.1} s later", whole.as_secs_f32());
        Ok(())
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
    // A JSON web token begins with `{"` in base64.
    let found = node.exec(&["grep", "-rIl", "eyJ", "/var/lib/kubestrap/checkpoints", "/etc/kubernetes"])?;
    ensure!(found.stdout.is_empty(), "there are tokens on the disk: {}", found.stdout);
    Ok(())
}

/// The kubelet comes up and the Node object has no control-plane label: the API's own pods do not
/// fit there. The copies serve until somebody gives the label back.
fn without_its_label(node: &Node, sampler: &Sampler) -> Result<()> {
    const LABEL: &str = "node-role.kubernetes.io/control-plane";
    let (what, copies) = ("coldboot: no label", COMPONENTS.len());
    sampler.during(&format!("{what}: off and back"), Limit::Off, || {
        node.get(&["label", "node", node.name(), &format!("{LABEL}-")])?;
        let on = node.power_cycle(|_| Ok(()))?;
        let api = sampler.answers_since(on, BACK)?;
        eprintln!("{what}: the API answers {:.1} s after power-on", api.as_secs_f32());
        Ok(())
    })?;
    // Longer than the 30 s after which a guardian that is not wanted would go.
    sampler.during(&format!("{what}: 45 s without it"), Limit::Seamless, || {
        std::thread::sleep(Duration::from_secs(45));
        let files = static_pods(node)?;
        ensure!(files.len() == AT_REST.len() + copies, "static pods: {files:?}");
        Ok(())
    })?;
    sampler.during(&format!("{what}: given back"), Limit::Seamless, || {
        node.get(&["label", "node", node.name(), &format!("{LABEL}=")])?;
        wait_whole(node, WHOLE).map(drop)
    })
}
