//! What a node is to be, as one value: every directory, file, program, setting and unit. Pure.

use names::path;

use crate::config::{NodeConfig, NodeCredentials};
use crate::content::{Content, sha256_hex};
use crate::facts::Facts;
use crate::kernel::Sysctl;
use crate::kubelet::CredentialsError;
use crate::units::Unit;
use crate::{containerd, kernel, kubelet};

/// A program of the bundle: its name and the SHA-256 of its file, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFile {
    /// Its name in the bundle.
    pub name: String,
    /// The digest of the file.
    pub digest: String,
}

/// A program in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name in the bundle.
    pub name: String,
    /// Where it belongs on the node.
    pub path: String,
    /// The digest of the file.
    pub digest: String,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// Its path.
    pub path: String,
    /// Its mode.
    pub mode: u32,
}

/// A file with its whole content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// The node as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Directories, parents first.
    pub dirs: Vec<Dir>,
    /// Programs.
    pub programs: Vec<Program>,
    /// Files.
    pub files: Vec<File>,
    /// The client certificate and key that the kubelet starts with, unless it has a good one.
    pub client_pem: Option<Content>,
    /// The kubelet asks for its client certificate with a token, which it reads when it starts.
    pub asks: bool,
    /// The node's name: the client certificate must be for it.
    pub node: String,
    /// The CA that must have signed the client certificate.
    pub ca: String,
    /// Kernel modules.
    pub modules: Vec<String>,
    /// Kernel settings.
    pub sysctls: Vec<Sysctl>,
    /// Units, in the order in which they are started.
    pub units: Vec<Unit>,
    /// Directories that what runs on the node fills by itself, parents first: all that was not in them before is the
    /// node's.
    pub trees: Vec<String>,
    /// Files in directories of others that what runs on the node makes or writes again.
    pub rewritten: Vec<String>,
    /// Network interfaces that the pods' network makes.
    pub interfaces: Vec<String>,
}

/// Where containerd's plugins would find it (`DefaultSocketPath` of containerd/nri, pkg/api/plugin.go, less its last part).
const NRI_STATE: &str = "/run/nri";

/// Programs of a bundle that a node needs. CNI plugins have another directory than the rest.
const CNI_PLUGINS: [&str; 5] = ["bridge", "host-local", "loopback", "portmap", "flannel"];

/// What this host shall be with that configuration and those programs.
///
/// # Errors
/// [`CredentialsError`] when the node's kubeconfig is malformed.
pub fn desired(
    facts: &Facts,
    config: &NodeConfig,
    bundle: &[ProgramFile],
) -> Result<Desired, CredentialsError> {
    let programs = place(bundle, config);
    let credentials = kubelet::credentials(&config.credentials)?;
    let kubelet_config = kubelet::config(facts, config);
    let modules = kernel::modules(facts);
    let sysctls = kernel::sysctls(facts, config);

    let mut files = vec![
        file(path::CA_CERTIFICATE, 0o644, Content::public(config.ca.clone())),
        file(path::KUBELET_CONFIG, 0o600, Content::public(kubelet_config.clone())),
        file(path::SYSCTL_FILE, 0o644, Content::public(kernel::sysctl_file(&sysctls))),
    ];
    if let Some((path, text)) = &credentials.kubeconfig {
        files.insert(1, file(path, 0o600, Content::secret(text.clone())));
    }
    if !modules.is_empty() {
        files.push(file(path::MODULES_FILE, 0o644, Content::public(kernel::modules_file(&modules))));
    }

    let mut units = Vec::new();
    if !config.existing_containerd {
        let text = containerd::config(facts, &config.pause_image);
        let unit = containerd::unit(facts, &inputs(&programs, &containerd::PROGRAMS, &[&text]));
        units.push(unit.reading(&[path::CONTAINERD_CONFIG, &program(containerd::PROGRAMS[0])]));
        files.push(file(path::CONTAINERD_CONFIG, 0o644, Content::public(text)));
    }
    // The link to the client certificate is the kubelet's own business once it runs; the
    // kubeconfig's text alone would not change when the certificate in it does. One with a token goes when it was used.
    let asks = matches!(config.credentials, NodeCredentials::Bootstrap(_));
    let client = credentials.client_pem.as_deref().unwrap_or_default();
    let kubeconfig = credentials.kubeconfig.as_ref().filter(|_| !asks);
    let kubeconfig = kubeconfig.map_or("", |(_, text)| text.as_str());
    let texts = [kubelet_config.as_str(), &config.ca, kubeconfig, client];
    let unit = kubelet::unit(facts, config, &inputs(&programs, &["kubelet"], &texts));
    units.push(unit.reading(&[path::KUBELET_CONFIG, path::CA_CERTIFICATE, &program("kubelet")]));
    if let (Some((path, _)), Some(unit)) = (&credentials.kubeconfig, units.last_mut()) {
        unit.reads.push((*path).to_owned());
    }
    files.extend(units.iter().map(|unit| file(&unit.path(), 0o600, Content::public(unit.text.clone()))));

    Ok(Desired {
        dirs: dirs(config),
        programs,
        files,
        client_pem: credentials.client_pem.map(Content::secret),
        asks,
        node: config.name.clone(),
        ca: config.ca.clone(),
        modules,
        sysctls,
        units,
        trees: trees(config),
        rewritten: rewritten(config),
        interfaces: interfaces(config),
    })
}

fn program(name: &str) -> String {
    format!("{}/{name}", path::PROGRAMS)
}

fn file(path: &str, mode: u32, content: Content) -> File {
    File { path: path.to_owned(), mode, content }
}

fn dirs(config: &NodeConfig) -> Vec<Dir> {
    let mut dirs = vec![
        (path::PROGRAMS, 0o755),
        (path::CNI_HOME, 0o755),
        (path::CNI_PLUGINS, 0o755),
        (path::CNI, 0o755),
        (path::CNI_CONFIG, 0o755),
        (path::KUBERNETES, 0o755),
        (path::PKI, 0o755),
        (path::STATIC_PODS, 0o755),
        (path::KUBELET, 0o750),
        (path::KUBELET_PKI, 0o750),
        (path::SYSCTL_DIR, 0o755),
        (path::MODULES_DIR, 0o755),
        (path::UNITS, 0o755),
    ];
    if !config.existing_containerd {
        dirs.push((path::CONTAINERD_CONFIG_DIR, 0o755));
    }
    // Above another one lies what is not ours.
    if config.audit_dir.as_deref() == Some(path::AUDIT) {
        dirs.push((path::KUBERNETES_LOGS, 0o755));
    }
    dirs.into_iter().map(|(path, mode)| Dir { path: path.to_owned(), mode }).collect()
}

/// The directories of a node's programs. What is rendered is no part of it: it is there before anything is installed.
fn trees(config: &NodeConfig) -> Vec<String> {
    let mut trees = vec![
        path::KUBERNETES,
        path::STATIC_PODS,
        path::PKI,
        path::ETCD_PKI,
        path::KUBELET,
        path::KUBELET_PKI,
        path::KUBELET_PLUGINS,
        path::POD_LOGS,
        path::CONTAINER_LOGS,
        path::CNI_STATE,
    ];
    if !config.existing_containerd {
        trees.extend([path::CONTAINERD_ROOT, path::CONTAINERD_STATE, NRI_STATE]);
    }
    if config.flannel_vni.is_some() {
        trees.push(path::FLANNEL_STATE);
    }
    trees.extend(config.etcd_data_dir.as_deref());
    trees.extend(config.audit_dir.as_deref());
    // Networks of others have their addresses beside those of ours.
    let addresses = format!("{}/networks", path::CNI_STATE);
    trees.into_iter().map(str::to_owned).chain([addresses]).collect()
}

fn rewritten(config: &NodeConfig) -> Vec<String> {
    let mut files = Vec::new();
    if config.flannel_vni.is_some() {
        files.extend([path::FLANNEL_CNI_CONFIG.to_owned(), format!("{}/flannel", path::CNI_PLUGINS)]);
    }
    files
}

/// Those of flannel (backend/vxlan of flannel-io/flannel), and the bridge that its plugin asks for (meta/flannel of
/// flannel-io/cni-plugin).
fn interfaces(config: &NodeConfig) -> Vec<String> {
    let of_flannel = |vni: u32| ["cni0".to_owned(), format!("flannel.{vni}"), format!("flannel-v6.{vni}")];
    config.flannel_vni.map(of_flannel).into_iter().flatten().collect()
}

fn place(bundle: &[ProgramFile], config: &NodeConfig) -> Vec<Program> {
    let wanted =
        |p: &&ProgramFile| !(config.existing_containerd && containerd::PROGRAMS.contains(&p.name.as_str()));
    let placed = bundle.iter().filter(wanted).map(|p| {
        let dir = if CNI_PLUGINS.contains(&p.name.as_str()) { path::CNI_PLUGINS } else { path::PROGRAMS };
        Program { name: p.name.clone(), path: format!("{dir}/{}", p.name), digest: p.digest.clone() }
    });
    placed.collect()
}

/// One digest of the named programs and of texts.
fn inputs(programs: &[Program], names: &[&str], texts: &[&str]) -> String {
    let programs = programs.iter().filter(|p| names.contains(&p.name.as_str()));
    let programs = programs.map(|p| format!("{} {}", p.name, p.digest));
    let texts = texts.iter().map(|text| sha256_hex(text.as_bytes()));
    sha256_hex(programs.chain(texts).collect::<Vec<_>>().join("\n").as_bytes())
}
