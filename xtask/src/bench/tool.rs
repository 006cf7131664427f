//! The two tools: how a node is prepared for each, and the command that brings its cluster up.

use std::fmt;
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::figures::{Format, Pair};
use super::node::{BUNDLE, Node, PROGRAMS, Site};
use crate::build::say;

/// The kubelet's configuration on a node.
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";

/// kubeadm's configuration on a node.
const KUBEADM_CONFIG: &str = "/root/kubeadm.yaml";

/// The kubelet's unit as kubeadm's package has it: the flags are kubeadm's.
const KUBELET_UNIT: &str = "[Service]
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=1
KillMode=process

[Install]
WantedBy=multi-user.target
";

/// What a sandbox cannot have or shares with its machine, and what both tools are not asked for.
pub(super) const IGNORED_CHECKS: [&str; 5] = ["SystemVerification", "Swap", "Mem", "NumCPU", "Hostname"];

/// A tool that brings clusters up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    Kubestrap,
    Kubeadm,
}

impl Tool {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kubestrap => "kubestrap",
            Self::Kubeadm => "kubeadm",
        }
    }

    /// Makes a fresh node on which the tool's command has everything left to do.
    pub(super) fn prepare(self, site: &Site) -> Result<Node<'_>> {
        let node = site.node(self.name())?;
        node.run(&["kubestrap", "up", "--bundle", BUNDLE, "--prepare-only"])?;
        let kubelet = std::fs::read_to_string(node.path(KUBELET_CONFIG))?;
        forget(&node)?;
        if self == Self::Kubeadm {
            prepare_kubeadm(&node, &kubelet)?;
        }
        Ok(node)
    }

    /// The command that brings a control plane up on a prepared node.
    pub(super) fn command(self) -> Vec<String> {
        let kubeadm = format!("{PROGRAMS}/kubeadm");
        let argv: &[&str] = match self {
            Self::Kubestrap => &["kubestrap", "-o", "json", "up", "--bundle", BUNDLE, "--no-wait"],
            Self::Kubeadm => &[&kubeadm, "init", "--config", KUBEADM_CONFIG],
        };
        argv.iter().map(|&arg| arg.to_owned()).collect()
    }

    /// A kubeconfig in the node with every right, from the first moment on.
    pub(super) fn kubeconfig(self) -> &'static str {
        match self {
            Self::Kubestrap => "/var/lib/kubestrap/assets/auth/kubeconfig-super-admin",
            Self::Kubeadm => "/etc/kubernetes/super-admin.conf",
        }
    }
}

/// Measures both tools in turn.
pub(super) fn pairs<T>(number: u32, mut run: impl FnMut(Tool, u32) -> Result<T>) -> Result<Vec<Pair<T>>> {
    let mut pairs = Vec::new();
    for number in 1..=number {
        let mut run =
            |tool: Tool| run(tool, number).with_context(|| format!("{} in pair {number}", tool.name()));
        // Whoever comes second finds warmer caches: they change places.
        pairs.push(if number % 2 == 1 {
            let kubestrap = run(Tool::Kubestrap)?;
            Pair { kubestrap, kubeadm: run(Tool::Kubeadm)? }
        } else {
            let kubeadm = run(Tool::Kubeadm)?;
            Pair { kubestrap: run(Tool::Kubestrap)?, kubeadm }
        });
    }
    Ok(pairs)
}

/// Measures one tool alone: figures of each run, no comparison.
pub(super) fn alone<T: fmt::Display + Serialize>(
    tool: Tool,
    number: u32,
    format: Format,
    mut run: impl FnMut() -> Result<T>,
) -> Result<()> {
    let mut runs = Vec::new();
    for at in 1..=number {
        let measured = run().with_context(|| format!("run {at} of {}", tool.name()))?;
        say(&format!("run {at} of {number}: {} {measured}", tool.name()));
        runs.push(measured);
    }
    if format == Format::Json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&runs)?)?;
    }
    Ok(())
}

/// Takes back all that the timed command has to do: what is left is programs, containerd, images.
fn forget(node: &Node<'_>) -> Result<()> {
    node.run(&["systemctl", "disable", "--now", "kubelet"])?;
    for dir in ["/var/lib/kubelet", "/var/lib/kubestrap", "/etc/kubernetes"] {
        host::fs::remove_dir_all(&node.path(dir))?;
    }
    node.run(&["systemctl", "daemon-reload"])?;
    // What was just written would otherwise be written to the disk while the clock runs.
    node.run(&["sync"])?;
    Ok(())
}

/// kubeadm's unit and configuration. A sandbox does not let kube-proxy set the machine's limit of
/// connections, and kube-proxy 1.36 ends where it cannot: it is told to leave the limit alone, as kubestrap's is.
fn prepare_kubeadm(node: &Node<'_>, kubelet: &str) -> Result<()> {
    host::fs::write(&node.path("/etc/systemd/system/kubelet.service"), KUBELET_UNIT.as_bytes(), 0o644)?;
    node.run(&["systemctl", "daemon-reload"])?;
    node.run(&["systemctl", "enable", "kubelet"])?;
    host::fs::create_dir_all(&node.path("/etc/kubernetes/manifests"), 0o755)?;
    let versions = std::fs::read_to_string(node.path(&format!("{PROGRAMS}/versions.json")))?;
    let versions: serde_json::Value = serde_json::from_str(&versions)?;
    let version = versions["kubernetes"].as_str().context("versions.json has no `kubernetes`")?;
    // A newer patch than kubeadm names is in the bundle, and no other one can be had.
    let tag = |image: &str| versions["images"][image].as_str().context("versions.json lacks an image");
    let (etcd, coredns) = (tag("etcd")?, tag("coredns")?);
    let config = format!(
        "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: {address}
nodeRegistration:
  name: kubeadm
  criSocket: unix:///run/containerd/containerd.sock
  imagePullPolicy: Never
  ignorePreflightErrors: [{ignored}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
encryptionAlgorithm: ECDSA-P256
etcd:
  local:
    imageTag: {etcd}
dns:
  imageTag: {coredns}
networking:
  podSubnet: 10.244.0.0/16
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
conntrack:
  maxPerCore: 0
---
{kubelet}",
        address = node.address,
        ignored = IGNORED_CHECKS.join(", "),
    );
    host::fs::write(&node.path(KUBEADM_CONFIG), config.as_bytes(), 0o600)?;
    Ok(())
}
