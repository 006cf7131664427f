//! What somebody tries who may do little in a cluster, and whom the administrator helps without knowing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use e2e::ceiling::{self, eventually};
use e2e::node::Node;
use e2e::shared;
use e2e::whole::generations;

use crate::workload::etcd_image;

/// In the namespace of somebody who may make pods there and nothing else.
const PODS: &str = include_str!("attack-programs.yaml");
/// What the program would make that the pod shows in the place of etcd's tool.
const TRACE: &str = "/root/a-container-s-program-was-run";

pub(crate) fn attacks_by_what_a_container_shows() -> Result<()> {
    shared::cluster(|node| {
        let pods = PODS.replace("IMAGE", &etcd_image(node)?).replace("TRACE", TRACE);
        node.kubectl_with(&pods, &["apply", "-f", "-"])?.success()?;
        let tried = plans_run_nothing_of_it(node);
        node.kubectl(&["delete", "namespace", "tenant", "--wait=false"])?.success()?;
        tried
    })
}

/// More than one of them, for the first container that fits was taken, and etcd's own is one.
fn plans_run_nothing_of_it(node: &Node) -> Result<()> {
    eventually("the tenant's pods to run", ceiling::POD, || {
        let ready = node.get(&[
            "-n",
            "tenant",
            "get",
            "deployment",
            "web",
            "-o",
            "jsonpath={.status.readyReplicas}",
        ])?;
        ensure!(ready == "5", "{ready} of 5");
        Ok(())
    })?;
    let config = e2e::node::config("components: {kubeScheduler: {extraArgs: {v: 3}}}");
    host::fs::write(&node.path("/root/config.yaml")?, config.as_bytes(), 0o600)?;
    let plan = node.exec(&["kubestrap", "upgrade", "plan", "--config", "/root/config.yaml"])?.success()?;
    ensure!(!node.path(TRACE)?.exists(), "root ran a program that a container showed");
    ensure!(plan.stdout.contains("kube-scheduler"), "{}", plan.stdout);
    Ok(())
}

/// A revision that was Ready for 10 s is the good one (`guardian.minReadySeconds`); what is not kept by now is not.
const KEPT_AFTER: Duration = Duration::from_secs(20);
const LABEL: &str = "node-role.kubernetes.io/control-plane";
/// A pod that names itself after a component and asks to be kept.
const NAMESAKE: &str = include_str!("attack-namesake.yaml");

/// What each of those who have some right could make of it, one after the other.
pub(crate) fn attacks_by_those_who_have_some_right() -> Result<()> {
    shared::cluster(|node| {
        readers_of_every_object_learn_no_key(node)?;
        each_component_is_a_user_of_its_own(node)?;
        a_token_is_no_other_node(node)?;
        rights_on_a_status_are_none_on_labels(node)?;
        whoever_was_in_a_container_is_in_the_audit_log(node)?;
        a_pod_gets_nothing_of_the_host(node)?;
        a_kubelet_shows_who_it_is(node)?;
        a_name_leads_to_no_other_image(node)?;
        a_namesake_is_not_kept(node)
    })
}

/// Secrets and ConfigMaps of all namespaces.
fn readers_of_every_object_learn_no_key(node: &Node) -> Result<()> {
    let list = node.json(&["get", "secrets,configmaps", "--all-namespaces"])?;
    let objects = list["items"].as_array().context("no items")?;
    ensure!(objects.len() > 10, "only {} Secrets and ConfigMaps", objects.len());
    for object in objects {
        let name =
            format!("{} {}/{}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]);
        ensure!(object["kind"] != "Secret", "{name}: a fresh cluster needs none");
        for field in ["data", "binaryData"] {
            for (key, value) in object[field].as_object().into_iter().flatten() {
                let text = value.as_str().unwrap_or_default();
                for sign in ["PRIVATE KEY", "client-key-data", "token:", "secret:"] {
                    ensure!(!text.contains(sign), "{name} has {sign:?} in {key}");
                }
            }
        }
    }
    Ok(())
}

/// By the processes that run, seen from the host.
fn each_component_is_a_user_of_its_own(node: &Node) -> Result<()> {
    let list = node.shell("ps -eo uid=,comm=")?;
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in list.lines() {
        let (uid, name) = line.trim().split_once(' ').with_context(|| line.to_owned())?;
        // The sandbox of a pod is of its user, too.
        if name.trim() != "pause" {
            users.entry(uid).or_default().insert(name.trim());
        }
    }
    for component in ["kube-apiserver", "kube-controller", "kube-scheduler", "etcd"] {
        let of: Vec<_> =
            users.iter().filter(|(_, names)| names.iter().any(|n| n.starts_with(component))).collect();
        let [(uid, names)] = of.as_slice() else { anyhow::bail!("{component} runs as {of:?}") };
        ensure!(names.len() == 1 && **uid != "0", "{component} has user {uid}, and so have {names:?}");
    }
    Ok(())
}

/// With a token one asks for the certificate of a node that there is.
fn a_token_is_no_other_node(node: &Node) -> Result<()> {
    let token = node.exec(&["kubestrap", "token", "create"])?.success()?.stdout.trim().to_owned();
    let request = |of: &str, name: &str| -> Result<()> {
        let csr = base64::engine::general_purpose::STANDARD.encode(kubelets_request(of)?);
        let object = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
             spec:\n  request: {csr}\n  signerName: kubernetes.io/kube-apiserver-client-kubelet\n  usages: [digital signature, client auth]\n",
        );
        let server = "--server=https://127.0.0.1:6443";
        let path = format!("/root/{name}.yaml");
        host::fs::write(&node.path(&path)?, object.as_bytes(), 0o600)?;
        let as_token = [
            "kubectl",
            "--kubeconfig=/dev/null",
            server,
            "--certificate-authority=/etc/kubernetes/pki/ca.crt",
            &format!("--token={token}"),
            "create",
            "-f",
            &path,
        ];
        node.exec(&as_token)?.success().map(drop)
    };
    let decided = |name: &str| -> Result<(String, bool)> {
        eventually("the request to be decided", ceiling::MOMENT, || {
            let request = node.json(&["get", "csr", name])?;
            let kind = request["status"]["conditions"][0]["type"].as_str().context("undecided")?;
            let issued = request["status"]["certificate"].is_string();
            ensure!(kind != "Approved" || issued, "approved, and not issued yet");
            Ok((kind.to_owned(), issued))
        })
    };
    request(node.name(), "taken")?;
    ensure!(
        decided("taken")? == ("Denied".to_owned(), false),
        "a token got the certificate of a node that there is"
    );
    request("free", "free")?;
    ensure!(decided("free")? == ("Approved".to_owned(), true), "a free name was denied");
    // Not even by that one: the keys are for nodes with the label.
    node.get(&["delete", "csr", "taken", "free"])?;
    node.exec(&["kubestrap", "token", "delete", &token])?.success().map(drop)
}

/// As a kubelet that joins makes it; nobody keeps its key.
fn kubelets_request(node: &str) -> Result<String> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("system:node:{node}"));
    Ok(params.serialize_request(&rcgen::KeyPair::generate()?)?.pem()?)
}

/// flannel may write nodes' status, and a guardian pods' status of its own node: what each makes of it is tried in its name.
fn rights_on_a_status_are_none_on_labels(node: &Node) -> Result<()> {
    const DIR: &str = "/run/attack";
    node.shell(&format!(
        "mkdir -p {DIR} && for part in certificate key; do kubectl --kubeconfig /etc/kubernetes/admin.conf config view --raw \
         -o jsonpath=\"{{.users[0].user.client-$part-data}}\" | base64 -d > {DIR}/$part; done"
    ))?;
    let flannel = vec!["Impersonate-User: system:serviceaccount:kube-flannel:flannel".to_owned()];
    let guardian = |of: &str| {
        let user = format!("Impersonate-User: system:kubestrap:guardian:{of}");
        vec![user, "Impersonate-Group: system:kubestrap:guardians".to_owned()]
    };
    let patched = |who: &[String], path: &str, patch: &str| -> Result<String> {
        let headers = who.iter().fold(String::new(), |text, header| text + &format!(" -H '{header}'"));
        node.shell(&format!(
            "curl -sk --cert {DIR}/certificate --key {DIR}/key{headers} -X PATCH \
             -H 'Content-Type: application/merge-patch+json' 'https://127.0.0.1:6443{path}' -d '{patch}'"
        ))
    };
    let refused = |who: &[String], path: &str, patch: &str, why: &str| -> Result<()> {
        let said = patched(who, path, patch)?;
        ensure!(said.contains("Failure") && said.contains(why), "{who:?} {patch}: {said}");
        Ok(())
    };
    let status = format!("/api/v1/nodes/{}/status", node.name());
    let label = format!(r#"{{"metadata": {{"labels": {{"{LABEL}": null}}}}}}"#);
    refused(&flannel, &status, &label, "for cluster administrators")?;
    let other = r#"{"metadata": {"labels": {"topology.kubernetes.io/zone": "mine"}}}"#;
    refused(&flannel, &status, other, "none on a node")?;
    // What it is for it does still.
    let own = r#"{"metadata": {"annotations": {"flannel.alpha.coreos.com/attack": "none"}}}"#;
    let said = patched(&flannel, &status, own)?;
    ensure!(said.contains("flannel.alpha.coreos.com/attack"), "{said}");
    let proxy = node.get(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-proxy", "-o", "name"])?;
    let proxy = proxy.trim().trim_start_matches("pod/");
    let status = format!("/api/v1/namespaces/kube-system/pods/{proxy}/status");
    let here = guardian(node.name());
    let dns = r#"{"metadata": {"labels": {"k8s-app": "kube-dns"}}}"#;
    refused(&here, &status, dns, "metadata and nothing else")?;
    let address = r#"{"status": {"podIP": "10.0.0.9"}}"#;
    refused(&here, &status, address, "kubestrap.io/serving and nothing else")?;
    let report = r#"{"metadata": {"annotations": {"kubestrap.io/guardian": "{}"}}}"#;
    refused(&guardian("other"), &status, report, "pods of its own node")?;
    let user = format!("--as=system:kubestrap:guardian:{}", node.name());
    let secrets = ["-n", "kube-system", "get", "secrets", &user, "--as-group=system:kubestrap:guardians"];
    let ended = node.kubectl(&secrets)?;
    ensure!(!ended.status.success() && ended.stderr.contains("forbidden"), "{ended:?}");
    node.shell(&format!("rm -r {DIR}")).map(drop)
}

/// By WebSocket an exec is a GET.
fn whoever_was_in_a_container_is_in_the_audit_log(node: &Node) -> Result<()> {
    node.get(&["-n", "kube-system", "exec", "ds/kube-proxy", "--", "kube-proxy", "--version"])?;
    eventually("the exec in the audit log", ceiling::MOMENT, || {
        let log = node.shell("cat /var/log/kubernetes/audit/*.log")?;
        let line = log.lines().find(|line| line.contains("/exec?")).context("no line has it")?;
        ensure!(line.contains("kubernetes-admin"), "{line}");
        Ok(())
    })?;
    let mode = node.shell("stat -c '%a %u' /var/log/kubernetes/audit")?;
    ensure!(mode.trim() == "700 61101", "{mode}");
    Ok(())
}

/// Unless its namespace says so, which takes a right on namespaces.
fn a_pod_gets_nothing_of_the_host(node: &Node) -> Result<()> {
    for part in [
        r#"{"spec": {"hostPID": true}}"#,
        r#"{"spec": {"hostNetwork": true}}"#,
        r#"{"spec": {"volumes": [{"name": "disk", "hostPath": {"path": "/"}}]}}"#,
    ] {
        let overrides = format!("--overrides={part}");
        let run = ["run", "taker", "--image=none.invalid/none", "--dry-run=server", &overrides];
        let ended = node.kubectl(&run)?;
        let refused = !ended.status.success() && ended.stderr.contains("violates PodSecurity \"baseline:");
        ensure!(refused, "{part}: {ended:?}");
    }
    let mode = node.shell("stat -c %a /etc/cni/net.d/10-flannel.conflist")?;
    ensure!(mode.trim() == "600", "the network's config has mode {mode}");
    Ok(())
}

/// Whoever answers at a node's address with another certificate gets no exec of anybody's.
fn a_kubelet_shows_who_it_is(node: &Node) -> Result<()> {
    let address = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
    let addresses = node.get(&["get", "node", node.name(), "-o", address])?;
    let first = addresses.split_whitespace().next().context("the node has no address")?;
    let ask = format!(
        "curl -s --cacert /etc/kubernetes/pki/ca.crt -o /dev/null -w '%{{http_code}}' https://{first}:10250/pods"
    );
    let said = node.shell(&ask)?;
    ensure!(said == "401", "the kubelet says {said} to somebody without a certificate");
    let flags = node.arguments("kube-apiserver")?;
    let asks = flags.iter().any(|flag| flag.starts_with("--kubelet-certificate-authority="));
    ensure!(asks, "{flags:?}");
    Ok(())
}

/// Whoever may run a pod can have the node pull a name again, and gets what that registry then gives under it.
fn a_name_leads_to_no_other_image(node: &Node) -> Result<()> {
    const DNS: &[&str] = &["-n", "kube-system", "get", "deployment", "coredns", "-o"];
    let list = node.json(&["-n", "kube-system", "get", "pods"])?;
    for pod in list["items"].as_array().context("no items")? {
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let by_digest = container["image"].as_str().is_some_and(|image| image.contains("@sha256:"));
            ensure!(by_digest, "{} runs {}", pod["metadata"]["name"], container["image"]);
        }
    }
    let own = node.get(&[DNS, &["jsonpath={.spec.template.spec.containers[0].image}"]].concat())?;
    let (name, digest) = own.split_once('@').with_context(|| own.clone())?;
    let (repository, _) = name.rsplit_once(':').with_context(|| own.clone())?;
    let tag = |image: &str| node.shell(&format!("ctr -n k8s.io images tag --force {image} {name}"));
    tag(&etcd_image(node)?)?;
    node.get(&["-n", "kube-system", "rollout", "restart", "deployment/coredns"])?;
    let rolled =
        node.get(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=180s"]);
    tag(&format!("{repository}@{digest}"))?;
    rolled.map(drop)
}

/// It is Ready for longer than a revision must be to become the good one.
fn a_namesake_is_not_kept(node: &Node) -> Result<()> {
    let before = generations(node, "kube-system_kube-scheduler")?;
    let pod = NAMESAKE.replace("IMAGE", &etcd_image(node)?).replace("NODE", node.name());
    node.kubectl_with(&pod, &["apply", "-f", "-"])?.success()?;
    node.get(&[
        "-n",
        "kube-system",
        "wait",
        "--for=condition=Ready",
        "pod/kube-scheduler",
        "--timeout=120s",
    ])?;
    std::thread::sleep(KEPT_AFTER);
    let after = generations(node, "kube-system_kube-scheduler")?;
    let known = node.shell("ls /var/lib/kubestrap/checkpoints")?;
    node.get(&["-n", "kube-system", "delete", "pod", "kube-scheduler", "--wait=true"])?;
    ensure!(before == after, "a pod that nobody's controller made was kept: {before:?}, then {after:?}");
    ensure!(known.lines().count() == 3, "components: {known}");
    Ok(())
}
