//! Pods, and what makes pods, as they stand in manifests and answers of the API.
//!
//! ```text
//! object ─ template ─ spec ─┬─ containers ─┬─ words ─ flag
//!                           └─ volumes ────┴─ on_host
//! ```

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{items, text};

/// Kinds that make pods, and where in them the pods' template is (`k8s.io/api/{core,apps,batch}/v1`). A pod
/// is its own.
const WORKLOADS: [(&str, &str); 8] = [
    ("DaemonSet", "/spec/template"),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("Pod", ""),
];

static NOTHING: Value = Value::Null;

/// The pod, or the template of pods, that an object is or has; none for an object that makes no pods.
///
/// The API names no kind in the items of a list; an object without one is taken for a pod.
pub fn template(object: &Value) -> Option<&Value> {
    let kind = object["kind"].as_str().unwrap_or("Pod");
    let (_, at) = WORKLOADS.iter().find(|(name, _)| *name == kind)?;
    object.pointer(at)
}

/// The specification of the pod that an object is or makes; null when there is none.
pub fn spec(object: &Value) -> &Value {
    template(object).map_or(&NOTHING, |template| &template["spec"])
}

/// The init containers of the pod that an object is or makes.
pub fn init_containers(object: &Value) -> &[Value] {
    items(&spec(object)["initContainers"])
}

/// Its containers without the init containers.
pub fn app_containers(object: &Value) -> &[Value] {
    items(&spec(object)["containers"])
}

/// All its containers in the order in which they start: init containers first.
pub fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    init_containers(object).iter().chain(app_containers(object))
}

/// The volumes of the pod that an object is or makes.
pub fn volumes(object: &Value) -> &[Value] {
    items(&spec(object)["volumes"])
}

/// The names of `ConfigMap`s of whose content the pod has files.
pub fn config_maps(object: &Value) -> BTreeSet<&str> {
    let volumes = volumes(object);
    let projected = volumes.iter().flat_map(|volume| items(&volume["projected"]["sources"]));
    volumes.iter().chain(projected).filter_map(|source| source["configMap"]["name"].as_str()).collect()
}

/// The images that the pod needs, those of its volumes included: sorted, each once.
pub fn images(object: &Value) -> Vec<String> {
    let mounted = volumes(object).iter().filter_map(|volume| volume["image"]["reference"].as_str());
    let run = containers(object).filter_map(|container| container["image"].as_str());
    let mut images: Vec<String> = run.chain(mounted).map(str::to_owned).collect();
    images.sort();
    images.dedup();
    images
}

/// A container's command line, as far as its manifest has it.
pub fn words(container: &Value) -> impl Iterator<Item = &str> {
    let lists = [&container["command"], &container["args"]];
    lists.into_iter().flat_map(items).filter_map(Value::as_str)
}

/// The value of a flag on a container's command line: `--flag=value` or `--flag value`, and the last one where
/// it is given several times, as pflag reads them. A word that is itself a flag is no value.
pub fn flag<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    let words: Vec<&str> = words(container).collect();
    let value = |(at, word): (usize, &&'a str)| match word.strip_prefix(name)? {
        "" => words.get(at + 1).copied().filter(|next| !next.starts_with("--")),
        rest => rest.strip_prefix('='),
    };
    words.iter().enumerate().rev().find_map(value)
}

/// The user and group that a pod says it runs as.
pub fn user(object: &Value) -> Option<(u32, u32)> {
    let security = &spec(object)["securityContext"];
    let id = |key: &str| security[key].as_u64().and_then(|id| u32::try_from(id).ok());
    let uid = id("runAsUser")?;
    Some((uid, id("runAsGroup").unwrap_or(uid)))
}

/// Whether an apiserver among these objects has every pod pull its images: the admission plugin that rewrites each pod's
/// `imagePullPolicy` (plugin/pkg/admission/alwayspullimages of kubernetes).
pub fn always_pulls<'a>(mut objects: impl Iterator<Item = &'a Value>) -> bool {
    objects.any(|object| {
        let server = apiserver(object);
        let plugins = server.and_then(|server| flag(server, "--enable-admission-plugins"));
        plugins.is_some_and(|plugins| plugins.split(',').any(|plugin| plugin.trim() == "AlwaysPullImages"))
    })
}

/// Whether a container runs a kube-apiserver: known by its flag, since images and names differ.
pub fn is_apiserver(container: &Value) -> bool {
    flag(container, "--etcd-servers").is_some()
}

/// The container of an object's pod that is a kube-apiserver.
pub fn apiserver(object: &Value) -> Option<&Value> {
    app_containers(object).iter().find(|container| is_apiserver(container))
}

/// The volume of an object's pod that a container's mount shows.
pub fn mounted<'a>(object: &'a Value, mount: &Value) -> Option<&'a Value> {
    volumes(object).iter().find(|volume| volume["name"] == mount["name"])
}

/// Where a path of a container lies on the host; none when it is in no hostPath volume.
pub fn on_host(object: &Value, container: &Value, path: &str) -> Option<PathBuf> {
    let mut mounts: Vec<&Value> = items(&container["volumeMounts"]).iter().collect();
    // The longest mount path wins, as it does for the container.
    mounts.sort_by_key(|mount| Reverse(text(&mount["mountPath"]).len()));
    mounts.into_iter().find_map(|mount| {
        let inner = Path::new(path).strip_prefix(mount["mountPath"].as_str()?).ok()?;
        let base = Path::new(mounted(object, mount)?["hostPath"]["path"].as_str()?);
        let base = mount["subPath"].as_str().map_or_else(|| base.to_owned(), |sub| base.join(sub));
        Some(if inner.as_os_str().is_empty() { base } else { base.join(inner) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn flags_are_read_in_both_forms_and_the_last_counts() {
        let container = json!({"command": ["etcd", "--name", "a"], "args":
            ["--data-dir=/x", "--data-dir=/y", "--v=1", "--v", "2", "--bare", "--end"]});
        for (name, value) in [
            ("--data-dir", Some("/y")),
            ("--name", Some("a")),
            ("--v", Some("2")),
            ("--data", None),
            ("--bare", None),
            ("--end", None),
        ] {
            assert_eq!(flag(&container, name), value, "{name}");
        }
    }

    #[test]
    fn a_container_s_path_is_found_on_the_host() {
        let container = json!({"volumeMounts": [
            {"name": "outer", "mountPath": "/etc/kubernetes"},
            {"name": "inner", "mountPath": "/etc/kubernetes/secrets"},
            {"name": "memory", "mountPath": "/tmp"},
            {"name": "outer", "mountPath": "/part", "subPath": "sub"},
        ]});
        let pod = json!({"spec": {"volumes": [
            {"name": "outer", "hostPath": {"path": "/outer"}}, {"name": "inner", "hostPath": {"path": "/inner/"}},
            {"name": "memory", "emptyDir": {}}]}});
        for (path, host) in [
            ("/etc/kubernetes/secrets/etcd/ca.crt", Some("/inner/etcd/ca.crt")),
            ("/etc/kubernetes/x", Some("/outer/x")),
            ("/etc/kubernetes", Some("/outer")),
            ("/part/x", Some("/outer/sub/x")),
            ("/etc/kubernetes-other/x", None),
            ("/tmp/x", None),
        ] {
            assert_eq!(on_host(&pod, &container, path).as_deref(), host.map(Path::new), "{path}");
        }
        let daemonset = json!({"kind": "DaemonSet", "spec": {"template": pod}});
        let found = on_host(&daemonset, &container, "/etc/kubernetes/x");
        assert_eq!(found.as_deref(), Some(Path::new("/outer/x")));
    }

    #[test]
    fn an_apiserver_is_known_by_its_flags_whatever_its_name() {
        let pod = json!({"kind": "Pod", "spec": {"containers": [
            {"command": ["/bin/sh"]},
            {"command": ["/hyperkube", "apiserver"], "args": ["--etcd-servers=https://e:2379", "--secure-port=8443"]}
        ]}});
        assert_eq!(flag(apiserver(&pod).unwrap(), "--secure-port"), Some("8443"));
        assert!(!is_apiserver(&json!({"args": ["--etcd-servers-overrides=/events#https://e:2379"]})));
    }

    #[test]
    fn the_pod_of_every_kind_that_makes_pods_is_found() {
        let spec = json!({"initContainers": [{"image": "z"}], "containers": [{"image": "a"}, {"image": "z"}],
            "volumes": [{"name": "v", "image": {"reference": "m"}}]});
        let template = json!({"spec": spec});
        let objects = [
            json!({"kind": "Pod", "spec": spec}),
            json!({"spec": spec}),
            json!({"kind": "DaemonSet", "spec": {"template": template}}),
            json!({"kind": "ReplicationController", "spec": {"template": template}}),
            json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}}),
        ];
        for object in objects {
            assert_eq!(images(&object), ["a", "m", "z"], "{object}");
            assert_eq!(app_containers(&object).len(), 2, "{object}");
            assert_eq!(text(&containers(&object).next().unwrap()["image"]), "z", "{object}");
        }
        let role = json!({"kind": "Role", "spec": {"template": template, "containers": [{"image": "a"}]}});
        assert!(super::template(&role).is_none() && images(&role).is_empty());
    }

    #[test]
    fn a_plugin_among_others_has_every_pod_pull_its_images() {
        let server = |plugins: &str| {
            json!({"kind": "DaemonSet", "spec": {"template": {"spec": {"containers": [{"name": "kube-apiserver",
                "args": ["--etcd-servers=x", format!("--enable-admission-plugins={plugins}")]}]}}}})
        };
        assert!(always_pulls([json!({}), server("NodeRestriction,AlwaysPullImages")].iter()));
        assert!(!always_pulls([server("NodeRestriction,AlwaysPullImagesNot")].iter()));
        assert!(!always_pulls([json!({})].iter()));
    }
}
