//! An API server that keeps objects, as the real one does it where kubestrap depends on it: versions count, a
//! UID in a request is a precondition, who owns fields is noted unless it is told, conditions are merged by
//! their type, and lists are those of a namespace or of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::api::{self, Answer, Asked};

/// Objects by their paths.
pub type Objects = BTreeMap<String, Value>;

/// Kinds that are served: group and version, plural, kind, and whether they are in namespaces.
const KINDS: [(&str, &str, &str, bool); 21] = [
    ("v1", "nodes", "Node", false),
    ("v1", "namespaces", "Namespace", false),
    ("v1", "pods", "Pod", true),
    ("v1", "configmaps", "ConfigMap", true),
    ("v1", "secrets", "Secret", true),
    ("v1", "services", "Service", true),
    ("v1", "serviceaccounts", "ServiceAccount", true),
    ("v1", "events", "Event", true),
    ("apps/v1", "daemonsets", "DaemonSet", true),
    ("apps/v1", "deployments", "Deployment", true),
    ("apps/v1", "replicasets", "ReplicaSet", true),
    ("apps/v1", "controllerrevisions", "ControllerRevision", true),
    ("coordination.k8s.io/v1", "leases", "Lease", true),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true),
    ("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", false),
    ("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", false),
    ("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", false),
    ("rbac.authorization.k8s.io/v1", "roles", "Role", true),
    ("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", true),
    ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", false),
    (
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        false,
    ),
];

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Cluster(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    version: u64,
    asked: Vec<String>,
    away: bool,
    /// Answers of others than objects: `/readyz`, `/version`, `/metrics`.
    texts: BTreeMap<String, (u16, String)>,
}

impl Cluster {
    /// One that has these objects.
    pub fn new(objects: Objects) -> Self {
        let cluster = Self::default();
        cluster.state().objects = objects;
        cluster
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let cluster = self.clone();
        api::client(move |asked| cluster.state().answer(asked))
    }

    /// What it has now.
    pub fn objects(&self) -> Objects {
        self.state().objects.clone()
    }

    /// The object at a path.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// Puts an object there, as somebody else would.
    pub fn put(&self, path: &str, object: Value) {
        self.state().store(path, object);
    }

    /// Removes an object, as somebody else would.
    pub fn remove(&self, path: &str) {
        self.state().objects.remove(path);
    }

    /// Changes an object, as somebody else would.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let mut object = state.objects.get(path).cloned().unwrap_or_default();
        change(&mut object);
        state.store(path, object);
    }

    /// What a path answers that is no object's.
    pub fn say(&self, path: &str, status: u16, text: &str) {
        self.state().texts.insert(path.to_owned(), (status, text.to_owned()));
    }

    /// Takes back what a path was to answer.
    pub fn say_nothing(&self, path: &str) {
        self.state().texts.remove(path);
    }

    /// Whether nobody answers.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Method and path of all that was asked, in this order.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panicked in here")
    }
}

impl State {
    fn answer(&mut self, asked: Asked) -> Answer {
        if self.away {
            return Answer::Broken;
        }
        self.asked.push(format!("{} {}", asked.method, asked.path));
        if let Some((status, text)) = self.texts.get(&asked.path) {
            return Answer::Text(*status, text.clone());
        }
        if asked.path == "/readyz" {
            return Answer::Text(200, "ok".to_owned());
        }
        let parts = ["/status", "/approval"];
        let path =
            parts.iter().find_map(|part| asked.path.strip_suffix(part)).unwrap_or(&asked.path).to_owned();
        let dry_run = asked.query.contains("dryRun=All");
        match asked.method {
            Method::GET => self.get(&path, &asked.query),
            Method::POST if dry_run => Answer::Json(201, asked.body),
            Method::POST => self.post(&path, asked.body),
            Method::PUT => self.replace(&path, asked.body),
            Method::PATCH => self.patch(&path, &asked.body, dry_run),
            Method::DELETE => self.delete(&path, &asked.body),
            _ => refusal(405, "MethodNotAllowed"),
        }
    }

    fn get(&self, path: &str, query: &str) -> Answer {
        if let Some(object) = self.objects.get(path) {
            return Answer::Json(200, object.clone());
        }
        if let Some(version) = path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/"))
            && let Some(resources) = discovery(version)
        {
            return Answer::Json(200, resources);
        }
        match self.list(path, query) {
            Some(items) => {
                let version = self.version.to_string();
                Answer::Json(200, json!({"metadata": {"resourceVersion": version}, "items": items}))
            }
            None => refusal(404, "NotFound"),
        }
    }

    /// The items of a collection; none when the path is no collection.
    fn list(&self, path: &str, query: &str) -> Option<Vec<Value>> {
        let (parent, plural) = path.rsplit_once('/')?;
        KINDS.iter().find(|(_, known, _, _)| *known == plural)?;
        let all = !parent.contains("/namespaces/");
        let is_in = |at: &str| match at.rsplit_once('/') {
            Some((collection, _)) if all => {
                collection.starts_with(parent) && collection.ends_with(&format!("/{plural}"))
            }
            Some((collection, _)) => collection == path,
            None => false,
        };
        let node = query.split('&').find_map(|part| part.strip_prefix("fieldSelector="));
        let fits = |object: &Value| {
            node.is_none_or(|selector| {
                let (field, value) = selector.split_once("%3D").or_else(|| selector.split_once('=')).unwrap();
                object.pointer(&format!("/{}", field.replace('.', "/"))) == Some(&json!(value))
            })
        };
        let found = self.objects.iter().filter(|(at, object)| is_in(at) && fits(object));
        Some(found.map(|(_, object)| object.clone()).collect())
    }

    fn post(&mut self, path: &str, object: Value) -> Answer {
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&path) {
            return refusal(409, "AlreadyExists");
        }
        Answer::Json(201, self.store(&path, object))
    }

    fn replace(&mut self, path: &str, object: Value) -> Answer {
        let Some(known) = self.objects.get(path) else { return refusal(404, "NotFound") };
        if object["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"] {
            return refusal(409, "Conflict");
        }
        Answer::Json(200, self.store(path, object))
    }

    /// An apply, or one of the merges: all of them merge here.
    fn patch(&mut self, path: &str, patch: &Value, dry_run: bool) -> Answer {
        let known = self.objects.get(path).cloned();
        let created = known.is_none();
        if created && patch["kind"].is_null() {
            return refusal(404, "NotFound");
        }
        let mut object = known.unwrap_or_default();
        if is_another(&object, &patch["metadata"]["uid"]) {
            return refusal(409, "Conflict");
        }
        merge(&mut object, patch);
        if dry_run {
            return Answer::Json(200, object);
        }
        Answer::Json(if created { 201 } else { 200 }, self.store(path, object))
    }

    fn delete(&mut self, path: &str, options: &Value) -> Answer {
        let Some(known) = self.objects.get(path) else { return refusal(404, "NotFound") };
        if is_another(known, &options["preconditions"]["uid"]) {
            return refusal(409, "Conflict");
        }
        Answer::Json(200, self.objects.remove(path).unwrap())
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(format!("uid-{}", self.version));
        }
        if metadata["managedFields"].is_null() {
            metadata["managedFields"] = json!([{"manager": "whoever put it", "fieldsV1": {}}]);
        }
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn is_another(object: &Value, uid: &Value) -> bool {
    !uid.is_null() && !object.is_null() && object["metadata"]["uid"] != *uid
}

fn refusal(status: u16, reason: &str) -> Answer {
    Answer::Json(status, json!({"kind": "Status", "reason": reason, "message": reason, "code": status}))
}

fn discovery(version: &str) -> Option<Value> {
    let of = KINDS.iter().filter(|(group, ..)| *group == version);
    let resources: Vec<Value> = of
        .map(|(_, name, kind, namespaced)| json!({"name": name, "kind": kind, "namespaced": namespaced}))
        .collect();
    (!resources.is_empty()).then(|| json!({"resources": resources}))
}

fn merge(into: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (key, value) in fields {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(key);
                } else if key == "conditions" {
                    merge_conditions(&mut into[key], value);
                } else {
                    merge(&mut into[key], value);
                }
            }
        }
        other => *into = other.clone(),
    }
}

fn merge_conditions(into: &mut Value, patch: &Value) {
    if !into.is_array() {
        *into = json!([]);
    }
    let conditions = into.as_array_mut().unwrap();
    for new in patch.as_array().into_iter().flatten() {
        match conditions.iter_mut().find(|known| known["type"] == new["type"]) {
            Some(known) => merge(known, new),
            None => conditions.push(new.clone()),
        }
    }
}
