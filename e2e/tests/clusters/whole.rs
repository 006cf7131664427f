//! The cluster that `up` makes is whole: self-hosted, with nothing temporary left, and everything
//! that users do with a cluster works.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use e2e::ceiling::{MOMENT, eventually};
use e2e::node::Node;
use e2e::shared;

use crate::doctor;
use crate::workload::{self, is_healthy, workload};

pub(crate) fn a_cluster_that_up_made_is_whole() -> Result<()> {
    shared::cluster(is_whole)
}

fn is_whole(node: &Node) -> Result<()> {
    every_pod_is_ready(node)?;
    only_the_self_hosted_control_plane_is_left(node)?;
    again_there_is_nothing_to_do(node)?;
    workload::is_reachable(node)?;
    logs_exec_and_port_forward_work(node)?;
    tokens_let_nodes_join(node)?;
    doctor::tells_before_the_power_fails(node)?;
    the_workload_restarts_by_kubectl(node)
}

pub(crate) fn every_pod_is_ready(node: &Node) -> Result<()> {
    let pods = node.json(&["get", "pods", "--all-namespaces"])?;
    for pod in pods["items"].as_array().context("no pods")? {
        let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = ready.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        ensure!(ready, "pod {} is not ready: {:#}", pod["metadata"]["name"], pod["status"]);
    }
    Ok(())
}

pub(crate) fn only_the_self_hosted_control_plane_is_left(node: &Node) -> Result<()> {
    node.get(&["-n", "kube-system", "get", "daemonset/kube-apiserver"])?;
    node.get(&[
        "-n",
        "kube-system",
        "get",
        "deployment/kube-controller-manager",
        "deployment/kube-scheduler",
    ])?;
    let pods = node.get(&["get", "pods", "--all-namespaces", "-o", "name"])?;
    ensure!(!pods.contains("bootstrap-"), "a temporary pod is left: {pods}");
    let containers = node.exec(&["ctr", "-n", "k8s.io", "containers", "list"])?.success()?.stdout;
    ensure!(containers.matches("kube-apiserver").count() == 1, "apiserver containers: {containers}");
    let files = node.exec(&["ls", "/etc/kubernetes/manifests"])?.success()?.stdout;
    ensure!(files.trim() == "etcd.yaml\nkubestrap-guardian.yaml", "static pods: {files}");
    let secrets = node.exec(&["ls", "/etc/kubernetes/bootstrap-secrets"])?;
    ensure!(!secrets.status.success(), "the temporary secrets are left: {}", secrets.stdout);
    let listeners = node.exec(&["ss", "-Hltn", "sport", "=", ":6443"])?.success()?.stdout;
    ensure!(listeners.lines().count() == 1, "listeners: {listeners}");
    Ok(())
}

fn again_there_is_nothing_to_do(node: &Node) -> Result<()> {
    let again = node.exec(&["kubestrap", "start"])?.success()?;
    ensure!(again.stdout.starts_with("nothing to do"), "{}", again.stdout);
    let plan = node.exec(&["kubestrap", "start", "--dry-run"])?.success()?;
    ensure!(plan.stdout.starts_with("nothing to do"), "{}", plan.stdout);
    node.up(&[])?.success()?;
    Ok(())
}

fn logs_exec_and_port_forward_work(node: &Node) -> Result<()> {
    for owner in ["ds/kube-apiserver", "deploy/kube-controller-manager", "deploy/kube-scheduler"] {
        let log = node.get(&["-n", "kube-system", "logs", owner, "--tail=5"])?;
        ensure!(!log.is_empty(), "{owner} has no log");
    }
    let answer = node.get(&["exec", "deploy/web", "--", "etcd", "--version"])?;
    ensure!(answer.starts_with("etcd Version"), "{answer}");
    let mut forward =
        node.kubectl_spawn(&["port-forward", "service/web", "18080:80", "--address=127.0.0.1"])?;
    let result = eventually("port-forward", MOMENT, || is_healthy(TcpStream::connect("127.0.0.1:18080")?));
    forward.kill()?;
    forward.wait()?;
    result
}

/// What a joining node asks for before anybody knows it: kubeadm's `cluster-info`, signed with each token that there is.
fn tokens_let_nodes_join(node: &Node) -> Result<()> {
    let signatures = || -> Result<Vec<String>> {
        let info = node.json(&["-n", "kube-public", "get", "configmap", "cluster-info"])?;
        let data = info["data"].as_object().context("no data")?;
        ensure!(data.contains_key("kubeconfig"), "cluster-info has no kubeconfig");
        Ok(data.keys().filter_map(|key| key.strip_prefix("jws-kubeconfig-").map(str::to_owned)).collect())
    };
    ensure!(signatures()?.is_empty(), "a token was made that nobody asked for: {:?}", signatures()?);
    let token = node.exec(&["kubestrap", "token", "create"])?.success()?.stdout;
    let id = token.trim().split('.').next().unwrap_or_default().to_owned();
    eventually("cluster-info is signed", MOMENT, || {
        ensure!(signatures()? == [id.clone()], "signed with {:?}", signatures()?);
        Ok(())
    })?;
    let list = node.exec(&["kubestrap", "token", "list"])?.success()?.stdout;
    ensure!(list.contains(token.trim()), "{list}");
    node.exec(&["kubestrap", "token", "delete", &id])?.success()?;
    eventually("cluster-info is signed no more", MOMENT, || {
        ensure!(signatures()?.is_empty(), "signed with {:?}", signatures()?);
        Ok(())
    })?;
    let anonymous = |path: &str| -> Result<String> {
        let url = format!("https://127.0.0.1:6443{path}");
        let code = node.exec(&["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])?;
        Ok(code.success()?.stdout)
    };
    ensure!(anonymous("/api/v1/namespaces/kube-public/configmaps/cluster-info")? == "200");
    ensure!(anonymous("/readyz")? == "200");
    for closed in ["/api/v1/namespaces/kube-system/secrets", "/version", "/api"] {
        let code = anonymous(closed)?;
        ensure!(code == "401" || code == "403", "{closed} is open to everybody: {code}");
    }
    Ok(())
}

/// And nothing is left of it: others come after us.
fn the_workload_restarts_by_kubectl(node: &Node) -> Result<()> {
    node.get(&["rollout", "restart", "deploy/web"])?;
    node.rolled_out("default", "deploy/web")?;
    node.kubectl_with(&workload(node)?, &["delete", "--wait=false", "-f", "-"])?.success()?;
    Ok(())
}
