//! A cluster that runs gets another version, and nobody notices: not the clients of the API, not those of a
//! workload. Killed in the middle it goes on; what breaks on the way is put back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cases::at_rest;
use e2e::ceiling::{BACK, MOMENT, POD, eventually};
use e2e::load::{Load, Rate};
use e2e::node::{BUNDLE, Ended, Node};
use e2e::shared::{self, NEWEST_BUNDLE};
use e2e::whole::{restarts, wait_settled, wait_whole};
use serde_json::Value;

use crate::interrupted::{self, Target};
use crate::workload::workload;

/// The apiserver of the newer bundle and all that goes with it.
const NEW: &str = "v1.37.2";
/// The version that it comes from.
const OLD: &str = "v1.36.3";

/// Asks the workload ten times a second on new connections, until its file is gone. The second argument is how many seconds
/// it may take: as long as any request, and in a soak, which has a quiet machine, one.
const ASK: &str = r#"touch /run/asking; ok=0; failed=0; how=
while [ -e /run/asking ]; do
  if curl -sf --max-time $2 http://$1/health >/dev/null; then ok=$((ok+1)); else
    how="$how, curl $? at $(date +%T)"; failed=$((failed+1))
  fi
  sleep 0.1
done
echo "$ok $failed$how" > /run/asked"#;

pub(crate) fn upgrade_of_one_minor_under_load() -> Result<()> {
    shared::oldest(up_and_down)
}

fn up_and_down(node: &Node) -> Result<()> {
    at_rest(node)?;
    let plan = node
        .exec(&["kubestrap", "-o", "json", "upgrade", "plan", NEW, "--bundle", NEWEST_BUNDLE])?
        .success()?;
    let plan: Value = serde_json::from_str(&plan.stdout)?;
    ensure!(plan["to"] == NEW && plan["steps"].as_array().is_some_and(|s| s.len() >= 8), "{plan:#}");

    let restarts = restarts_of_etcd(node)?;
    let mut asking = ask_a_workload(node)?;
    let load = start_load(node)?;
    std::thread::sleep(Duration::from_secs(3));
    let began = Instant::now();
    killed_in_a_step(node, "kube-controller-manager")?;
    let resumed = Instant::now();
    let args = ["kubestrap", "upgrade", "apply", NEW, "--bundle", NEWEST_BUNDLE];
    let ended = node.exec(&args)?.success()?;
    ensure!(ended.stderr.contains("did not end"), "it did not see the killed run: {}", ended.stderr);
    ensure!(!ended.stderr.contains("snapshot of etcd"), "it began anew: {}", ended.stderr);
    eprintln!(
        "upgrade: {} s, of it {} s after the kill; {}",
        began.elapsed().as_secs(),
        resumed.elapsed().as_secs(),
        ended.stdout.trim()
    );
    std::thread::sleep(Duration::from_secs(20));
    let report = load.finish()?;
    eprintln!("upgrade: {}", report.summary());
    let asked = end_asking(node, &mut asking)?;
    eprintln!("upgrade: workload answered and failed: {asked}");
    everything_is(node, NEW)?;
    snapshot_is_whole(node)?;
    let restarted = restarts_of_etcd(node)?;
    ensure!(restarted == restarts, "etcd was restarted: {restarts:?} became {restarted:?}");
    let again = node.exec(&args)?.success()?;
    ensure!(again.stdout.contains("nothing to do"), "{}", again.stdout);

    wait_settled(node)?;
    node.power_cycle(|_| Ok(()))?;
    wait_whole(node)?;
    everything_is(node, NEW)?;

    // Down again, and where there is time up once more, cut off all the time.
    interrupted::killed_in_every_step(node, Target { version: OLD, bundle: BUNDLE })?;
    everything_is(node, OLD)?;
    if node.inputs().soak {
        let parts = ["kubestrap-guardian", "kube-apiserver", "kube-scheduler", "kube-proxy", "kubelet"];
        interrupted::without_power_in(node, Target { version: NEW, bundle: NEWEST_BUNDLE }, &parts)?;
        everything_is(node, NEW)?;
    }

    report.is_seamless(node.inputs())?;
    ensure!(asked.ends_with(" 0"), "the workload did not answer, of how many how often: {asked}");
    Ok(())
}

/// A node that has been of both releases has the images of both.
pub(crate) fn to_the_newest_and_back(node: &Node) -> Result<()> {
    for (version, bundle) in [(NEW, NEWEST_BUNDLE), (OLD, BUNDLE)] {
        at_rest(node)?;
        node.exec(&["kubestrap", "upgrade", "apply", version, "--bundle", bundle])?.success()?;
        everything_is(node, version)?;
    }
    at_rest(node)
}

/// The new apiserver serves already when the controller-manager of the new version crashes.
pub(crate) fn upgrade_that_breaks_after_the_apiserver_is_put_back() -> Result<()> {
    shared::oldest(|node| {
        at_rest(node)?;
        let before = objects(node)?;
        let load = start_load(node)?;
        write_config(node, "components: {kubeControllerManager: {extraArgs: {controllers: nosuch}}}")?;
        let args = ["kubestrap", "upgrade", "apply", NEW, "--bundle", NEWEST_BUNDLE];
        let began = Instant::now();
        let ended = node.exec(&[&args[..], &["--config", "/root/config.yaml"]].concat())?;
        let ended = ended.failure(14, &["kube-controller-manager", "is back as it was"])?;
        say_step_back(NEW, began, &ended);
        same(&before, &objects(node)?)?;
        everything_is(node, OLD)?;
        let report = load.finish()?;
        eprintln!("stepback: {}", report.summary());
        // The next test counts the snapshots.
        node.shell("rm -r /var/lib/kubestrap/backups")?;
        report.none_failed()
    })
}

pub(crate) fn upgrade_that_breaks_is_put_back() -> Result<()> {
    shared::cluster(put_back)
}

fn start_load(node: &Node) -> Result<Load> {
    let rate = Rate { limit: Duration::from_mins(15), ..Rate::default() };
    Load::start(node, rate, BACK)
}

fn say_step_back(what: &str, began: Instant, ended: &Ended) {
    let end = ended.stderr.lines().find(|line| line.contains("is back as it was"));
    eprintln!("stepback: {what}: {} s: {}", began.elapsed().as_secs(), end.unwrap_or_default());
}

fn put_back(node: &Node) -> Result<()> {
    at_rest(node)?;
    let before = objects(node)?;
    let load = start_load(node)?;
    // A flag that was dropped or misspelt is found before anything is changed.
    apply_config(node, "components: {kubeScheduler: {extraArgs: {no-such-flag: 1}}}")?
        .failure(4, &["Flags failed", "unknown flag: --no-such-flag"])?;
    // This is found by the program only when it runs. The scheduler goes with the same change, and is put back
    // with it.
    let began = Instant::now();
    let bad = "components: {kubeScheduler: {extraArgs: {v: 3}}, \
        kubeAPIServer: {extraArgs: {enable-admission-plugins: NoSuchPlugin}}}";
    let ended = apply_config(node, bad)?.failure(14, &["kube-apiserver", "is back as it was"])?;
    say_step_back("a config", began, &ended);
    same(&before, &objects(node)?)?;
    // And a good change of the same kind goes through, with a new name in the certificate.
    apply_config(
        node,
        "api: {extraSANs: [api.example.com]}\n\
         components: {kubeAPIServer: {extraArgs: {enable-admission-plugins: 'NodeRestriction,ExtendedResourceToleration'}}}",
    )?
    .success()?;
    let report = load.finish()?;
    eprintln!("stepback: {}", report.summary());
    eventually("the certificate has the new name", MOMENT, || {
        let probe = "curl -sf --cacert /etc/kubernetes/pki/ca.crt --resolve api.example.com:6443:127.0.0.1 https://api.example.com:6443/readyz";
        node.shell(probe).map(drop)
    })?;
    // The next test wants the cluster as it was.
    apply_config(node, "components: {}")?.success()?;
    report.none_failed()
}

fn apply_config(node: &Node, config: &str) -> Result<Ended> {
    write_config(node, config)?;
    node.exec(&["kubestrap", "upgrade", "apply", "--config", "/root/config.yaml"])
}

fn write_config(node: &Node, config: &str) -> Result<()> {
    Ok(host::fs::write(&node.path("/root/config.yaml")?, e2e::node::config(config).as_bytes(), 0o600)?)
}

/// Starts an upgrade and kills it in the middle of the step that changes a part.
fn killed_in_a_step(node: &Node, part: &str) -> Result<()> {
    let mut apply =
        node.spawn(&["kubestrap", "-o", "json", "upgrade", "apply", NEW, "--bundle", NEWEST_BUNDLE])?;
    let events = BufReader::new(apply.stdout.take().context("no stdout")?);
    let mut reached = false;
    for line in events.lines() {
        let event: Value = serde_json::from_str(&line?)?;
        if event["event"] == "step" && event["title"].as_str().is_some_and(|t| t.contains(part)) {
            reached = true;
            break;
        }
    }
    // The object is changed within this time, and the rollout takes longer.
    std::thread::sleep(Duration::from_secs(2));
    apply.kill()?;
    apply.wait()?;
    node.shell("! pgrep -f '[u]pgrade apply'")?;
    ensure!(reached, "it never came to {part}");
    Ok(())
}

fn ask_a_workload(node: &Node) -> Result<std::process::Child> {
    node.kubectl_with(&workload(node)?, &["apply", "-f", "-"])?.success()?;
    node.rolled_out("default", "deployment/web")?;
    let address = node.get(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
    eventually("the workload answers", POD, || {
        node.shell(&format!("curl -sf --max-time 1 http://{address}/health")).map(drop)
    })?;
    let limit = if node.inputs().soak { "1" } else { "30" };
    node.spawn(&["sh", "-c", ASK, "ask", &address, limit])
}

/// How often the workload answered, and how often it did not.
fn end_asking(node: &Node, asking: &mut std::process::Child) -> Result<String> {
    node.shell("rm /run/asking")?;
    asking.wait()?;
    let asked = node.shell("cat /run/asked")?.trim().to_owned();
    ensure!(!asked.starts_with("0 "), "nobody asked");
    Ok(asked)
}

/// Every program of Kubernetes is of that version, when the pods of the other one have ended.
fn everything_is(node: &Node, version: &str) -> Result<()> {
    eventually("everything is of one version", POD, || programs_are(node, version))
}

fn programs_are(node: &Node, version: &str) -> Result<()> {
    let told = node.json(&["version"])?;
    ensure!(told["serverVersion"]["gitVersion"] == version, "{told}");
    let nodes = node.json(&["get", "nodes"])?;
    ensure!(nodes["items"][0]["status"]["nodeInfo"]["kubeletVersion"] == version, "{nodes}");
    let pods = node.json(&["-n", "kube-system", "get", "pods"])?;
    for pod in pods["items"].as_array().context("no pods")? {
        let (name, image) = (&pod["metadata"]["name"], &pod["spec"]["containers"][0]["image"]);
        let image = image.as_str().unwrap_or_default();
        let of_kubernetes = image.contains("/kube-") && !image.contains("kubestrap");
        ensure!(!of_kubernetes || image.ends_with(version), "{name} runs {image}");
    }
    Ok(())
}

/// How often etcd was started again, by a power cut for instance.
fn restarts_of_etcd(node: &Node) -> Result<Option<i64>> {
    let etcd = node.json(&["-n", "kube-system", "get", "pods", "-l", "k8s-app=etcd"])?;
    Ok(restarts(&etcd["items"][0]))
}

fn snapshot_is_whole(node: &Node) -> Result<()> {
    // Once, although the upgrade was killed: what the second run found it did not take again.
    let list = node.shell("ls /var/lib/kubestrap/backups")?;
    ensure!(list.lines().count() == 1, "snapshots: {list}");
    let status = "cd /var/lib/kubestrap/backups && f=$(ls) && n=$(($(stat -c %s $f) - 32)) && \
        [ $(head -c $n $f | sha256sum | cut -d' ' -f1) = $(tail -c 32 $f | od -An -tx1 | tr -d ' \\n') ]";
    node.shell(status).map(drop).context("the snapshot's checksum")?;
    ensure!(node.shell("ls /var/lib/kubestrap")?.lines().all(|l| l != "upgrade"), "state is left over");
    Ok(())
}

/// Everything in the system's namespaces that an upgrade could change, without what the API and controllers
/// move by themselves.
fn objects(node: &Node) -> Result<BTreeMap<String, Value>> {
    const KINDS: &str =
        "daemonsets,deployments,configmaps,secrets,services,serviceaccounts,roles,rolebindings,pdb";
    let mut all = BTreeMap::new();
    for namespace in ["kube-system", "kube-flannel"] {
        let list = node.json(&["-n", namespace, "get", KINDS, "--show-managed-fields"])?;
        for mut object in list["items"].as_array().cloned().unwrap_or_default() {
            object.as_object_mut().context("no object")?.remove("status");
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            metadata.remove("resourceVersion");
            metadata.remove("generation");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("deployment.kubernetes.io/revision");
                annotations.remove("deprecated.daemonset.template.generation");
            }
            let owners = metadata.remove("managedFields").unwrap_or_default();
            let owners = owners.as_array().cloned().unwrap_or_default();
            let mut owners: Vec<String> = owners
                .iter()
                .filter(|o| o["subresource"].is_null())
                .map(|o| format!("{} {} {}", o["manager"], o["operation"], o["fieldsV1"]))
                .collect();
            owners.sort();
            let name = format!("{} {namespace}/{}", object["kind"], object["metadata"]["name"]);
            object["owners"] = owners.into();
            all.insert(name, object);
        }
    }
    Ok(all)
}

fn same(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Result<()> {
    let names: Vec<_> = [before.keys().collect::<Vec<_>>(), after.keys().collect()].into_iter().collect();
    ensure!(names[0] == names[1], "other objects: {names:?}");
    for (name, was) in before {
        let is = &after[name];
        let differing =
            was.as_object().into_iter().flatten().filter(|(key, value)| is[key.as_str()] != **value);
        let differing: Vec<_> =
            differing.map(|(key, value)| format!("{key}: {value} -> {}", is[key.as_str()])).collect();
        let shown = if name.contains("Secret") { String::new() } else { differing.join("\n") };
        ensure!(was == is, "{name} differs: {shown}");
    }
    Ok(())
}
