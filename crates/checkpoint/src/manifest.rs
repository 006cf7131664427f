//! The manifest of a checkpoint: what of a pod goes into its copy.
//!
//! Fields are allowed by name, so that one that Kubernetes adds later cannot bring a reference to the API
//! along. Left out on purpose:
//!
//! - what the scheduler and the controllers read: node name and selector, affinity, scheduler, gates;
//! - the service account, its token and pull secrets: the kubelet refuses them in static pods;
//! - labels: a Service or controller would take the copy for one of its own pods;
//! - ports: on the host's network they only tell the scheduler, and the kubelet would refuse a copy whose ports
//!   another pod's `ports` name too. Probes that name a port get its number.
//!
//! `imagePullPolicy` becomes `IfNotPresent`: with `Always` a copy would need the registry. `Never` would gain
//! nothing where the image is there, and where it was cleaned up a registry is the one way back.

use std::collections::BTreeMap;
use std::path::Path;

use names::{annotation, label};
use objects::{items, pod, text};
use serde_json::{Map, Value, json};

use crate::component::Component;
use crate::env::{Environment, resolved};
use crate::error::BuildError;
use crate::source::{Source, source_of};

/// The directory of the copied files within a generation.
pub(crate) const FILES: &str = "files";

/// See above.
const PULL_POLICY: &str = "IfNotPresent";

/// What the kubelet expects of a static pod (pkg/kubelet/config/common.go, `getStaticPodPriorityWarning`).
const PRIORITY_CLASS: &str = "system-node-critical";
const PRIORITY: i64 = 2_000_001_000;

/// Fields of a pod's spec that a copy takes over.
const SPEC: [&str; 17] = [
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "os",
    "resources",
    "restartPolicy",
    "securityContext",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
];

/// Fields of a container that a copy takes over as they are.
const CONTAINER: [&str; 15] = [
    "args",
    "command",
    "image",
    "name",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "workingDir",
];

/// Fields of a container that may name a port.
const PROBES: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];

/// The manifest of a pod's copy; paths of copied files are relative to the generation's directory.
pub(crate) fn of(
    pod: &Value,
    component: &Component,
    environments: &BTreeMap<String, Environment>,
) -> Result<Value, BuildError> {
    let mut spec = picked(&pod["spec"], &SPEC);
    spec.insert("priorityClassName".into(), PRIORITY_CLASS.into());
    spec.insert("priority".into(), PRIORITY.into());
    spec.insert("tolerations".into(), json!([{"operator": "Exists"}]));
    let volumes: Vec<Value> = pod::volumes(pod).iter().filter_map(volume).collect();
    if !volumes.is_empty() {
        spec.insert("volumes".into(), volumes.into());
    }
    for (list, containers) in
        [("initContainers", pod::init_containers(pod)), ("containers", pod::app_containers(pod))]
    {
        let copies = containers.iter().map(|c| container(pod, c, environments.get(text(&c["name"]))));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
        if !copies.is_empty() {
            spec.insert(list.into(), copies.into());
        }
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": component.static_pod_name(),
            "namespace": component.namespace,
            "labels": {label::CHECKPOINT_OF: component.name},
        },
        "spec": spec,
    }))
}

/// The listed fields of an object that it has.
fn picked(value: &Value, fields: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| value.get(*name).map(|value| ((*name).to_owned(), value.clone()));
    fields.iter().filter_map(field).collect()
}

fn volume(volume: &Value) -> Option<Value> {
    let name = text(&volume["name"]);
    match source_of(volume) {
        Source::Kept => {
            let mut volume = volume.clone();
            if let Some(image) = volume.pointer_mut("/image").and_then(Value::as_object_mut) {
                image.insert("pullPolicy".into(), PULL_POLICY.into());
            }
            Some(volume)
        }
        Source::Copied { .. } => {
            let path = format!("{FILES}/{name}");
            Some(json!({"name": name, "hostPath": {"path": path, "type": "Directory"}}))
        }
        Source::Dropped | Source::Refused(_) => None,
    }
}

fn container(pod: &Value, container: &Value, instance: Option<&Environment>) -> Result<Value, BuildError> {
    let mut copy = picked(container, &CONTAINER);
    copy.insert("imagePullPolicy".into(), PULL_POLICY.into());
    let lists = [("env", resolved(pod, container, instance)?), ("volumeMounts", mounts(pod, container))];
    for (field, list) in lists {
        if !list.is_empty() {
            copy.insert(field.into(), list.into());
        }
    }
    let mut probes = Value::Object(picked(container, &PROBES));
    number_ports(&mut probes, container)?;
    copy.extend(probes.as_object().cloned().unwrap_or_else(Map::new));
    Ok(copy.into())
}

/// The mounts of volumes that are there. Copied files are read-only, as the kubelet mounts Secrets: nobody
/// changes a generation.
fn mounts(pod: &Value, container: &Value) -> Vec<Value> {
    let source = |mount: &Value| pod::mounted(pod, mount).map_or(Source::Kept, source_of);
    let copy = |mount: &Value| match source(mount) {
        Source::Dropped | Source::Refused(_) => None,
        Source::Kept => Some(mount.clone()),
        Source::Copied { .. } => {
            let mut mount = mount.clone();
            mount["readOnly"] = true.into();
            Some(mount)
        }
    };
    items(&container["volumeMounts"]).iter().filter_map(copy).collect()
}

/// Replaces the names of ports in probes and hooks by their numbers.
fn number_ports(value: &mut Value, container: &Value) -> Result<(), BuildError> {
    let Some(fields) = value.as_object_mut() else { return Ok(()) };
    for (name, field) in fields {
        match (name.as_str(), field.as_str()) {
            ("port", Some(port)) => *field = port_number(port, container)?.into(),
            _ => number_ports(field, container)?,
        }
    }
    Ok(())
}

fn port_number(port: &str, container: &Value) -> Result<u64, BuildError> {
    let named = items(&container["ports"]).iter().find(|known| known["name"] == port);
    let number = named.map_or_else(|| port.parse().ok(), |known| known["containerPort"].as_u64());
    number.ok_or_else(|| BuildError::Port {
        container: text(&container["name"]).to_owned(),
        port: port.to_owned(),
    })
}

/// The manifest as it lies in a generation: its files at `dir`, and which generation it is of.
///
/// Each generation's pod has a name of its own. A kubelet ends no static pod before all its sources have answered once,
/// the API included, and starts none while one of the same name has not ended (kubernetes, pkg/kubelet/kubelet.go,
/// `deletePod`; pod_workers.go, `allowStaticPodStart`): after a power cut another generation under the same name would
/// never start.
pub(crate) fn placed_at(pod: &Value, dir: &Path, generation: &str) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["name"] = format!("{}-{generation}", text(&pod["metadata"]["name"])).into();
    pod["metadata"]["annotations"] = json!({annotation::GENERATION: generation});
    let relative = format!("{FILES}/");
    for_host_paths(&mut pod, |path| {
        path.starts_with(&relative).then(|| dir.join(path).display().to_string())
    });
    pod
}

/// The way back from [`placed_at`]: the manifest whose digest counts.
pub(crate) fn taken_from(pod: &Value, dir: &Path) -> Value {
    let mut pod = pod.clone();
    let suffix = format!("-{}", text(&pod["metadata"]["annotations"][annotation::GENERATION]));
    if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
        if let Some(name) = text(&metadata["name"]).strip_suffix(&suffix).map(str::to_owned) {
            metadata.insert("name".into(), name.into());
        }
    }
    let prefix = format!("{}/", dir.display());
    for_host_paths(&mut pod, |path| path.strip_prefix(&prefix).map(str::to_owned));
    pod
}

fn for_host_paths(pod: &mut Value, change: impl Fn(&str) -> Option<String>) {
    let Some(volumes) = pod.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) else { return };
    for path in volumes.iter_mut().filter_map(|volume| volume.pointer_mut("/hostPath/path")) {
        if let Some(changed) = path.as_str().and_then(&change) {
            *path = changed.into();
        }
    }
}
