//! Is the cluster whole? Every pod of the control plane and the add-ons is Ready since the last
//! boot, the apiserver that serves belongs to the API, no copy is placed any more, and the disk
//! holds whole generations only.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::ceiling::{REPORTED, SETTLED, WHOLE, eventually};
use crate::node::Node;

/// The components that are checkpointed, as their directories are called.
pub const COMPONENTS: [&str; 3] =
    ["kube-system_kube-apiserver", "kube-system_kube-controller-manager", "kube-system_kube-scheduler"];

/// Where the generations lie in the node.
pub const CHECKPOINTS: &str = "/var/lib/kubestrap/checkpoints";

/// Where the kubelet's static pods lie in the node.
pub const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// The static pods of a node at rest.
pub const AT_REST: [&str; 2] = ["etcd.yaml", "kubestrap-guardian.yaml"];

/// Waits until the cluster is whole; how long that took.
///
/// # Errors
/// With what was still missing when the limit has passed.
pub fn wait_whole(node: &Node) -> Result<Duration> {
    let began = Instant::now();
    eventually("the cluster is whole", WHOLE, || {
        workloads_are_complete(node)?;
        pods_are_ready(node)?;
        the_api_created_apiserver_serves_alone(node)?;
        no_copy_is_placed(node)?;
        generations_are_whole(node)
    })?;
    Ok(began.elapsed())
}

/// Waits until each component has a last known good generation: from then on nothing about the node
/// depends on what happens next.
///
/// # Errors
/// When one has none in time.
pub fn wait_promoted(node: &Node) -> Result<()> {
    eventually("a last known good generation of each component", SETTLED, || {
        for component in COMPONENTS {
            good(node, component)?.with_context(|| format!("{component} has none"))?;
        }
        Ok(())
    })
}

/// Waits until of each component nothing is left to be proven: its newest generation is the last known good one, or the
/// revision of that one runs again, and what is newer is of one that is no more.
///
/// # Errors
/// When one's is not in time.
pub fn wait_settled(node: &Node) -> Result<()> {
    eventually("what is new of each component is proven", SETTLED, || {
        let root = node.path(CHECKPOINTS)?;
        for component in COMPONENTS {
            let dir = root.join(component);
            let newest =
                generations(node, component)?.pop().with_context(|| format!("{component} has none"))?;
            let good = good(node, component)?.with_context(|| format!("{component} has no good one"))?;
            if good == newest {
                continue;
            }
            let (proven, new) = (revision(&dir, &good)?, revision(&dir, &newest)?);
            let running = running_revisions(node, component)?;
            let settled = new != proven && running == BTreeSet::from([proven]);
            ensure!(settled, "{component}: {good} is good, {newest} is newer, and {running:?} run");
        }
        Ok(())
    })
}

/// How often a pod's container was started again.
pub fn restarts(pod: &Value) -> Option<i64> {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64()
}

/// The revision that a generation was made of.
fn revision(component: &Path, generation: &str) -> Result<String> {
    let record = host::fs::read_to_string(&component.join(generation).join("generation.json"))?;
    let record: Value = serde_json::from_str(&record)?;
    Ok(record["revision"].as_str().context("no revision")?.to_owned())
}

/// Those of a component's pods that the API made.
fn running_revisions(node: &Node, component: &str) -> Result<BTreeSet<String>> {
    let app = component.strip_prefix("kube-system_").unwrap_or(component);
    let pods = pods(node)?;
    let labels = pods.iter().filter(|pod| is_from_the_api(pod, app)).map(|pod| &pod["metadata"]["labels"]);
    let revision = |labels: &Value| {
        let named =
            ["controller-revision-hash", "pod-template-hash"].into_iter().find_map(|l| labels[l].as_str());
        named.map(str::to_owned)
    };
    Ok(labels.filter_map(revision).collect())
}

/// Whether a pod is of an app, and no image of a static one.
fn is_from_the_api(pod: &Value, app: &str) -> bool {
    let meta = &pod["metadata"];
    meta["labels"]["k8s-app"] == app && meta["annotations"]["kubernetes.io/config.source"].is_null()
}

fn workloads_are_complete(node: &Node) -> Result<()> {
    let list = node.json(&["get", "daemonsets,deployments", "--all-namespaces"])?;
    let items = list["items"].as_array().context("no workloads")?;
    let names: BTreeSet<_> = items.iter().filter_map(|i| i["metadata"]["name"].as_str()).collect();
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubestrap-guardian"] {
        ensure!(names.contains(name), "{name} is gone; there are {names:?}");
    }
    for item in items {
        let (spec, status, name) = (&item["spec"], &item["status"], &item["metadata"]["name"]);
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        let (wanted, ready, updated) = if item["kind"] == "DaemonSet" {
            (&status["desiredNumberScheduled"], &status["numberReady"], &status["updatedNumberScheduled"])
        } else {
            (&spec["replicas"], &status["readyReplicas"], &status["updatedReplicas"])
        };
        let seen = item["metadata"]["generation"] == status["observedGeneration"];
        ensure!(seen, "nobody has looked at the newest {name}");
        let counts = [wanted, ready, updated].map(number);
        ensure!(counts == [counts[0]; 3], "{name}: {counts:?} are wanted, ready, of the newest revision");
    }
    Ok(())
}

/// The pods of all namespaces that live: not those that the kubelet refused or that are over, which stay as a record.
fn pods(node: &Node) -> Result<Vec<Value>> {
    let mut list = node.json(&["get", "pods", "--all-namespaces"])?;
    let items = list["items"].as_array_mut().context("no pods")?.drain(..);
    Ok(items.filter(|p| !matches!(p["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))).collect())
}

fn pods_are_ready(node: &Node) -> Result<()> {
    let booted = node.booted();
    for pod in pods(node)? {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        ensure!(pod["metadata"]["deletionTimestamp"].is_null(), "{name} is about to end");
        // The file of a copy goes before its pod does.
        ensure!(!name.contains("-checkpoint-"), "{name} is there");
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|c| c["type"] == "Ready").any(|c| c["status"] == "True");
        ensure!(ready, "{name} is not ready: {}", pod["status"]["containerStatuses"]);
        // What the API has stored may be from before a power cut.
        for container in pod["status"]["containerStatuses"].as_array().context("no containers")? {
            let started = container["state"]["running"]["startedAt"].as_str().unwrap_or_default();
            ensure!(started >= booted.as_str(), "{name} is as it was before the boot at {booted}: {started}");
        }
    }
    Ok(())
}

fn the_api_created_apiserver_serves_alone(node: &Node) -> Result<()> {
    let pods = pods(node)?;
    let [pod] = pods.iter().filter(|pod| is_from_the_api(pod, "kube-apiserver")).collect::<Vec<_>>()[..]
    else {
        bail!("not one apiserver pod of the API");
    };
    let uid = pod["metadata"]["uid"].as_str().context("no UID")?;
    let listeners = listeners(node)?;
    let [pid] = listeners.iter().collect::<Vec<_>>()[..] else {
        bail!("these processes listen on the API's port: {listeners:?}");
    };
    let groups = host::fs::read_to_string(&node.path(&format!("/proc/{pid}/cgroup"))?)?;
    ensure!(groups.contains(uid), "not pod {uid} listens, but process {pid}: {groups}");
    Ok(())
}

/// The processes that listen on the API's port, by the node's own numbers.
///
/// # Errors
/// When the node cannot be asked.
pub fn listeners(node: &Node) -> Result<BTreeSet<u32>> {
    let found = node.exec(&["ss", "-Hltnp", "sport", "=", ":6443"])?.success()?.stdout;
    let pids = found.split("pid=").skip(1).map(|rest| rest.split(',').next().unwrap_or(rest).parse());
    let pids = pids.collect::<Result<BTreeSet<u32>, _>>()?;
    ensure!(found.lines().count() == pids.len(), "listeners that are nobody's: {found}");
    Ok(pids)
}

fn no_copy_is_placed(node: &Node) -> Result<()> {
    let files = static_pods(node)?;
    ensure!(files.iter().eq(AT_REST.iter()), "static pods: {files:?}");
    Ok(())
}

/// The names of the kubelet's static pods' files, in order.
///
/// # Errors
/// When the node is off.
pub fn static_pods(node: &Node) -> Result<Vec<String>> {
    names(&node.path(STATIC_PODS)?)
}

/// The generations of a component, oldest first.
///
/// # Errors
/// When it has none, or there is something else where they lie.
pub fn generations(node: &Node, component: &str) -> Result<Vec<String>> {
    let mut found = names(&node.path(&format!("{CHECKPOINTS}/{component}"))?)?;
    found.retain(|name| name != "good");
    for name in &found {
        let (number, digest) = name.split_once('-').with_context(|| format!("no generation: {name}"))?;
        let whole = !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
            && digest.len() == 12
            && digest.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(whole, "{component}: {name} is no generation");
    }
    let number = |name: &String| name.split_once('-').and_then(|(n, _)| n.parse::<u64>().ok());
    found.sort_by_key(number);
    Ok(found)
}

/// The last known good generation of a component.
///
/// # Errors
/// When the node is off.
pub fn good(node: &Node, component: &str) -> Result<Option<String>> {
    let link = node.path(&format!("{CHECKPOINTS}/{component}/good"))?;
    Ok(std::fs::read_link(link).ok().map(|target| target.display().to_string()))
}

/// Each component has at least one generation, each of them has all its files, and the good one is
/// one of them: half ones never last.
///
/// # Errors
/// With what is half.
pub fn generations_are_whole(node: &Node) -> Result<()> {
    let root = node.path(CHECKPOINTS)?;
    for component in COMPONENTS {
        let found = generations(node, component)?;
        ensure!(!found.is_empty(), "{component} has no generation");
        for name in &found {
            let dir = root.join(component).join(name);
            for file in ["pod.yaml", "generation.json"] {
                let text = host::fs::read_to_string(&dir.join(file))?;
                ensure!(!text.is_empty(), "{component}: {name}: {file} is empty");
            }
            let text = host::fs::read_to_string(&dir.join("generation.json"))?;
            serde_json::from_str::<Value>(&text).with_context(|| format!("{component}: {name}"))?;
        }
        if let Some(good) = good(node, component)? {
            ensure!(found.contains(&good), "{component}: {good} is good, and there are {found:?}");
        }
    }
    Ok(())
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let names: Result<Vec<_>, _> =
        entries.map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// Waits until the guardian has said something as an Event: its reason, and a part of its text.
///
/// # Errors
/// With the Events there are when it did not in time.
pub fn wait_reported(node: &Node, reason: &str, about: &str) -> Result<String> {
    wait_reported_any(node, &[reason], about)
}

/// As [`wait_reported`], with one of several reasons.
///
/// # Errors
/// As there.
pub fn wait_reported_any(node: &Node, reasons: &[&str], about: &str) -> Result<String> {
    eventually(&format!("the Event {} about {about}", reasons.join(" or ")), REPORTED, || {
        let events = node.json(&["-n", "kube-system", "get", "events"])?;
        let events = events["items"].as_array().context("no events")?;
        let text = |event: &Value| {
            let field = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let object = &event["involvedObject"];
            format!("{} {}: {}", field(&event["reason"]), field(&object["name"]), field(&event["message"]))
        };
        let is_one = |event: &Value| reasons.iter().any(|reason| event["reason"] == *reason);
        let wanted = |event: &&Value| is_one(event) && text(event).contains(about);
        if let Some(event) = events.iter().filter(wanted).max_by_key(|e| e["lastTimestamp"].to_string()) {
            return Ok(text(event));
        }
        let own: Vec<_> = events.iter().filter(|e| e.to_string().contains("guardian")).map(text).collect();
        bail!("there are {own:#?}")
    })
}
