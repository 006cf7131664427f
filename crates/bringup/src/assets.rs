//! The asset directory as a bring-up needs it: files for the host, objects for the API, and who is
//! who. It may be any directory in bootkube's layout, so nothing here goes by a name of ours: an
//! apiserver is what has `--etcd-servers`, a temporary pod is one of `bootstrap-manifests/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::assets::{AssetDir, AssetErrors, StaticPod, member};
use api::{Client, Connection};
use host::place::HostFile;
use jiff::Timestamp;
use names::component::KUBE_APISERVER;
use names::path::{ETCD_FILE, ETCD_MEMBER_ID};
use objects::pod::{self, apiserver, app_containers, flag, words};
use serde_json::Value;
use steer::probe::Probe;

use crate::error::StartError;
use crate::options::Options;
use crate::surroundings::Surroundings;

/// A static pod of the asset directory.
#[derive(Debug, Clone)]
pub(crate) struct KnownPod {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name, without the node's.
    pub(crate) name: String,
    /// Its file's name in the kubelet's directory.
    pub(crate) file: String,
    /// The images that it needs.
    pub(crate) images: Vec<String>,
    /// What its containers run: program names without their directories.
    programs: Vec<String>,
    /// Whether it goes with the pivot.
    pub(crate) temporary: bool,
}

impl KnownPod {
    /// Whether this program is one that it runs.
    pub(crate) fn runs(&self, program: &str) -> bool {
        self.programs.iter().any(|p| p == program)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Assets {
    kubeconfig: PathBuf,
    server: String,
    node_name: String,
    labels: BTreeSet<String>,
    /// Manifests of the temporary control plane.
    pub(crate) temporary_pods: Vec<HostFile>,
    /// What the temporary control plane reads.
    pub(crate) secrets: Vec<HostFile>,
    /// What stays: certificates and keys of this node's control plane, etcd's manifest.
    pub(crate) lasting: Vec<HostFile>,
    /// Directories for the data of static pods that stay, each with its owner.
    pub(crate) data_dirs: Vec<(PathBuf, host::fs::Owner)>,
    /// All static pods.
    pub(crate) pods: Vec<KnownPod>,
    /// What goes into the cluster.
    pub(crate) objects: Vec<apply::Object>,
    /// The port that temporary and self-hosted apiserver share.
    pub(crate) port: u16,
    /// Whether kubestrap rendered them, from a config.
    pub(crate) is_ours: bool,
    /// Whether one of the objects installs the guardian.
    pub(crate) guardian: bool,
    /// Whether nobody signs for this node's kubelet once the temporary control plane is gone.
    pub(crate) authority_keys_are_offline: bool,
    /// Whether they can share it: both have `--permit-port-sharing`.
    pub(crate) shares_port: bool,
    /// Containers of the self-hosted control plane: the program that each runs, and its name.
    workers: Vec<(String, String)>,
}

impl Assets {
    /// Reads the directory.
    ///
    /// # Errors
    /// [`StartError::Assets`] with every problem in it.
    pub(crate) fn read(options: &Options) -> Result<Self, StartError> {
        let unusable = |why: String| StartError::Assets { dir: options.asset_dir.clone(), why };
        let dir = dir(options)?;
        let kubeconfig = dir.start_kubeconfig();
        let text = host::fs::read_to_string(&kubeconfig)?;
        let server =
            api::server_host(&text).map_err(|why| unusable(format!("{}: {why}", kubeconfig.display())))?;
        let servers: Vec<&Value> =
            dir.bootstrap_pods().iter().filter_map(|p| apiserver(&p.object.value)).collect();
        let Some(server_pod) = servers.first() else {
            return Err(unusable(
                "no pod in bootstrap-manifests/ runs a kube-apiserver (has --etcd-servers)".into(),
            ));
        };
        let successors = dir.objects().iter().filter_map(|o| apiserver(&o.value));
        let shares_port = shares(server_pod) && successors.clone().all(shares) && successors.count() > 0;
        let owner = dir.bootstrap_pods().iter().find_map(|p| pod::user(&p.object.value));
        Ok(Self {
            port: port(server_pod),
            shares_port,
            temporary_pods: manifests(dir.bootstrap_pods(), &options.manifest_dir),
            secrets: secrets(&dir, options, owner)?,
            lasting: lasting(&dir, options)?,
            data_dirs: data_dirs(&dir, options),
            pods: known(&dir),
            objects: dir.objects().iter().map(object).collect(),
            workers: dir.objects().iter().flat_map(|o| workers(&o.value)).collect(),
            is_ours: dir.is_ours(),
            guardian: dir.guardian().is_some(),
            authority_keys_are_offline: dir.authority_keys_are_offline(),
            labels: labels(&dir),
            node_name: options.node_name.clone(),
            kubeconfig,
            server,
        })
    }

    /// A client of this node's API, with the asset directory's credentials.
    pub(crate) async fn client(&self, surroundings: &dyn Surroundings) -> Result<Client, StartError> {
        let client = surroundings.client(&self.connection().await?);
        client.map_err(|e| StartError::Client(e.into()))
    }

    /// A probe of this node's API, with the same credentials.
    pub(crate) async fn probe(&self) -> Result<Probe, StartError> {
        traffic::probe(&self.connection().await?, self.port).map_err(|e| StartError::Client(e.into()))
    }

    async fn connection(&self) -> Result<Connection, StartError> {
        let options = api::ClientOptions {
            server: Some(format!("https://127.0.0.1:{}", self.port)),
            tls_server_name: Some(self.server.clone()),
            ..api::ClientOptions::default()
        };
        let connection = Connection::read(&self.kubeconfig, &options).await;
        connection.map_err(|e| StartError::Client(e.into()))
    }

    /// Labels that make this node a control-plane node, as the required workloads ask for them.
    pub(crate) fn node_labels(&self) -> BTreeMap<String, Option<String>> {
        self.labels.iter().map(|label| (label.clone(), Some(String::new()))).collect()
    }

    /// Namespace and name under which the API shows the temporary pods of this node.
    pub(crate) fn temporary_names(&self) -> Vec<(String, String)> {
        let temporary = self.pods.iter().filter(|known| known.temporary);
        temporary.map(|known| (known.namespace.clone(), self.full_name(known))).collect()
    }

    /// The static pod that a sandbox belongs to.
    pub(crate) fn known(&self, pod: &cri::Pod) -> Option<&KnownPod> {
        self.pods.iter().find(|known| self.is(known, pod))
    }

    /// Whether a sandbox belongs to the temporary control plane.
    pub(crate) fn is_temporary(&self, pod: &cri::Pod) -> bool {
        self.pods.iter().any(|known| known.temporary && self.is(known, pod))
    }

    /// Whether a sandbox is of the static pod that runs this program.
    pub(crate) fn is_component(&self, pod: &cri::Pod, program: &str) -> bool {
        self.pods.iter().any(|known| known.runs(program) && self.is(known, pod))
    }

    /// Whether containers of this name run this program in the self-hosted control plane.
    pub(crate) fn runs(&self, container: &str, program: &str) -> bool {
        self.workers.iter().any(|(runs, name)| runs == program && name == container)
    }

    fn is(&self, known: &KnownPod, pod: &cri::Pod) -> bool {
        pod.namespace == known.namespace && pod.name == self.full_name(known)
    }

    /// The kubelet appends the node's name to a static pod's.
    pub(crate) fn full_name(&self, known: &KnownPod) -> String {
        format!("{}-{}", known.name, self.node_name)
    }
}

/// The directory itself.
///
/// # Errors
/// [`StartError::Assets`] with every problem in it.
pub(crate) fn dir(options: &Options) -> Result<Arc<AssetDir>, StartError> {
    let unusable =
        |error: AssetErrors| StartError::Assets { dir: options.asset_dir.clone(), why: error.to_string() };
    match &options.assets {
        Some(dir) => Ok(Arc::clone(dir)),
        None => Ok(Arc::new(AssetDir::read(&options.asset_dir).map_err(unusable)?)),
    }
}

/// Images that must be on the node before its control plane can come up: those of all static pods and
/// the guardian's.
pub fn images(dir: &AssetDir) -> Vec<String> {
    let mut images: Vec<_> = known(dir).into_iter().flat_map(|pod| pod.images).collect();
    images.extend(dir.guardian().iter().flat_map(|guardian| pod::images(&guardian.value)));
    images.sort();
    images.dedup();
    images
}

/// The port that the directory's apiservers listen on.
pub fn api_port(dir: &AssetDir) -> u16 {
    let server = dir.bootstrap_pods().iter().find_map(|pod| apiserver(&pod.object.value));
    server.map_or(names::port::KUBE_APISERVER, port)
}

/// The host that the directory's kubeconfig dials: the apiserver's certificate has to carry it.
pub fn api_host(dir: &AssetDir) -> Option<String> {
    api::server_host(&host::fs::read_to_string(&dir.start_kubeconfig()).ok()?).ok()
}

fn port(apiserver: &Value) -> u16 {
    flag(apiserver, "--secure-port").and_then(|port| port.parse().ok()).unwrap_or(names::port::KUBE_APISERVER)
}

fn object(object: &::assets::Object) -> apply::Object {
    let file = object.path.file_name().unwrap_or_default().to_string_lossy();
    apply::Object::new(object.value.clone(), format!("manifests/{file}:{}", object.line))
}

fn manifests(pods: &[StaticPod], dir: &Path) -> Vec<HostFile> {
    let file = |pod: &StaticPod| HostFile {
        path: dir.join(&pod.file_name),
        content: pod.content.clone(),
        mode: 0o600,
        owner: None,
    };
    pods.iter().map(file).collect()
}

fn host_file(mut file: HostFile, options: &Options) -> HostFile {
    file.owner = file.owner.and_then(|owner| options.surroundings.owner(owner));
    file.path = options.on_node(&file.path);
    file
}

/// The directory's secrets, for where the options want them and for the pods' own user.
fn secrets(dir: &AssetDir, options: &Options, user: Option<(u32, u32)>) -> Result<Vec<HostFile>, StartError> {
    let unusable = |e: ::assets::RenderError| StartError::Assets {
        dir: options.asset_dir.clone(),
        why: host::error::chain(&e),
    };
    let staged = host::fs::read_to_string(&options.secrets_dir.join(::assets::TEMPORARY_KUBECONFIG)).ok();
    let kubeconfig = dir.temporary_kubeconfig(staged, Timestamp::now()).map_err(unusable)?;
    let mut files = Vec::new();
    for mut file in dir.bootstrap_secrets()?.into_iter().chain(kubeconfig) {
        file.owner = user.or(file.owner);
        let inner = file.path.strip_prefix(names::path::BOOTSTRAP_SECRETS);
        let staged = inner.ok().map(|inner| options.secrets_dir.join(inner));
        let mut file = host_file(file, options);
        file.path = staged.unwrap_or(file.path);
        files.push(file);
    }
    Ok(files)
}

/// Certificates, keys and config of this node's control plane.
pub(crate) fn node_files(dir: &AssetDir, options: &Options) -> Result<Vec<HostFile>, StartError> {
    Ok(dir.node_files()?.into_iter().map(|file| host_file(file, options)).collect())
}

fn lasting(dir: &AssetDir, options: &Options) -> Result<Vec<HostFile>, StartError> {
    let mut files = node_files(dir, options)?;
    files.extend(manifests(dir.static_pods(), &options.manifest_dir));
    // A member that has data begins no cluster, whatever becomes of it.
    if options.on_node(Path::new(ETCD_MEMBER_ID)).exists() {
        for file in files.iter_mut().filter(|file| file.path.ends_with(ETCD_FILE)) {
            if let Some(text) = std::str::from_utf8(&file.content).ok().and_then(member::joined) {
                file.content = text.into_bytes();
            }
        }
    }
    Ok(files)
}

fn known(dir: &AssetDir) -> Vec<KnownPod> {
    let pod = |pod: &StaticPod, temporary| KnownPod {
        namespace: match pod.object.namespace() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        },
        name: pod.object.name().to_owned(),
        file: pod.file_name.clone(),
        images: pod::images(&pod.object.value),
        programs: app_containers(&pod.object.value).iter().filter_map(program).collect(),
        temporary,
    };
    let temporary = dir.bootstrap_pods().iter().map(|p| pod(p, true));
    temporary.chain(dir.static_pods().iter().map(|p| pod(p, false))).collect()
}

/// The containers of something that makes pods: what each runs, and its name.
fn workers(object: &Value) -> Vec<(String, String)> {
    let named = app_containers(object).iter().filter_map(|c| Some((c, c["name"].as_str()?.to_owned())));
    let runs = |c: &Value| if pod::is_apiserver(c) { Some(KUBE_APISERVER.to_owned()) } else { program(c) };
    named.filter_map(|(container, name)| Some((runs(container)?, name))).collect()
}

/// What a container runs: the program's name, or the part of an all-in-one binary that it is
/// (`hyperkube kube-scheduler`).
fn program(container: &Value) -> Option<String> {
    let mut words = words(container).map(|word| word.rsplit('/').next().unwrap_or(word));
    let first = words.next()?;
    let name = if first == "hyperkube" { words.next()? } else { first };
    Some(if name.starts_with("kube-") || name == names::component::ETCD {
        name.to_owned()
    } else {
        format!("kube-{name}")
    })
}

fn shares(container: &Value) -> bool {
    let bare = words(container).any(|word| word == "--permit-port-sharing");
    bare || flag(container, "--permit-port-sharing") == Some("true")
}

/// Directories that pods want made. The kubelet would make them for root; a pod that is not root needs them to be its
/// own. What another one's objects mount is theirs to make.
fn data_dirs(dir: &AssetDir, options: &Options) -> Vec<(PathBuf, host::fs::Owner)> {
    let stay = dir.static_pods().iter().flat_map(|pod| dirs_of(&pod.object.value, options));
    let objects = dir.objects().iter().map(|object| &object.value);
    let pods = dir.bootstrap_pods().iter().map(|pod| &pod.object.value);
    let ours = objects.chain(pods).filter(|pod| dir.is_ours() && pod::user(pod).is_some());
    stay.chain(ours.flat_map(|pod| dirs_of(pod, options))).collect()
}

fn dirs_of(pod: &Value, options: &Options) -> Vec<(PathBuf, host::fs::Owner)> {
    let made =
        pod::volumes(pod).iter().map(|v| &v["hostPath"]).filter(|path| path["type"] == "DirectoryOrCreate");
    let owner = pod::user(pod).and_then(|user| options.surroundings.owner(user));
    made.filter_map(|path| Some((options.on_node(Path::new(path["path"].as_str()?)), owner))).collect()
}

fn labels(dir: &AssetDir) -> BTreeSet<String> {
    let selectors = dir.objects().iter().filter_map(|o| pod::spec(&o.value)["nodeSelector"].as_object());
    selectors
        .flat_map(|s| s.keys())
        .filter(|key| key.starts_with(names::label::NODE_ROLE_PREFIX))
        .cloned()
        .collect()
}

#[cfg(test)]
impl Assets {
    /// A directory with nothing but a temporary control plane of these programs.
    pub(crate) fn of_temporary_pods(node: &str, programs: &[&str]) -> Self {
        let pod = |program: &&str| KnownPod {
            namespace: "kube-system".to_owned(),
            name: format!("bootstrap-{program}"),
            file: format!("bootstrap-{program}.yaml"),
            images: Vec::new(),
            programs: vec![(*program).to_owned()],
            temporary: true,
        };
        Self {
            kubeconfig: PathBuf::new(),
            server: String::new(),
            node_name: node.to_owned(),
            labels: BTreeSet::new(),
            temporary_pods: Vec::new(),
            secrets: Vec::new(),
            lasting: Vec::new(),
            data_dirs: Vec::new(),
            pods: programs.iter().map(pod).collect(),
            objects: Vec::new(),
            port: names::port::KUBE_APISERVER,
            is_ours: true,
            guardian: false,
            authority_keys_are_offline: false,
            shares_port: true,
            workers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_is_known_by_what_it_runs() {
        let known = |container: Value| program(&container).unwrap();
        assert_eq!(known(json!({"command": ["/hyperkube", "apiserver"]})), KUBE_APISERVER);
        assert_eq!(known(json!({"command": ["/usr/local/bin/kube-scheduler"]})), "kube-scheduler");
        assert_eq!(known(json!({"command": ["etcd"]})), "etcd");
    }

    #[test]
    fn a_port_is_shared_by_those_who_say_so() {
        let says = |flag: &str| shares(&json!({"args": ["--etcd-servers=https://e:2379", flag]}));
        assert!(says("--permit-port-sharing") && says("--permit-port-sharing=true"));
        assert!(!says("--permit-port-sharing=false") && !says("--secure-port=8443"));
    }
}
