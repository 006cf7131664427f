//! The Secrets that carry the control plane's credentials into the cluster, so that a label is enough
//! to make a node a control-plane node.

use base64::Engine as _;
use cluster::BootstrapToken;
use jiff::Timestamp;
use names::{component, object};

use crate::paths::auth;
use crate::tree::AssetTree;

/// What kube-apiserver reads: the key in the Secret, and the file's path, the same under `tls/` and
/// where it is mounted. A key cannot have a slash.
const APISERVER: [(&str, &str); 14] = [
    ("apiserver-etcd-client.crt", "apiserver-etcd-client.crt"),
    ("apiserver-etcd-client.key", "apiserver-etcd-client.key"),
    ("apiserver-kubelet-client.crt", "apiserver-kubelet-client.crt"),
    ("apiserver-kubelet-client.key", "apiserver-kubelet-client.key"),
    ("apiserver.crt", "apiserver.crt"),
    ("apiserver.key", "apiserver.key"),
    ("ca.crt", "ca.crt"),
    ("encryption-config.yaml", "encryption-config.yaml"),
    ("etcd-ca.crt", "etcd/ca.crt"),
    ("front-proxy-ca.crt", "front-proxy-ca.crt"),
    ("front-proxy-client.crt", "front-proxy-client.crt"),
    ("front-proxy-client.key", "front-proxy-client.key"),
    ("sa.key", "sa.key"),
    ("sa.pub", "sa.pub"),
];

/// A Secret of kube-system.
#[derive(Debug)]
pub(crate) struct Secret {
    name: String,
    comment: &'static str,
    kind: &'static str,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    path: String,
    content: Vec<u8>,
}

impl Secret {
    pub(crate) fn apiserver(tree: &AssetTree) -> Self {
        let files = APISERVER.iter().map(|(key, path)| (*key, *path, format!("tls/{path}")));
        Self::of(tree, component::KUBE_APISERVER, files)
    }

    pub(crate) fn controller_manager(tree: &AssetTree) -> Self {
        let tls = ["ca.crt", "ca.key", "front-proxy-ca.crt", "sa.key"];
        let files = tls.map(|name| (name, name, format!("tls/{name}")));
        let kubeconfig = ("kubeconfig", "kubeconfig", auth::CONTROLLER_MANAGER.to_owned());
        Self::of(tree, component::KUBE_CONTROLLER_MANAGER, files.into_iter().chain([kubeconfig]))
    }

    pub(crate) fn scheduler(tree: &AssetTree) -> Self {
        let kubeconfig = ("kubeconfig", "kubeconfig", auth::SCHEDULER.to_owned());
        Self::of(tree, component::KUBE_SCHEDULER, [kubeconfig].into_iter())
    }

    pub(crate) fn guardian(tree: &AssetTree) -> Self {
        let kubeconfig = ("kubeconfig", "kubeconfig", auth::GUARDIAN.to_owned());
        Self::of(tree, object::GUARDIAN, [kubeconfig].into_iter())
    }

    pub(crate) fn bootstrap_token(token: &BootstrapToken, expires: Timestamp) -> Self {
        let entry = |key: &str, value: &str| Entry {
            key: key.to_owned(),
            path: key.to_owned(),
            content: value.as_bytes().to_vec(),
        };
        Self {
            name: format!("{}{}", object::BOOTSTRAP_TOKEN_PREFIX, token.id()),
            comment: "The token with which nodes join. The controller-manager removes it when it has expired.",
            kind: object::BOOTSTRAP_TOKEN_TYPE,
            entries: vec![
                entry("auth-extra-groups", names::user::JOINING_NODES),
                entry("description", "Made by kubestrap render."),
                entry("expiration", &expires.to_string()),
                entry("token-id", token.id()),
                entry("token-secret", token.secret()),
                entry("usage-bootstrap-authentication", "true"),
                entry("usage-bootstrap-signing", "true"),
            ],
        }
    }

    /// The files that the tree has, under their keys.
    fn of<'a>(tree: &AssetTree, name: &str, files: impl Iterator<Item = (&'a str, &'a str, String)>) -> Self {
        let entry = |(key, path, file): (&str, &str, String)| {
            let content = tree.get(&file)?.content.clone();
            Some(Entry { key: key.to_owned(), path: path.to_owned(), content })
        };
        Self {
            name: name.to_owned(),
            comment: "Credentials from tls/ and auth/, as the pods mount them.",
            kind: "Opaque",
            entries: files.filter_map(entry).collect(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The `items` of a volume that mounts the Secret.
    pub(crate) fn items(&self) -> String {
        let lines = self.entries.iter().map(|e| format!("- key: {}\n  path: {}", e.key, e.path));
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn to_yaml(&self) -> String {
        let base64 = |content: &[u8]| base64::engine::general_purpose::STANDARD.encode(content);
        let data = self.entries.iter().map(|e| format!("  {}: {}", e.key, base64(&e.content)));
        let data = data.collect::<Vec<_>>().join("\n");
        let Self { name, comment, kind, .. } = self;
        let namespace = object::KUBE_SYSTEM;
        format!(
            "# {comment}\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
             type: {kind}\ndata:\n{data}\n"
        )
    }
}
