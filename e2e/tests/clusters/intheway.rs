//! What somebody puts in the way of a cluster: the cluster holds, and `status`, `doctor` and `upgrade plan` name the object
//! and the command that ends it. The command is run as it is told.

use anyhow::{Context, Result, bail, ensure};
use e2e::ceiling::{MOMENT, POD, eventually};
use e2e::node::Node;
use e2e::whole::{wait_settled, wait_whole};
use serde_json::{Value, json};

/// Exit code of `upgrade plan` when a check refuses what it would do.
const REFUSED: i32 = 4;

pub(crate) fn in_the_way_is_named_with_what_ends_it() -> Result<()> {
    let node = Node::with_cluster("intheway")?;
    wait_settled(&node)?;
    let idle = told(&node)?;
    ensure!(idle.is_empty(), "it warns of a cluster that is well: {idle:?}");
    a_webhook_that_nobody_answers(&node)?;
    a_limit_that_no_pod_keeps(&node)?;
    a_label_of_another_value(&node)?;
    a_daemonset_that_is_gone(&node)?;
    a_full_etcd(&node)?;
    a_node_object_that_is_gone(&node)
}

/// What `status` tells, which `doctor` tells as well: name, what is wrong, what to do. The node comes back with all of it.
fn told(node: &Node) -> Result<Vec<[String; 3]>> {
    let asked = |verb: &str, key: &str| -> Result<Vec<[String; 3]>> {
        let ended = node.exec(&["kubestrap", verb, "-o", "json"])?.success()?;
        let answer: Value = serde_json::from_str(&ended.stdout)?;
        let checks = answer[key].as_array().cloned().unwrap_or_default();
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        Ok(checks.iter().map(|check| ["name", "what", "remedy"].map(|key| text(check, key))).collect())
    };
    let (status, doctor) = (asked("status", "inTheWay")?, asked("doctor", "cluster")?);
    let names = |checks: &[[String; 3]]| checks.iter().map(|[name, ..]| name.clone()).collect::<Vec<_>>();
    ensure!(names(&status) == names(&doctor), "status and doctor differ: {status:?} {doctor:?}");
    Ok(status)
}

/// The one check that is told, with all of these words.
fn only(node: &Node, name: &str, words: &[&str]) -> Result<[String; 3]> {
    let told = told(node)?;
    let [check] = &told[..] else { bail!("{name} alone is not told: {told:?}") };
    let text = check.join(" ");
    ensure!(check[0] == name && words.iter().all(|word| text.contains(word)), "{check:?}");
    eprintln!("intheway: {check:?}");
    Ok(check.clone())
}

/// Waits until nothing is told any more.
fn nothing(node: &Node) -> Result<()> {
    eventually("nothing is in the way", POD, || {
        let told = told(node)?;
        ensure!(told.is_empty(), "{told:?}");
        Ok(())
    })
}

/// Runs the command at the end of a remedy, as somebody does who reads it.
fn follow(node: &Node, [_, _, remedy]: &[String; 3]) -> Result<()> {
    let at = remedy.rfind("kubectl ").context("the remedy has no command")?;
    let args: Vec<&str> = remedy[at..].split(' ').skip(1).collect();
    node.get(&args).map(drop)
}

fn apply(node: &Node, object: &Value) -> Result<()> {
    node.kubectl_with(&object.to_string(), &["apply", "-f", "-"])?.success().map(drop)
}

fn plan(node: &Node) -> Result<e2e::node::Ended> {
    node.exec(&["kubestrap", "upgrade", "plan"])
}

fn a_webhook_that_nobody_answers(node: &Node) -> Result<()> {
    let hook = json!({"name": "dead.drill.example", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail", "clientConfig": {"service": {"namespace": "default", "name": "nobody"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pods"]}]});
    apply(
        node,
        &json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "dead"}, "webhooks": [hook]}),
    )?;
    let words =
        ["ValidatingWebhookConfiguration dead", "default/nobody does not exist", "no pod can be made"];
    let check = eventually("the webhook is told", MOMENT, || only(node, "Webhook-dead", &words))?;
    // A rollout that cannot come to its end is refused before it begins.
    node.get(&["-n", "kube-system", "rollout", "restart", "deployment/kube-scheduler"])?;
    eventually("the plan quotes the API", POD, || {
        let plan = plan(node)?;
        let said =
            ["none could be made", "failed calling webhook \"dead.drill.example\"", "Webhook-dead failed"];
        ensure!(plan.code() == REFUSED, "{}\n{}", plan.stdout, plan.stderr);
        ensure!(said.iter().all(|word| plan.stdout.contains(word)), "{}", plan.stdout);
        ensure!(!plan.stdout.contains("Nothing to do"), "{}", plan.stdout);
        Ok(())
    })?;
    follow(node, &check)?;
    node.rolled_out("kube-system", "deployment/kube-scheduler")?;
    nothing(node)
}

fn a_limit_that_no_pod_keeps(node: &Node) -> Result<()> {
    let limits = json!([{"type": "Container", "max": {"cpu": "10m"}}]);
    apply(
        node,
        &json!({"apiVersion": "v1", "kind": "LimitRange",
            "metadata": {"name": "small", "namespace": "kube-system"}, "spec": {"limits": limits}}),
    )?;
    node.get(&["-n", "kube-system", "rollout", "restart", "deployment/kube-scheduler"])?;
    let words =
        ["no pod of Deployment kube-system/kube-scheduler can be made", "LimitRange kube-system/small"];
    let check = eventually("the limit is told", POD, || only(node, "PodsMade-kube-scheduler", &words))?;
    follow(node, &check)?;
    node.rolled_out("kube-system", "deployment/kube-scheduler")?;
    nothing(node)
}

fn a_label_of_another_value(node: &Node) -> Result<()> {
    node.get(&["label", "--overwrite", "node", node.name(), "node-role.kubernetes.io/control-plane=true"])?;
    let words = ["is `true`", "want it empty"];
    let check =
        eventually("the label is told", POD, || only(node, &format!("NodeObject-{}", node.name()), &words))?;
    follow(node, &check)?;
    wait_whole(node)?;
    nothing(node)
}

fn a_daemonset_that_is_gone(node: &Node) -> Result<()> {
    node.get(&["-n", "kube-system", "delete", "daemonset", "kube-proxy"])?;
    let words = ["DaemonSet kube-system/kube-proxy is gone", "kubestrap upgrade apply"];
    only(node, "ObjectPresent-DaemonSet/kube-proxy", &words)?;
    node.exec(&["kubestrap", "upgrade", "apply"])?.success()?;
    nothing(node)
}

/// The alarm is raised by hand: what it takes to fill a database is no matter here. What ends it is a script.
fn a_full_etcd(node: &Node) -> Result<()> {
    let pki = "/etc/kubernetes/pki/etcd";
    node.shell(&format!(
        "curl -sS --fail --cacert {pki}/ca.crt --cert {pki}/peer.crt --key {pki}/peer.key \
         https://127.0.0.1:2379/v3/maintenance/alarm -d '{{\"action\": \"ACTIVATE\", \"alarm\": \"NOSPACE\"}}'"
    ))?;
    let said = "everything can be read, and nothing written";
    let doctor = || node.exec(&["kubestrap", "doctor"])?.success().map(|ended| ended.stdout);
    let full = doctor()?;
    ensure!(full.contains("would come back right now") && full.contains(said), "{full}");
    let remedy = full.lines().find_map(|line| Some(&line[line.find("E='")?..])).context("no script in it")?;
    eprintln!("intheway: {remedy}");
    node.shell(&format!("export KUBECONFIG=/etc/kubernetes/admin.conf; {remedy}"))?;
    let mended = doctor()?;
    ensure!(!mended.contains(said), "{mended}");
    node.get(&["create", "configmap", "written"]).map(drop)
}

fn a_node_object_that_is_gone(node: &Node) -> Result<()> {
    let name = node.name();
    node.get(&["delete", "node", name])?;
    let words = ["registers only when it starts", "kubestrap up", "systemctl restart kubelet"];
    eventually("the lost node is told", POD, || {
        let told = told(node)?;
        let check = told.iter().find(|[of, ..]| *of == format!("NodeObject-{name}"));
        let text = check.with_context(|| format!("{told:?}"))?.join(" ");
        ensure!(words.iter().all(|word| text.contains(word)), "{text}");
        Ok(())
    })?;
    node.up(&[])?.success()?;
    let labels = &node.json(&["get", "node", name])?["metadata"]["labels"];
    ensure!(labels["node-role.kubernetes.io/control-plane"] == "", "{labels}");
    wait_whole(node)?;
    nothing(node)
}
