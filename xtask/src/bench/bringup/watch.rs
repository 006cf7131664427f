//! Watches a cluster that comes up, at little cost: a TCP connection attempt now and then until
//! the API listens, then one `kubectl get --watch`.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use host::command::Command;

use crate::bench::lines;
use crate::bench::node::Node;

/// How often is looked whether the API listens.
const POLL: Duration = Duration::from_millis(50);

/// How often a kubectl that failed is tried again: each try costs a CPU some 50 ms.
const RETRY: Duration = Duration::from_millis(250);

/// The API's port on the node's own address.
const API: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 6443);

/// A line for each change of a pod (no tabs: kubectl would align them): namespace/name, where it comes from, node, Ready.
const COLUMNS: &str = r#"jsonpath={.metadata.namespace}/{.metadata.name}|{.metadata.annotations.kubernetes\.io/config\.source}|{.spec.nodeName}|{.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;

/// The pod that has to be scheduled. It may run anywhere and at any time, and so has the host's network, which only the
/// system's namespace may by default.
const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: bench
  namespace: kube-system
spec:
  hostNetwork: true
  tolerations:
  - operator: Exists
  containers:
  - name: pause
    image: registry.k8s.io/pause:3.10.2
    imagePullPolicy: IfNotPresent
";

/// Which pods are the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Those that the API server gave to the kubelet: the self-hosted ones. etcd is a static pod.
    Api,
    /// Static pods.
    File,
}

/// When it was seen, each since the start of the command.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The API listens.
    pub(super) listens: Option<Duration>,
    /// All control-plane pods are Ready.
    pub(super) ready: Option<Duration>,
    /// The pod is bound to the node.
    pub(super) scheduled: Option<Duration>,
}

/// Which control-plane pods are Ready so far.
#[derive(Debug, Default)]
struct Pods {
    ready: [bool; 4],
    scheduled: bool,
}

impl Pods {
    const PREFIXES: [&str; 4] = ["etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"];

    /// Takes one line of [`COLUMNS`].
    fn line(&mut self, line: &str, source: Source) {
        let columns: Vec<&str> = line.split('|').collect();
        let [name, from, node, ready] = columns[..] else { return };
        if name == "kube-system/bench" {
            self.scheduled |= !node.is_empty();
        }
        let Some(name) = name.strip_prefix("kube-system/") else { return };
        for (number, prefix) in Self::PREFIXES.iter().enumerate() {
            let wanted = if source == Source::File || *prefix == "etcd-" { "file" } else { "" };
            if name.starts_with(prefix) && from == wanted {
                self.ready[number] = ready == "True";
            }
        }
    }
}

/// Watches from `began` until all was seen. Fails when `over` becomes true before that.
pub(super) fn watch(
    node: &Node<'_>,
    kubeconfig: &str,
    source: Source,
    began: Instant,
    over: &AtomicBool,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let listens = || -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            if TcpStream::connect_timeout(&SocketAddr::from(API), POLL).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("the API did not listen before the end")
    };
    host::netns::run_in(&node.netns(), listens)??;
    seen.listens = Some(began.elapsed());
    host::fs::write(&node.path("/root/bench.yaml"), POD.as_bytes(), 0o644)?;
    std::thread::scope(|scope| {
        let create = scope.spawn(|| create(node, kubeconfig, over));
        let mut pods = Pods::default();
        while seen.ready.is_none() || seen.scheduled.is_none() {
            if over.load(Ordering::Relaxed) {
                bail!("not all was seen: {seen:?} {pods:?}");
            }
            follow(node, kubeconfig, source, began, &mut pods, &mut seen)?;
        }
        create.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(seen)
    })
}

fn kubectl(node: &Node<'_>, kubeconfig: &str, args: &[&str]) -> Command {
    node.command(&[&["kubectl", "--kubeconfig", kubeconfig], args].concat())
}

/// Creates the pod as soon as the API takes it.
fn create(node: &Node<'_>, kubeconfig: &str, over: &AtomicBool) -> Result<()> {
    let mut last = None;
    while !over.load(Ordering::Relaxed) {
        match kubectl(node, kubeconfig, &["create", "--validate=false", "-f", "/root/bench.yaml"]).run() {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(RETRY);
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no time was left"), Into::into)).context("cannot create a pod")
}

/// One watch, from its start to its end or to the moment when all was seen.
fn follow(
    node: &Node<'_>,
    kubeconfig: &str,
    source: Source,
    began: Instant,
    pods: &mut Pods,
    seen: &mut Seen,
) -> Result<()> {
    let args = ["get", "pods", "--all-namespaces", "--watch", "--output", COLUMNS];
    let whole = lines::until(&kubectl(node, kubeconfig, &args), Stdio::null(), |line| {
        pods.line(line, source);
        if pods.scheduled {
            seen.scheduled.get_or_insert_with(|| began.elapsed());
        }
        if pods.ready.iter().all(|ready| *ready) {
            seen.ready.get_or_insert_with(|| began.elapsed());
        }
        (seen.ready.is_some() && seen.scheduled.is_some()).then_some(())
    })?;
    if whole.is_none() {
        std::thread::sleep(RETRY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_from_the_right_source_count() {
        let mut pods = Pods::default();
        pods.line("kube-system/kube-apiserver-x|file|n|True", Source::Api);
        pods.line("kube-system/etcd-n|file|n|True", Source::Api);
        assert_eq!(pods.ready, [true, false, false, false]);
        pods.line("kube-system/kube-apiserver-x||n|True", Source::Api);
        pods.line("kube-system/kube-scheduler-x||n|", Source::Api);
        assert_eq!(pods.ready, [true, true, false, false]);
        pods.line("kube-system/kube-apiserver-x||n|False", Source::Api);
        assert_eq!(pods.ready, [true, false, false, false]);
    }

    #[test]
    fn a_pod_is_scheduled_when_it_has_a_node() {
        let mut pods = Pods::default();
        pods.line("kube-system/bench|||", Source::File);
        assert!(!pods.scheduled);
        pods.line("kube-system/bench||n|", Source::File);
        assert!(pods.scheduled);
    }
}
