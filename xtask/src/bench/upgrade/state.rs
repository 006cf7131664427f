//! Whether all of Kubernetes on a node is of one version and ready, as its API tells it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::node::Node;
use crate::bench::tool::Tool;

/// Names of the control plane's pods begin with these.
const COMPONENTS: [&str; 4] = ["etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-"];

/// Looks once.
///
/// # Errors
/// With what is not new, or not ready, or with why the API did not answer.
pub(super) fn look(node: &Node<'_>, tool: Tool, version: &str) -> Result<()> {
    let get = ["get", "nodes,pods", "--namespace", "kube-system", "--request-timeout=2s", "-o", "json"];
    let argv = [&["kubectl", "--kubeconfig", tool.kubeconfig()], &get[..]].concat();
    is_whole(&serde_json::from_str(&node.run(&argv)?)?, version)
}

/// The kubelet, and the pods that run a program of Kubernetes, are of that version; they and etcd are ready.
fn is_whole(list: &Value, version: &str) -> Result<()> {
    let items = list["items"].as_array().context("no list")?;
    let of = |kind: &'static str| items.iter().filter(move |item| item["kind"] == kind);
    let node = of("Node").next().context("no node")?;
    let kubelet = &node["status"]["nodeInfo"]["kubeletVersion"];
    ensure!(*kubelet == version, "the kubelet is {kubelet}");
    ensure!(is_ready(node), "the node is not Ready");
    // Failed ones stay as a record.
    let lives = |pod: &&Value| pod["status"]["phase"] != "Failed" && pod["status"]["phase"] != "Succeeded";
    let pods: Vec<&Value> = of("Pod").filter(lives).collect();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    for component in COMPONENTS {
        ensure!(pods.iter().any(|pod| name(pod).starts_with(component)), "no {component}");
    }
    for pod in pods {
        let name = name(pod);
        let image = pod["spec"]["containers"][0]["image"].as_str().context("no image")?;
        let kubernetes = image.rsplit('/').next().is_some_and(|image| image.starts_with("kube-"));
        if kubernetes || name.starts_with("etcd-") {
            ensure!(is_ready(pod), "{name} is not Ready");
            ensure!(pod["metadata"]["deletionTimestamp"].is_null(), "{name} ends");
        }
        ensure!(!kubernetes || image.ends_with(&format!(":{version}")), "{name} runs {image}");
    }
    Ok(())
}

fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEW: &str = "v1.37.2";

    fn pod(name: &str, image: &str, ready: &str) -> Value {
        json!({
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [{"image": image}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn list(version: &str, scheduler: &Value) -> Value {
        let node = json!({
            "kind": "Node",
            "status": {
                "nodeInfo": {"kubeletVersion": version},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        json!({"items": [
            node,
            pod("etcd-n", "registry.k8s.io/etcd:3.6.16-0", "True"),
            pod("kube-apiserver-n", "registry.k8s.io/kube-apiserver:v1.37.2", "True"),
            pod("kube-controller-manager-n", "registry.k8s.io/kube-controller-manager:v1.37.2", "True"),
            pod("coredns-x", "registry.k8s.io/coredns/coredns:v1.14.7", "False"),
            scheduler,
        ]})
    }

    #[test]
    fn all_of_kubernetes_is_new_and_ready_or_it_is_said_what_is_not() {
        let said = |version, scheduler| is_whole(&list(version, &scheduler), NEW).map_err(|e| e.to_string());
        let scheduler = |image, ready| pod("kube-scheduler-n", image, ready);
        let new = "registry.k8s.io/kube-scheduler:v1.37.2";
        let old = "registry.k8s.io/kube-scheduler:v1.36.3";
        assert_eq!(said(NEW, scheduler(new, "True")), Ok(()));
        assert_eq!(said("v1.36.3", scheduler(new, "True")), Err(r#"the kubelet is "v1.36.3""#.into()));
        assert_eq!(said(NEW, scheduler(new, "False")), Err("kube-scheduler-n is not Ready".into()));
        assert_eq!(said(NEW, scheduler(old, "True")), Err(format!("kube-scheduler-n runs {old}")));
        let mut ends = scheduler(new, "True");
        ends["metadata"]["deletionTimestamp"] = "2026-03-01T10:00:00Z".into();
        assert_eq!(said(NEW, ends), Err("kube-scheduler-n ends".into()));
        assert_eq!(said(NEW, json!({"kind": "Service"})), Err("no kube-scheduler-".into()));
    }
}
