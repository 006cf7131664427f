//! A kubelet, and the controllers that feed it: static pods come and go with their files, pods of the API with their
//! DaemonSets and Deployments. It moves when it is told to, one look at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use names::annotation::{CONFIG_MIRROR, CONFIG_SOURCE, CONFIG_SOURCE_API};
use names::component::KUBE_APISERVER;
use names::condition::READY;
use names::object::KUBE_SYSTEM;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::machine::Machine;
use crate::runtime::{Runtime, Sandbox, container_id};

/// A node as its kubelet has it.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// Its name.
    pub node: String,
    /// Where it looks for static pods, each in a file.
    pub manifest_dir: PathBuf,
    /// Its runtime.
    pub runtime: Runtime,
    /// The API, which is there while an apiserver runs on this node.
    pub cluster: Cluster,
    /// Whether pods of the API become Ready.
    pub ready: bool,
    /// Whether those that are not on the node's own network do, too.
    pub network: bool,
    /// The host whose unit it is: it moves while that runs, and starts what containerd has the images of. Without one
    /// it always does.
    pub machine: Option<Machine>,
    /// Where it makes volumes of Secrets and ConfigMaps, if it does.
    pub volumes: Option<PathBuf>,
    /// Whether it has registered since it was started.
    pub registration: Registration,
}

/// Whether a kubelet has registered: it does it once, and again when it is started anew.
#[derive(Debug, Clone, Default)]
pub struct Registration(Arc<AtomicBool>);

impl Registration {
    /// It is started anew.
    pub fn restart(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Kubelet {
    /// One look: what is wanted and not there is started, what is there and not wanted ends, and the API hears of
    /// both.
    pub fn step(&self) {
        if self.machine.as_ref().is_some_and(|machine| !machine.runs(names::path::KUBELET_UNIT)) {
            return;
        }
        let files = self.static_pods();
        for pod in &files {
            self.run(pod, "file");
        }
        self.end(&files);
        let serves = self.serves();
        self.cluster.set_away(!serves);
        if serves {
            self.register();
            self.mirror(&files);
            self.controllers();
        }
    }

    /// The static pods by their files.
    fn static_pods(&self) -> Vec<Value> {
        let entries = std::fs::read_dir(&self.manifest_dir).into_iter().flatten().flatten();
        let read = |path: &Path| serde_saphyr::from_str(&std::fs::read_to_string(path).ok()?).ok();
        let mut pods: Vec<Value> = entries.filter_map(|entry| read(&entry.path())).collect();
        for pod in &mut pods {
            let name = format!("{}-{}", text(&pod["metadata"]["name"]), self.node);
            pod["metadata"]["uid"] = json!(format!("static-{name}"));
            pod["metadata"]["name"] = json!(name);
        }
        pods
    }

    fn run(&self, pod: &Value, source: &str) {
        let metadata = &pod["metadata"];
        let (name, uid) = (text(&metadata["name"]), text(&metadata["uid"]));
        let mut sandboxes = self.runtime.sandboxes();
        if sandboxes.iter().any(|sandbox| sandbox.uid == uid && sandbox.running) || !self.has_images(pod) {
            return;
        }
        if let Some(volumes) = &self.volumes {
            make_volumes(&volumes.join(uid).join("volumes"), &pod["spec"]);
        }
        let id = format!("{uid}-{}", sandboxes.len());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let map = |of: &Value| -> Vec<(String, String)> {
            let pairs = of.as_object().into_iter().flatten();
            pairs.map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
        };
        let mut annotations = map(&metadata["annotations"]);
        annotations.push((CONFIG_SOURCE.to_owned(), source.to_owned()));
        sandboxes.push(Sandbox {
            id,
            namespace: namespace(pod).to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            container: text(&pod["spec"]["containers"][0]["name"]).to_owned(),
            labels: map(&metadata["labels"]),
            annotations,
            running: true,
            crashes: 0,
            created: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        });
    }

    fn has_images(&self, pod: &Value) -> bool {
        let Some(machine) = &self.machine else { return true };
        let images = machine.images();
        let mut containers =
            ["initContainers", "containers"].iter().flat_map(|list| items(&pod["spec"][*list]));
        containers.all(|container| images.contains_key(&*bundle::stored_name(text(&container["image"]))))
    }

    /// Static pods whose files are gone end, and so do pods of the API that it has no more.
    fn end(&self, files: &[Value]) {
        let objects = self.cluster.objects();
        let mut sandboxes = self.runtime.sandboxes();
        for sandbox in sandboxes.iter_mut() {
            let of_api = sandbox.annotations.iter().any(|(_, value)| value == CONFIG_SOURCE_API);
            let wanted = files.iter().chain(objects.values().filter(|_| of_api));
            let is_wanted = wanted.into_iter().any(|pod| pod["metadata"]["uid"] == sandbox.uid.as_str());
            sandbox.running &= is_wanted;
        }
    }

    fn serves(&self) -> bool {
        self.runtime.sandboxes().iter().any(|s| s.running && s.container == KUBE_APISERVER)
    }

    fn register(&self) {
        if self.registration.0.swap(true, Ordering::SeqCst) {
            return;
        }
        let path = format!("/api/v1/nodes/{}", self.node);
        if self.cluster.object(&path).is_none() {
            self.cluster.put(&path, json!({"kind": "Node", "metadata": {"name": self.node}}));
        }
    }

    /// The API's images of the static pods.
    fn mirror(&self, files: &[Value]) {
        let path = |pod: &Value| pod_path(namespace(pod), text(&pod["metadata"]["name"]));
        for pod in files {
            let uid = text(&pod["metadata"]["uid"]);
            if self.cluster.object(&path(pod)).is_none() {
                let mut mirror = pod.clone();
                mirror["metadata"]["annotations"][CONFIG_MIRROR] = json!(uid);
                mirror["metadata"]["uid"] = json!(format!("mirror-{uid}"));
                mirror["spec"]["nodeName"] = json!(self.node);
                self.cluster.put(&path(pod), mirror);
            }
            self.tell(&path(pod), uid, true);
        }
        for (at, object) in self.cluster.objects() {
            let is_mirror = !object["metadata"]["annotations"][CONFIG_MIRROR].is_null();
            if is_mirror && !files.iter().any(|pod| path(pod) == at) {
                self.cluster.remove(&at);
            }
        }
    }

    /// One pod for each DaemonSet and Deployment, on this node.
    fn controllers(&self) {
        for object in self.cluster.objects().into_values() {
            let kind = text(&object["kind"]).to_owned();
            if !matches!(kind.as_str(), "DaemonSet" | "Deployment") {
                continue;
            }
            let name = format!("{}-x7k2p", text(&object["metadata"]["name"]));
            let path = pod_path(namespace(&object), &name);
            let made = || {
                self.cluster.put(&path, self.made_by(&object, &kind, &name));
                self.cluster.object(&path).unwrap()
            };
            let pod = self.cluster.object(&path).unwrap_or_else(made);
            self.run(&pod, CONFIG_SOURCE_API);
            let connected = self.network || pod["spec"]["hostNetwork"] == true;
            self.tell(&path, text(&pod["metadata"]["uid"]), self.ready && connected);
        }
    }

    fn made_by(&self, object: &Value, kind: &str, name: &str) -> Value {
        let mut pod = object["spec"]["template"].clone();
        let owner = json!([{"apiVersion": "apps/v1", "kind": kind, "name": object["metadata"]["name"],
            "uid": object["metadata"]["uid"], "controller": true}]);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(namespace(object));
        pod["metadata"]["ownerReferences"] = owner;
        pod["spec"]["nodeName"] = json!(self.node);
        pod
    }

    /// The pod's status, by what the runtime runs as that UID.
    fn tell(&self, path: &str, uid: &str, ready: bool) {
        let sandboxes = self.runtime.sandboxes();
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.uid == uid && sandbox.running) else {
            return;
        };
        let container = json!([{"name": sandbox.container, "state": {"running": {}},
            "containerID": format!("containerd://{}", container_id(sandbox))}]);
        let ready = if ready { "True" } else { "False" };
        drop(sandboxes);
        self.cluster.change(path, |pod| {
            pod["status"]["phase"] = json!("Running");
            pod["status"]["containerStatuses"] = container;
            pod["status"]["conditions"] = json!([{"type": READY, "status": ready}]);
        });
    }
}

/// As the real one lays them out, each with one file: a directory that a link leads to, so that all of it changes at once.
fn make_volumes(dir: &Path, spec: &Value) {
    for volume in items(&spec["volumes"]) {
        for (kind, plugin) in [("secret", "kubernetes.io~secret"), ("configMap", "kubernetes.io~configmap")] {
            if volume[kind].is_object() {
                let dir = dir.join(plugin).join(text(&volume["name"]));
                host::fs::create_dir_all(&dir.join("..1"), 0o755).unwrap();
                host::fs::write(&dir.join("..1/file"), volume.to_string().as_bytes(), 0o644).unwrap();
                host::fs::symlink(Path::new("..1"), &dir.join("..data")).unwrap();
            }
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or(KUBE_SYSTEM)
}

fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}
