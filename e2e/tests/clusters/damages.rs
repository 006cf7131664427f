//! Damages of what lies on a node's disk for containerd and the kubelet: doctor names each, and `up` mends each.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::ceiling::{BACK, POD, REPORTED, eventually};
use e2e::node::Node;
use e2e::whole::{static_pods, wait_settled, wait_whole};

const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
const META: &str = "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
const METADATA: &str = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/metadata.db";
const SNAPSHOTS: &str = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";

pub(crate) fn damages_of_containerd_and_the_kubelet() -> Result<()> {
    let node = Node::with_cluster("damages")?;
    wait_settled(&node)?;
    kubelet_config(&node).context("the kubelet's configuration is edited")?;
    containerd_config(&node).context("containerd's configuration is replaced")?;
    let cut_off = |disk: &Path| Ok(host::fs::write(&program(disk)?, b"", 0o755)?);
    damage(&node, "ImageFiles", "/usr/local/bin/kube-apiserver has 0 bytes", cut_off)?;
    let removed = |disk: &Path| Ok(host::fs::remove_file(&disk.join(META)).map(drop)?);
    damage(&node, "ContainerdState", META, removed)?;
    let half = |disk: &Path| {
        let bytes = host::fs::read(&disk.join(META))?;
        Ok(host::fs::write(&disk.join(META), &bytes[..bytes.len() / 2], 0o600)?)
    };
    damage(&node, "ContainerdState", META, half)?;
    let other = |disk: &Path| Ok(host::fs::write(&disk.join(METADATA), b"x\n", 0o600)?);
    damage(&node, "ContainerdState", METADATA, other)?;
    wait_whole(&node).map(drop)
}

fn kubelet_config(node: &Node) -> Result<()> {
    let limit = || {
        let path = format!("/api/v1/nodes/{}/proxy/configz", node.name());
        let all = node.get(&["get", "--raw", &path])?;
        let all: serde_json::Value = serde_json::from_str(&all)?;
        Ok::<_, anyhow::Error>(all["kubeletconfig"]["podPidsLimit"].clone())
    };
    node.shell(&format!(
        "sed -i 's/^podPidsLimit:.*/podPidsLimit: 5000/' {KUBELET_CONFIG}; systemctl restart kubelet"
    ))?;
    eventually("the kubelet has it", POD, || {
        let found = limit()?;
        ensure!(found == 5000, "{found}");
        Ok(())
    })?;
    told(node, "NodeFiles", KUBELET_CONFIG)?;
    node.up(&[])?.success()?;
    let found = eventually("the kubelet answers", POD, limit)?;
    ensure!(found == 4096, "the kubelet still has {found}");
    not_told(node, "NodeFiles")?;
    let kubelet = || node.shell("pidof kubelet");
    let before = kubelet()?;
    node.up(&[])?.success()?;
    ensure!(kubelet()? == before, "the kubelet was started again for nothing");
    Ok(())
}

fn containerd_config(node: &Node) -> Result<()> {
    let ours = host::fs::read_to_string(&node.path(CONTAINERD_CONFIG)?)?;
    node.shell(&format!("containerd config default >{CONTAINERD_CONFIG}"))?;
    told(node, "ContainerdConfig", CONTAINERD_CONFIG)?;
    let up = node.up(&[])?.success()?;
    ensure!(up.stderr.contains(".replaced-"), "it does not say where the other one went:\n{}", up.stderr);
    ensure!(host::fs::read_to_string(&node.path(CONTAINERD_CONFIG)?)? == ours, "ours is not back");
    not_told(node, "ContainerdConfig")
}

/// The program of the apiserver's image, as it is unpacked.
fn program(disk: &Path) -> Result<PathBuf> {
    let snapshots = host::fs::list(&disk.join(SNAPSHOTS))?;
    let mut programs = snapshots.iter().map(|dir| dir.join("fs/usr/local/bin/kube-apiserver"));
    programs.find(|program| program.is_file()).context("kube-apiserver is unpacked nowhere")
}

/// Something is damaged while the node is off: nothing serves, doctor names it, `up` ends well.
fn damage(node: &Node, check: &str, what: &str, damage: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let work = || {
        node.power_cycle(damage)?;
        eventually("doctor names it", BACK, || {
            let found = node.exec(&["kubestrap", "doctor", "--local"])?;
            ensure!(found.code() == 12, "{}\n{}", found.code(), found.stdout);
            ensure!(found.stdout.contains(check) && found.stdout.contains(what), "{}", found.stdout);
            Ok(())
        })?;
        let up = node.up(&[])?.success()?;
        eprintln!("{what}: {}", up.stderr);
        eventually("the API answers", REPORTED, || node.get(&["get", "--raw", "/readyz"]).map(drop))?;
        let files = static_pods(node)?;
        ensure!(!files.iter().any(|file| file.contains("bootstrap-")), "{files:?}");
        wait_settled(node)?;
        not_told(node, check)
    };
    work().with_context(|| what.to_owned())
}

fn told(node: &Node, check: &str, what: &str) -> Result<()> {
    let found = node.exec(&["kubestrap", "doctor", "--local"])?.success()?.stdout;
    ensure!(found.contains(check) && found.contains(what), "it does not name {what}:\n{found}");
    Ok(())
}

fn not_told(node: &Node, check: &str) -> Result<()> {
    let found = node.exec(&["kubestrap", "doctor", "--local"])?.stdout;
    ensure!(!found.contains(check), "it still names it:\n{found}");
    Ok(())
}
