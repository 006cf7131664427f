//! An asset directory in bootkube's layout that kubestrap did not render: other names, other labels,
//! no probes, pods of root, and an etcd that its user runs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use e2e::ceiling::{POD, ROLLOUT, eventually};
use e2e::node::{ASSETS, Node};

use crate::networks::run_etcd;

/// Where the directory lies in the node.
const FOREIGN: &str = "/root/my-assets";

/// An image that every node has.
const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

const REQUIRED: &str = "kube-system/api,kube-system/cm,sched:kube-system/sched|kube-system/other";

/// bootkube's names of files in `tls/`, and ours.
const TLS: [(&str, &str); 9] = [
    ("ca.crt", "ca.crt"),
    ("ca.key", "ca.key"),
    ("apiserver.crt", "apiserver.crt"),
    ("apiserver.key", "apiserver.key"),
    ("service-account.pub", "sa.pub"),
    ("service-account.key", "sa.key"),
    ("etcd-client-ca.crt", "etcd/ca.crt"),
    ("etcd-client.crt", "apiserver-etcd-client.crt"),
    ("etcd-client.key", "apiserver-etcd-client.key"),
];

const BOOTSTRAP: [(&str, &str); 3] = [
    ("bootstrap-apiserver.yaml", include_str!("foreign/bootstrap-apiserver.yaml")),
    ("bootstrap-controller-manager.yaml", include_str!("foreign/bootstrap-controller-manager.yaml")),
    ("bootstrap-scheduler.yaml", include_str!("foreign/bootstrap-scheduler.yaml")),
];

const MANIFESTS: [(&str, &str); 2] =
    [("api.yaml", include_str!("foreign/api.yaml")), ("workers.yaml", include_str!("foreign/workers.yaml"))];

/// Both apiservers with `--permit-port-sharing`. Their listeners cannot be steered: nobody told Go
/// to leave multipath TCP alone.
pub(crate) fn foreign_assets_are_brought_up() -> Result<()> {
    let stderr = brought_up("foreign", true)?;
    ensure!(!stderr.contains("do not both have --permit-port-sharing"), "{stderr}");
    Ok(())
}

/// As bootkube rendered them: the new apiserver can listen only when the old one is gone.
pub(crate) fn foreign_assets_whose_apiservers_cannot_share_a_port_are_brought_up() -> Result<()> {
    let stderr = brought_up("foreign2", false)?;
    ensure!(stderr.contains("do not both have --permit-port-sharing"), "the gap is not explained: {stderr}");
    Ok(())
}

fn brought_up(name: &str, shared: bool) -> Result<String> {
    let node = Node::prepared(name)?;
    write_assets(&node, shared)?;
    run_etcd(&node, ASSETS)?;
    let start = ["kubestrap", "start", "--asset-dir", FOREIGN, "--required-pods", REQUIRED];
    let began = Instant::now();
    let ended = node.exec(&start)?.success()?;
    eprintln!("{name}: {:.1} s\n{}{}", began.elapsed().as_secs_f32(), ended.stderr, ended.stdout);
    ensure!(ended.stdout.contains("The control plane is self-hosted after"), "{}", ended.stdout);
    ensure!(ended.stdout.contains("requests failed, longest gap"), "{}", ended.stdout);
    self_hosted(&node)?;
    let again = node.exec(&start)?.success()?;
    ensure!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);
    Ok(ended.stderr)
}

fn write_assets(node: &Node, shared: bool) -> Result<()> {
    let rendered = node.path(ASSETS)?;
    let root = node.path(FOREIGN)?;
    let config = host::fs::read_to_string(&rendered.join("kubestrap.yaml"))?;
    let version = config.lines().find_map(|line| line.strip_prefix("kubernetesVersion: "));
    let version = version.context("no version in the config")?;
    let write = |path: &str, text: &[u8]| -> Result<()> {
        let path = root.join(path);
        host::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")), 0o755)?;
        Ok(host::fs::write(&path, text, 0o600)?)
    };
    let fill = |text: &str| text.replace("{{version}}", version).replace("{{shared}}", &shared.to_string());
    for (name, text) in BOOTSTRAP {
        write(&format!("bootstrap-manifests/{name}"), fill(text).as_bytes())?;
    }
    for (name, text) in MANIFESTS {
        write(&format!("manifests/{name}"), fill(text).as_bytes())?;
    }
    let kubeconfig = host::fs::read(&rendered.join("auth/kubeconfig-super-admin"))?;
    write("auth/kubeconfig", &kubeconfig)?;
    let encode = |content: &[u8]| base64::engine::general_purpose::STANDARD.encode(content);
    let mut data = serde_json::json!({"kubeconfig": encode(&kubeconfig)});
    for (theirs, ours) in TLS {
        let content = host::fs::read(&rendered.join("tls").join(ours))?;
        write(&format!("tls/{theirs}"), &content)?;
        data[theirs] = encode(&content).into();
    }
    let metadata = serde_json::json!({"name": "control-plane", "namespace": "kube-system"});
    let secret =
        serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    write("manifests/secret.json", secret.to_string().as_bytes())
}

fn self_hosted(node: &Node) -> Result<()> {
    let kubectl = |args: &[&str]| {
        let config = format!("{FOREIGN}/auth/kubeconfig");
        Ok::<_, anyhow::Error>(
            node.exec(&[&["kubectl", "--kubeconfig", &config], args].concat())?.success()?.stdout,
        )
    };
    // The kubelet tells the API of etcd's pod when it happens to look again, once a minute.
    eventually("the self-hosted pods and etcd", ROLLOUT, || {
        let pods = kubectl(&["-n", "kube-system", "get", "pods", "-o", "name"])?;
        let count =
            |prefix: &str| pods.lines().filter(|line| line.starts_with(&format!("pod/{prefix}-"))).count();
        ensure!([count("api"), count("cm"), count("sched"), count("etcd")] == [1; 4], "{pods}");
        ensure!(pods.lines().count() == 4, "more than those: {pods}");
        Ok(())
    })?;
    let files = node.exec(&["ls", "/etc/kubernetes/manifests"])?.success()?.stdout;
    ensure!(files.trim() == "etcd.yaml", "static pods: {files}");
    let secrets = node.exec(&["ls", "/etc/kubernetes/bootstrap-secrets"])?;
    ensure!(!secrets.status.success(), "the temporary secrets are left: {}", secrets.stdout);
    let listeners = node.exec(&["ss", "-Hltn", "sport", "=", ":6443"])?.success()?.stdout;
    ensure!(listeners.lines().count() == 1, "listeners: {listeners}");
    // Leadership has come to them: a new pod gets its token and a node.
    let pod = r#"{"spec": {"hostNetwork": true, "tolerations": [{"operator": "Exists"}]}}"#;
    kubectl(&["run", "probe", "--image", PAUSE, "--overrides", pod])?;
    kubectl(&["wait", "pod/probe", "--for=condition=Ready", &format!("--timeout={}s", POD.as_secs())])?;
    Ok(())
}
