//! What the control plane of a node has on that node's disk: certificates, keys and kubeconfigs, and nothing of it is
//! anywhere in the API. One table says which file lies where and whose it is; all else is read off it.
//!
//! ```text
//! asset directory ──AssetDir::node_files──▶ files of the first node        (start, upgrade)
//! files of a node ──read_node─────────────▶ tree ──for_node──▶ tree        (the guardian renews)
//! files of a node ──read_node──▶ shared ──▶ sealed for another node ──▶ for_node ──▶ files of that node
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cluster::{ClusterConfig, EtcdConfig};
use host::fs::{FsError, Owner};
use host::place::HostFile;
use jiff::Timestamp;
use names::{path, user};
use pki::NodeIdentity;

use crate::credentials;
use crate::dir::AssetDir;
use crate::error::RenderError;
use crate::given::ExternalEtcdFiles;
use crate::input::Base;
use crate::paths::auth;
use crate::requests;
use crate::tree::{AssetTree, CONFIG_FILE, KEY_SUFFIX};

/// A directory on a control-plane node, the group that may read it, and its files: their names, and the paths that they
/// have in an asset directory.
struct Dir {
    path: &'static str,
    group: u32,
    files: &'static [(&'static str, &'static str)],
}

const DIRS: [Dir; 7] = [
    Dir { path: path::CONTROL_PLANE, group: ROOT, files: &[(CONFIG_FILE, CONFIG_FILE)] },
    Dir {
        path: path::AUTHORITIES,
        group: ROOT,
        files: &[
            ("ca.crt", "tls/ca.crt"),
            ("ca.key", "tls/ca.key"),
            ("etcd-ca.crt", "tls/etcd/ca.crt"),
            ("etcd-ca.key", "tls/etcd/ca.key"),
            ("front-proxy-ca.crt", "tls/front-proxy-ca.crt"),
            ("front-proxy-ca.key", "tls/front-proxy-ca.key"),
        ],
    },
    Dir {
        path: path::KUBE_APISERVER_KEYS,
        group: user::KUBE_APISERVER_ID,
        files: &[
            ("apiserver-etcd-client.crt", "tls/apiserver-etcd-client.crt"),
            ("apiserver-etcd-client.key", "tls/apiserver-etcd-client.key"),
            ("apiserver-kubelet-client.crt", "tls/apiserver-kubelet-client.crt"),
            ("apiserver-kubelet-client.key", "tls/apiserver-kubelet-client.key"),
            ("apiserver.crt", "tls/apiserver.crt"),
            ("apiserver.key", "tls/apiserver.key"),
            ("ca.crt", "tls/ca.crt"),
            ("encryption-config.yaml", "tls/encryption-config.yaml"),
            ("etcd/ca.crt", "tls/etcd/ca.crt"),
            ("front-proxy-ca.crt", "tls/front-proxy-ca.crt"),
            ("front-proxy-client.crt", "tls/front-proxy-client.crt"),
            ("front-proxy-client.key", "tls/front-proxy-client.key"),
            ("sa.key", "tls/sa.key"),
            ("sa.pub", "tls/sa.pub"),
        ],
    },
    Dir {
        path: path::KUBE_CONTROLLER_MANAGER_KEYS,
        group: user::KUBE_CONTROLLER_MANAGER_ID,
        files: &[
            ("ca.crt", "tls/ca.crt"),
            ("ca.key", "tls/ca.key"),
            ("client.crt", "tls/controller-manager.crt"),
            ("client.key", "tls/controller-manager.key"),
            ("front-proxy-ca.crt", "tls/front-proxy-ca.crt"),
            ("kubeconfig", auth::CONTROLLER_MANAGER),
            ("sa.key", "tls/sa.key"),
        ],
    },
    Dir {
        path: path::KUBE_SCHEDULER_KEYS,
        group: user::KUBE_SCHEDULER_ID,
        files: &[
            ("client.crt", "tls/scheduler.crt"),
            ("client.key", "tls/scheduler.key"),
            ("kubeconfig", auth::SCHEDULER),
        ],
    },
    Dir { path: path::GUARDIAN_CREDENTIALS, group: ROOT, files: &[("kubeconfig", auth::GUARDIAN)] },
    Dir {
        path: path::ETCD_PKI,
        group: user::ETCD_ID,
        files: &[
            ("ca.crt", ETCD_CA),
            ("healthcheck-client.crt", "tls/etcd/healthcheck-client.crt"),
            ("healthcheck-client.key", "tls/etcd/healthcheck-client.key"),
            ("peer.crt", "tls/etcd/peer.crt"),
            ("peer.key", "tls/etcd/peer.key"),
            ("server.crt", ETCD_SERVER),
            ("server.key", "tls/etcd/server.key"),
        ],
    },
];

const ROOT: u32 = 0;
const ETCD_CA: &str = "tls/etcd/ca.crt";
/// Where there is none, etcd runs elsewhere.
const ETCD_SERVER: &str = "tls/etcd/server.crt";
/// Root's, and readable for the group of whom it is for, who can change nothing of it.
const MODE: u32 = 0o440;
/// Readable for root alone.
const MODE_OF_ROOT: u32 = 0o400;

/// What a node makes for itself, since its name or its addresses are in it.
const OWN: [&str; 10] = [
    "tls/apiserver.crt",
    "tls/apiserver.key",
    "tls/etcd/peer.crt",
    "tls/etcd/peer.key",
    ETCD_SERVER,
    "tls/etcd/server.key",
    "tls/controller-manager.crt",
    "tls/controller-manager.key",
    "tls/scheduler.crt",
    "tls/scheduler.key",
];

/// Whether a directory of a node is one of these.
pub fn has_keys(dir: &str) -> bool {
    DIRS.iter().any(|known| known.path == dir)
}

/// The files of one of these directories, whether they are there or not; none of any other directory.
pub fn files_of(dir: &str) -> impl Iterator<Item = PathBuf> {
    let known = DIRS.iter().filter(move |known| known.path == dir);
    known.flat_map(|dir| dir.files.iter().map(|(name, _)| Path::new(dir.path).join(name)))
}

/// The authorities' keys, which may be kept elsewhere.
const AUTHORITY_KEYS: [&str; 3] = ["tls/ca.key", "tls/front-proxy-ca.key", "tls/etcd/ca.key"];

/// The files of authorities' keys on a node.
pub fn authority_key_files() -> impl Iterator<Item = PathBuf> {
    DIRS.iter().flat_map(|dir| {
        let keys = dir.files.iter().filter(|(_, asset)| AUTHORITY_KEYS.contains(asset));
        keys.map(|(name, _)| Path::new(dir.path).join(name))
    })
}

/// All files of a node, of what `read` knows under their paths in an asset directory.
fn files<E>(read: impl Fn(&str) -> Result<Option<Vec<u8>>, E>) -> Result<Vec<HostFile>, E> {
    let local_etcd = read(ETCD_SERVER)?.is_some();
    let config = read(CONFIG_FILE)?.and_then(|text| parsed(&String::from_utf8_lossy(&text)).ok());
    let offline = config.is_some_and(|config| config.authority_keys_are_offline());
    let mut files = Vec::new();
    for dir in DIRS.iter().filter(|dir| local_etcd || dir.path != path::ETCD_PKI) {
        for (name, asset) in
            dir.files.iter().filter(|(_, asset)| !(offline && AUTHORITY_KEYS.contains(asset)))
        {
            let Some(content) = read(asset)? else { continue };
            let mode = if dir.group == ROOT { MODE_OF_ROOT } else { MODE };
            let owner = Some((ROOT, dir.group));
            files.push(HostFile { path: Path::new(dir.path).join(name), content, mode, owner });
        }
    }
    for name in requests::files() {
        let Some(content) = read(&requests::path(&name))? else { continue };
        let path = Path::new(path::CERTIFICATE_REQUESTS).join(name);
        files.push(HostFile { path, content, mode: MODE_OF_ROOT, owner: Some((ROOT, ROOT)) });
    }
    Ok(files)
}

/// Directories on a control-plane node that belong to a component's user, where the kubelet would make them for root.
pub fn node_dirs(config: &ClusterConfig) -> Vec<(PathBuf, Owner)> {
    let owner = Some((user::KUBE_APISERVER_ID, user::KUBE_APISERVER_ID));
    let audit = config.audit.enabled.then(|| (PathBuf::from(&config.audit.path), owner));
    audit.into_iter().collect()
}

impl AssetTree {
    /// What the control plane has on the disk of this tree's node.
    pub fn node_files(&self) -> Vec<HostFile> {
        let read = |path: &str| Ok::<_, Infallible>(self.get(path).map(|file| file.content.clone()));
        let Ok(files) = files(read);
        files
    }

    /// What every control-plane node has alike: with it one more makes the rest itself.
    pub fn shared(&self) -> Self {
        let mut shared = Self::default();
        for (path, file) in self.iter() {
            let own = OWN.contains(&path) || path.starts_with("auth/") || requests::has(path);
            if !own {
                shared.private(path, file.content.clone());
            }
        }
        shared
    }

    /// The tree as one text, JSON: all of its files are text.
    pub fn to_text(&self) -> String {
        let files: BTreeMap<&str, Cow<'_, str>> =
            self.iter().map(|(path, file)| (path, String::from_utf8_lossy(&file.content))).collect();
        serde_json::json!(files).to_string()
    }

    /// The way back from [`AssetTree::to_text`]; `None` when it is none of it.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let files: BTreeMap<String, String> = serde_json::from_slice(text).ok()?;
        let mut tree = Self::default();
        for (path, content) in files {
            tree.private(path, content);
        }
        Some(tree)
    }
}

impl AssetDir {
    /// What the control plane has on the disk of the first node; nothing for a directory that we did not render.
    ///
    /// # Errors
    /// [`FsError`] when a file is there and cannot be read.
    pub fn node_files(&self) -> Result<Vec<HostFile>, FsError> {
        if !self.is_ours() {
            return Ok(Vec::new());
        }
        files(|path| read(&self.root().join(path)))
    }

    /// Whether the authorities' keys are kept off the nodes that it makes.
    pub fn authority_keys_are_offline(&self) -> bool {
        let text = host::fs::read_to_string(&self.root().join(CONFIG_FILE)).unwrap_or_default();
        parsed(&text).is_ok_and(|config| config.authority_keys_are_offline())
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match host::fs::read(path) {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// What a control-plane node has on its disk, under the paths of an asset directory. `locate` says where a path of the
/// node lies for us.
///
/// # Errors
/// [`FsError`] when a file is there and cannot be read.
pub fn read_node(locate: impl Fn(&str) -> PathBuf) -> Result<AssetTree, FsError> {
    let mut tree = AssetTree::default();
    for dir in &DIRS {
        for (name, asset) in
            dir.files.iter().filter(|(_, asset)| *asset != ETCD_CA || dir.path != path::ETCD_PKI)
        {
            if let Some(content) = read(&locate(&format!("{}/{name}", dir.path)))? {
                let private = [CONFIG_FILE, auth::GUARDIAN, "tls/encryption-config.yaml"];
                let public = !(name.ends_with(KEY_SUFFIX) || private.contains(asset));
                if public {
                    tree.public(*asset, content);
                } else {
                    tree.private(*asset, content);
                }
            }
        }
    }
    for name in requests::files() {
        if let Some(content) = read(&locate(&format!("{}/{name}", path::CERTIFICATE_REQUESTS)))? {
            tree.public(requests::path(&name), content);
        }
    }
    Ok(tree)
}

/// What an earlier render made, as it is in use on a node of the same cluster: certificates were renewed there since.
pub fn in_use(existing: AssetTree, on_node: &AssetTree) -> AssetTree {
    const CA: &str = "tls/ca.crt";
    let mut tree = existing;
    if tree.text(CA) != on_node.text(CA) {
        return tree;
    }
    for (path, file) in on_node.iter().filter(|(path, _)| *path != CONFIG_FILE) {
        if tree.get(path).is_some() {
            tree.insert(path, file.clone());
        }
    }
    tree
}

/// The config that a node's files were made of.
///
/// # Errors
/// [`RenderError::Config`] when there is none or it cannot be read.
pub fn config_of(tree: &AssetTree) -> Result<ClusterConfig, RenderError> {
    let text = tree.text(CONFIG_FILE);
    parsed(text.ok_or_else(|| RenderError::Config { message: format!("{CONFIG_FILE} is missing") })?)
}

fn parsed(text: &str) -> Result<ClusterConfig, RenderError> {
    ClusterConfig::parse(CONFIG_FILE, text)
        .map_err(|errors| RenderError::Config { message: errors.to_string() })
}

/// The files of a control-plane node, from those that it has or what another one shared: what will do is kept, all else
/// is made or issued anew.
///
/// # Errors
/// [`RenderError`], also when an authority's key is not among them.
pub fn for_node(existing: &AssetTree, node: &NodeIdentity, now: Timestamp) -> Result<AssetTree, RenderError> {
    let config = config_of(existing)?;
    let mut node = node.clone();
    let api_address = node.addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
    if !config.put_primary_first(&mut node.addresses) {
        return Err(RenderError::NoAddress { node: node.name });
    }
    made_once(&config, existing)?;
    let authorities = credentials::authorities_of_node(&config, existing)?;
    let base = Base { config: &config, authorities: &authorities, old: existing, api_address, now };
    let mut tree = AssetTree::default();
    credentials::of_node(&mut tree, &base, &node)?;
    credentials::of_control_plane(&mut tree, &base, external_etcd(&config, existing))?;
    tree.private(CONFIG_FILE, existing.text(CONFIG_FILE).unwrap_or_default());
    Ok(tree)
}

/// What a cluster has one of for ever, besides its authorities: a second one would lock out everybody who knows the first.
fn made_once(config: &ClusterConfig, existing: &AssetTree) -> Result<(), RenderError> {
    let encryption = config.encryption.enabled.then_some("tls/encryption-config.yaml");
    match ["tls/sa.key"].into_iter().chain(encryption).find(|path| existing.get(path).is_none()) {
        Some(path) => Err(RenderError::Gone { path: path.to_owned() }),
        None => Ok(()),
    }
}

fn external_etcd(config: &ClusterConfig, existing: &AssetTree) -> Option<ExternalEtcdFiles> {
    if !matches!(config.etcd, EtcdConfig::External(_)) {
        return None;
    }
    let text = |path: &str| existing.text(path).map(str::to_owned);
    Some(ExternalEtcdFiles {
        ca_pem: text(ETCD_CA)?,
        cert_pem: text("tls/apiserver-etcd-client.crt")?,
        key_pem: text("tls/apiserver-etcd-client.key")?,
    })
}

#[cfg(test)]
mod tests {
    use pki::{Authorities, GivenAuthorities};

    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn node(name: &str, address: &str) -> NodeIdentity {
        NodeIdentity { name: name.to_owned(), addresses: vec![address.parse().unwrap()] }
    }

    fn first() -> AssetTree {
        let config = ClusterConfig::default();
        let authorities = Authorities::complete(GivenAuthorities::default(), &config, now()).unwrap();
        let mut old = AssetTree::default();
        for (path, authority) in [
            ("ca", Some(&authorities.cluster)),
            ("front-proxy-ca", Some(&authorities.front_proxy)),
            ("etcd/ca", authorities.etcd.as_ref()),
        ] {
            let authority = authority.unwrap();
            old.public(format!("tls/{path}.crt"), authority.cert_pem());
            old.private(format!("tls/{path}.key"), authority.key_pem().unwrap());
        }
        old.private(CONFIG_FILE, cluster::yaml::to_string(&config).unwrap());
        old.private(
            "tls/sa.key",
            pki::SigningKeyPair::generate(config.certificates.key_algorithm).unwrap().private_pem,
        );
        old.private("tls/encryption-config.yaml", "kind: EncryptionConfiguration\n");
        for_node(&old, &node("a", "192.0.2.1"), now()).unwrap()
    }

    fn put(root: &Path, tree: &AssetTree) {
        for file in tree.node_files() {
            let to = root.join(file.path.strip_prefix("/").unwrap());
            host::fs::create_dir_all(to.parent().unwrap(), 0o700).unwrap();
            host::fs::write(&to, &file.content, file.mode).unwrap();
        }
    }

    #[test]
    fn what_a_node_has_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let tree = first();
        put(dir.path(), &tree);
        let read = read_node(|path| dir.path().join(path::below_root(path))).unwrap();
        let paths = |tree: &AssetTree| tree.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
        assert_eq!(paths(&read), paths(&tree));
        assert_eq!(read.to_text(), tree.to_text());
        assert!(tree.iter().all(|(path, file)| read.get(path).unwrap().mode == file.mode), "{read:?}");
        // Nothing is issued anew while all is good.
        assert_eq!(for_node(&read, &node("a", "192.0.2.1"), now()).unwrap().to_text(), tree.to_text());
    }

    #[test]
    fn each_user_reads_what_it_needs_and_no_other_s_keys() {
        for file in first().node_files() {
            let of = |group: u32| file.owner == Some((0, group));
            assert_eq!(file.mode, if of(0) { 0o400 } else { 0o440 }, "{file:?}");
            let dir = file.path.to_str().unwrap();
            match dir.rsplit('/').next().unwrap() {
                "ca.key" => assert!(of(0) || of(user::KUBE_CONTROLLER_MANAGER_ID), "{dir}"),
                "etcd-ca.key" | "front-proxy-ca.key" | CONFIG_FILE => assert!(of(0), "{dir}"),
                "sa.key" => assert!(of(user::KUBE_APISERVER_ID) || of(user::KUBE_CONTROLLER_MANAGER_ID)),
                "server.key" | "peer.key" => assert!(of(user::ETCD_ID), "{dir}"),
                _ => {}
            }
        }
    }

    #[test]
    fn another_node_makes_its_own_of_what_is_shared() {
        let first = first();
        let shared = AssetTree::from_text(first.shared().to_text().as_bytes()).unwrap();
        assert!(shared.iter().all(|(path, _)| !path.contains("apiserver.") && !path.starts_with("auth/")));
        let second = for_node(&shared, &node("b", "192.0.2.2"), now()).unwrap();
        let paths = |tree: &AssetTree| tree.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
        assert_eq!(paths(&second), paths(&first));
        for path in ["tls/ca.key", "tls/sa.key", "tls/encryption-config.yaml", "tls/etcd/ca.key"] {
            assert_eq!(second.text(path), first.text(path), "{path}");
        }
        let names = |tree: &AssetTree| {
            let info = pki::inspect(tree.text("tls/apiserver.crt").unwrap()).unwrap();
            info.names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(names(&second).contains(&"192.0.2.2".to_owned()));
        assert!(!names(&second).contains(&"192.0.2.1".to_owned()));
        assert!(second.text(auth::GUARDIAN).unwrap().contains("system:kubestrap:guardian:b"));
    }

    #[test]
    fn what_has_lived_two_thirds_is_issued_anew_and_keys_that_are_made_once_stay() {
        let tree = first();
        let later = now().saturating_add(jiff::SignedDuration::from_hours(24 * 300)).unwrap();
        let renewed = for_node(&tree, &node("a", "192.0.2.1"), later).unwrap();
        let changed: Vec<&str> = renewed
            .iter()
            .filter(|(path, file)| tree.get(path).is_none_or(|old| old.content != file.content))
            .map(|(path, _)| path)
            .collect();
        assert!(changed.contains(&"tls/apiserver.crt") && changed.contains(&auth::GUARDIAN), "{changed:?}");
        assert!(changed.contains(&"tls/scheduler.crt") && changed.contains(&"tls/etcd/peer.crt"));
        for kept in
            ["tls/ca.key", "tls/sa.key", "tls/encryption-config.yaml", "tls/etcd/peer.key", auth::SCHEDULER]
        {
            assert!(!changed.contains(&kept), "{kept}");
        }
    }

    #[test]
    fn what_a_node_has_renewed_is_what_the_next_render_keeps() {
        let old = first();
        let later = now().saturating_add(jiff::SignedDuration::from_hours(24 * 300)).unwrap();
        let renewed = for_node(&old, &node("a", "192.0.2.1"), later).unwrap();
        let used = in_use(old.clone(), &renewed);
        assert_eq!(used.text("tls/apiserver.crt"), renewed.text("tls/apiserver.crt"));
        assert_ne!(used.text("tls/apiserver.crt"), old.text("tls/apiserver.crt"));
        assert_eq!(used.get("tls/sa.key").unwrap().mode, old.get("tls/sa.key").unwrap().mode);
        // Another cluster's.
        let other = first();
        assert_eq!(in_use(old.clone(), &other).to_text(), old.to_text());
    }

    #[test]
    fn what_is_made_once_is_never_made_up() {
        let text = first().shared().to_text();
        for gone in [
            "tls/ca.key",
            "tls/ca.crt",
            "tls/sa.key",
            "tls/encryption-config.yaml",
            "tls/front-proxy-ca.key",
            "tls/etcd/ca.crt",
        ] {
            let tree = AssetTree::from_text(text.replace(gone, "tls/gone").as_bytes()).unwrap();
            let error = for_node(&tree, &node("b", "192.0.2.2"), now()).unwrap_err();
            assert!(matches!(&error, RenderError::Gone { path } if path == gone), "{gone}: {error}");
        }
    }
}
