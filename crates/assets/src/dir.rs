//! An asset directory read back from disk: one that kubestrap rendered, or any other in bootkube's
//! layout.
//!
//! ```text
//! auth/kubeconfig            the administrator's
//! tls/                       certificates and keys
//! bootstrap-manifests/       static pods that live until the pivot
//! static-manifests/          static pods that stay (etcd)
//! manifests/                 what goes into the cluster
//! ```

use std::path::{Path, PathBuf};

use host::fs::FsError;
use host::place::HostFile;
use names::{object, path, user};
use serde_json::Value;

use crate::tree::CONFIG_FILE;
use crate::yaml::{self, YamlError};
use objects::{pod, text};

/// User and group of the temporary control plane.
pub(crate) const TEMPORARY_USER: (u32, u32) = (user::KUBE_APISERVER_ID, user::KUBE_APISERVER_ID);
/// Mode of what it reads.
pub(crate) const TEMPORARY_MODE: u32 = 0o400;

/// Files of ours that no temporary pod needs: what is not staged cannot be stolen from there.
const NOT_STAGED: [&str; 12] = [
    "tls/front-proxy-ca.key",
    "tls/controller-manager.crt",
    "tls/controller-manager.key",
    "tls/scheduler.crt",
    "tls/scheduler.key",
    "tls/etcd/ca.key",
    "tls/etcd/server.crt",
    "tls/etcd/server.key",
    "tls/etcd/peer.crt",
    "tls/etcd/peer.key",
    "tls/etcd/healthcheck-client.crt",
    "tls/etcd/healthcheck-client.key",
];
/// An asset directory that cannot be used, with every problem found in it.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct AssetErrors {
    /// What is wrong, at least one.
    pub problems: Vec<AssetProblem>,
}

/// One thing that is wrong with an asset directory.
#[derive(Debug, thiserror::Error)]
pub enum AssetProblem {
    /// It or a part of it does not exist.
    #[error("{} does not exist: is {} an asset directory?", path.display(), dir.display())]
    Missing {
        /// The asset directory.
        dir: PathBuf,
        /// What is missing.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A manifest is no YAML.
    #[error("{}:{}:{}: {}", path.display(), source.line, source.column, source.message)]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: YamlError,
    },
    /// A template was not filled in.
    #[error(
        "{}:{line}: {field} is {found:?}: a placeholder that whatever made this directory did not fill in",
        path.display()
    )]
    Unfilled {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
    },
    /// A document is no Kubernetes object.
    #[error("{}:{line}: {reason}", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// The line on which the document begins, from 1.
        line: usize,
        /// What it lacks.
        reason: String,
    },
}

/// A Kubernetes object and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The file.
    pub path: PathBuf,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The object.
    pub value: Value,
}

impl Object {
    /// The object's kind.
    pub fn kind(&self) -> &str {
        text(&self.value["kind"])
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        objects::name(&self.value)
    }

    /// The object's namespace; empty when it names none.
    pub fn namespace(&self) -> &str {
        text(&self.value["metadata"]["namespace"])
    }
}

/// A static pod's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticPod {
    /// The file's name, which it keeps in the kubelet's directory.
    pub file_name: String,
    /// The file's content, byte by byte.
    pub content: Vec<u8>,
    /// The pod.
    pub object: Object,
}

/// An asset directory.
#[derive(Debug, Clone)]
pub struct AssetDir {
    root: PathBuf,
    ours: bool,
    bootstrap_pods: Vec<StaticPod>,
    static_pods: Vec<StaticPod>,
    objects: Vec<Object>,
}

impl AssetDir {
    /// Reads an asset directory.
    ///
    /// # Errors
    /// [`AssetErrors`] with every problem at once; each names file and line.
    pub fn read(root: &Path) -> Result<Self, AssetErrors> {
        let mut problems = Vec::new();
        for part in ["auth/kubeconfig", "bootstrap-manifests", "manifests"] {
            let path = root.join(part);
            if !path.exists() {
                problems.push(AssetProblem::Missing { dir: root.to_owned(), path });
            }
        }
        let read = Self {
            root: root.to_owned(),
            ours: root.join(CONFIG_FILE).exists(),
            bootstrap_pods: static_pods(&root.join("bootstrap-manifests"), &mut problems),
            static_pods: static_pods(&root.join("static-manifests"), &mut problems),
            objects: objects_in(&root.join("manifests"), &mut problems),
        };
        if problems.is_empty() { Ok(read) } else { Err(AssetErrors { problems }) }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether kubestrap rendered it.
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// The temporary control plane's static pods.
    pub fn bootstrap_pods(&self) -> &[StaticPod] {
        &self.bootstrap_pods
    }

    /// Static pods that stay after the pivot.
    pub fn static_pods(&self) -> &[StaticPod] {
        &self.static_pods
    }

    /// The DaemonSet that installs the guardian; `None` in directories that have none.
    pub fn guardian(&self) -> Option<&Object> {
        self.objects.iter().find(|o| {
            o.kind() == "DaemonSet" && o.namespace() == object::KUBE_SYSTEM && o.name() == object::GUARDIAN
        })
    }

    /// What goes into the cluster, in the order of files and documents.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Those of them that kubestrap has rendered: the operator's own are nobody's to miss. None in a directory that is
    /// somebody else's.
    pub fn own_objects(&self) -> impl Iterator<Item = &Object> {
        let is_own = |object: &&Object| {
            let name = object.path.file_stem().and_then(|name| name.to_str());
            self.ours && name.is_some_and(|name| crate::paths::MANIFESTS.contains(&name))
        };
        self.objects.iter().filter(is_own)
    }

    /// The administrator's kubeconfig: the one to hand out.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("auth/kubeconfig")
    }

    /// The kubeconfig for bringing up the cluster: one that needs no RBAC objects, which are not
    /// there yet. In a directory that we did not render, the administrator's.
    pub fn start_kubeconfig(&self) -> PathBuf {
        let path = self.root.join(crate::paths::auth::SUPER_ADMIN);
        if path.exists() { path } else { self.kubeconfig() }
    }

    /// A certificate or key under `tls/`, as text; `None` when it is not there.
    ///
    /// # Errors
    /// [`FsError`] when it is there and cannot be read.
    pub fn tls(&self, name: &str) -> Result<Option<String>, FsError> {
        match host::fs::read_to_string(&self.root.join("tls").join(name)) {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }

    /// What the temporary control plane reads, for [`path::BOOTSTRAP_SECRETS`]: `tls/`, and the
    /// apiserver's config files under `config/`; [`AssetDir::temporary_kubeconfig`] comes on top. Of a directory that we did
    /// not render: all of `tls/` and the administrator's kubeconfig, as bootkube did.
    ///
    /// # Errors
    /// [`FsError`] when a file cannot be read.
    pub fn bootstrap_secrets(&self) -> Result<Vec<HostFile>, FsError> {
        let mut files = Vec::new();
        for path in files_in(&self.root.join("tls"))? {
            if !self.ours || !NOT_STAGED.iter().any(|name| path == self.root.join(name)) {
                files.push((path.clone(), relative(&path, &self.root.join("tls"))));
            }
        }
        for path in files_in(&self.root.join("bootstrap-config"))? {
            files.push((
                path.clone(),
                Path::new("config").join(relative(&path, &self.root.join("bootstrap-config"))),
            ));
        }
        if !self.ours {
            files.push((self.kubeconfig(), PathBuf::from("kubeconfig")));
        }
        files
            .into_iter()
            .map(|(from, to)| host_file(&from, Path::new(path::BOOTSTRAP_SECRETS).join(to)))
            .collect()
    }
}

fn host_file(from: &Path, path: PathBuf) -> Result<HostFile, FsError> {
    Ok(HostFile { path, content: host::fs::read(from)?, mode: TEMPORARY_MODE, owner: Some(TEMPORARY_USER) })
}

fn relative(path: &Path, base: &Path) -> PathBuf {
    path.strip_prefix(base).unwrap_or(path).to_owned()
}

/// All files below a directory, sorted; hidden ones are nobody's.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>, FsError> {
    let mut files = Vec::new();
    for path in host::fs::list(dir)? {
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            files.extend(files_in(&path)?);
        } else if !hidden {
            files.push(path);
        }
    }
    Ok(files)
}

fn manifests_in(dir: &Path, problems: &mut Vec<AssetProblem>) -> Vec<PathBuf> {
    let is_manifest = |path: &PathBuf| {
        path.extension().and_then(|e| e.to_str()).is_some_and(|e| ["yaml", "yml", "json"].contains(&e))
    };
    match files_in(dir) {
        Ok(files) => files.into_iter().filter(is_manifest).collect(),
        Err(error) => {
            problems.push(error.into());
            Vec::new()
        }
    }
}

fn objects_in(dir: &Path, problems: &mut Vec<AssetProblem>) -> Vec<Object> {
    let mut objects = Vec::new();
    for path in manifests_in(dir, problems) {
        match host::fs::read_to_string(&path) {
            Ok(text) => objects.extend(parse_objects(&path, &text, problems)),
            Err(error) => problems.push(error.into()),
        }
    }
    objects
}

fn static_pods(dir: &Path, problems: &mut Vec<AssetProblem>) -> Vec<StaticPod> {
    let mut pods = Vec::new();
    for path in manifests_in(dir, problems) {
        let text = match host::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(error.into());
                continue;
            }
        };
        let mut objects = parse_objects(&path, &text, problems);
        let file_name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match (objects.pop(), objects.is_empty()) {
            (Some(object), true) if object.kind() == "Pod" => {
                pods.push(StaticPod { file_name, content: text.into_bytes(), object });
            }
            (Some(object), _) => problems.push(AssetProblem::NotAnObject {
                path,
                line: object.line,
                reason: "a static pod's file holds one Pod and nothing else".to_owned(),
            }),
            // No object at all: either empty, or its problem is told already.
            (None, _) => {}
        }
    }
    pods
}

/// Placeholders of a template in fields that can have none: names, images, paths of the host. Elsewhere `${…}` may be meant,
/// as in a script.
fn unfilled(file: &Path, text: &str, object: &Value) -> Vec<AssetProblem> {
    let metadata = ["name", "namespace"].map(|key| (key, object["metadata"][key].as_str()));
    let images = pod::images(object).into_iter().map(|image| ("image", Some(image)));
    let paths = pod::volumes(object)
        .iter()
        .map(|volume| ("hostPath", volume["hostPath"]["path"].as_str().map(str::to_owned)));
    let metadata = metadata.into_iter().map(|(key, value)| (key, value.map(str::to_owned)));
    let fields = metadata.chain(images).chain(paths).filter_map(|(field, value)| Some((field, value?)));
    let of = |(field, found): (&'static str, String)| {
        let line = 1 + text.lines().position(|line| line.contains(&found)).unwrap_or_default();
        AssetProblem::Unfilled { path: file.to_owned(), line, field, found }
    };
    fields.filter(|(_, value)| value.contains("${")).map(of).collect()
}

fn parse_objects(path: &Path, text: &str, problems: &mut Vec<AssetProblem>) -> Vec<Object> {
    let documents = match yaml::parse_documents(text) {
        Ok(documents) => documents,
        Err(source) => {
            problems.push(AssetProblem::Yaml { path: path.to_owned(), source });
            return Vec::new();
        }
    };
    let mut objects = Vec::new();
    for document in documents {
        for value in flatten(document.value) {
            match lacks(&value) {
                None => {
                    problems.extend(unfilled(path, text, &value));
                    objects.push(Object { path: path.to_owned(), line: document.line, value });
                }
                Some(reason) => problems.push(AssetProblem::NotAnObject {
                    path: path.to_owned(),
                    line: document.line,
                    reason: reason.to_owned(),
                }),
            }
        }
    }
    objects
}

/// The items of a `List`, or the object itself.
fn flatten(mut value: Value) -> Vec<Value> {
    let is_list = value["kind"] == "List";
    match value.get_mut("items") {
        Some(Value::Array(items)) if is_list => std::mem::take(items),
        _ => vec![value],
    }
}

/// What a value lacks to be a Kubernetes object.
fn lacks(value: &Value) -> Option<&'static str> {
    let has = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !value.is_object() {
        return Some("it is no Kubernetes object, but plain text, a list or a number");
    }
    if !has(&value["apiVersion"]) {
        return Some("it has no apiVersion");
    }
    if !has(&value["kind"]) {
        return Some("it has no kind");
    }
    if !has(&value["metadata"]["name"]) {
        return Some("it has no metadata.name");
    }
    None
}
