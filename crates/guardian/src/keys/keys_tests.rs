//! A node with keys, one that asks for them, and between them an API that keeps objects.

use api::Patient;
use assets::AssetTree;
use cluster::ClusterConfig;
use fakes::cluster::{Cluster, Objects};
use jiff::Timestamp;
use names::{label, path, user};
use pki::{GivenAuthorities, NodeIdentity};
use serde_json::{Value, json};

use super::*;
use crate::requests::{DENIED, REQUESTS, condition};

pub(super) fn node(name: &str, address: &str) -> NodeIdentity {
    NodeIdentity { name: name.to_owned(), addresses: vec![address.parse().unwrap()] }
}

/// A node that has keys, and when they were made.
pub(super) fn with_keys() -> (tempfile::TempDir, Keys, Timestamp) {
    let (dir, keys, now, _) = with_keys_of(&ClusterConfig::default());
    (dir, keys, now)
}

/// A node whose authorities' keys are in the asset directory alone, which comes last.
pub(super) fn without_authority_keys() -> (tempfile::TempDir, Keys, Timestamp, AssetTree) {
    let mut config = ClusterConfig::default();
    config.certificates.authority_keys = cluster::AuthorityKeys::Offline;
    with_keys_of(&config)
}

/// Somebody who has the keys answers all that a node asks for.
pub(super) fn answer_all(keys: &Keys, directory: &AssetTree, now: Timestamp) -> usize {
    let requests = host::fs::list(&keys.locate(path::CERTIFICATE_REQUESTS)).unwrap();
    let open: Vec<_> =
        requests.iter().filter(|path| path.extension().is_some_and(|end| end == "csr")).collect();
    for request in &open {
        let (name, csr) = (request.file_stem().unwrap(), host::fs::read_to_string(request).unwrap());
        let answer = assets::answer(directory, name.to_str().unwrap(), &csr, now).unwrap();
        host::fs::write(&request.with_extension("crt"), answer.as_bytes(), 0o644).unwrap();
    }
    open.len()
}

fn with_keys_of(config: &ClusterConfig) -> (tempfile::TempDir, Keys, Timestamp, AssetTree) {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let input = assets::RenderInput {
        node: node("first", "192.0.2.1"),
        given: assets::Given { authorities: GivenAuthorities::default(), external_etcd: None },
        existing: None,
        upstream_dns: true,
        now,
    };
    let keys = Keys::new(dir.path(), dir.path());
    let directory = assets::render(config, input).unwrap();
    keys.put(&directory, &node("first", "192.0.2.1"), now).unwrap();
    with_ca(&keys, &keys);
    (dir, keys, now, directory)
}

/// The CA's certificate as each node's kubelet has it.
fn with_ca(keys: &Keys, of: &Keys) {
    let ca = of.read().unwrap().text("tls/ca.crt").unwrap().to_owned();
    let file = keys.locate(path::CA_CERTIFICATE);
    host::fs::create_dir_all(file.parent().unwrap(), 0o755).unwrap();
    host::fs::write(&file, ca.as_bytes(), 0o644).unwrap();
}

struct World {
    dirs: [tempfile::TempDir; 2],
    first: Keys,
    second: Keys,
    api: Cluster,
}

const SECOND: &str = "/api/v1/nodes/second";

impl World {
    fn new(labelled: bool) -> Self {
        let (first_dir, first, _) = with_keys();
        let second_dir = tempfile::tempdir().unwrap();
        let second = Keys::new(second_dir.path(), second_dir.path());
        with_ca(&second, &first);
        let labels = if labelled { json!({label::CONTROL_PLANE_NODE: ""}) } else { json!({}) };
        let object = json!({"metadata": {"name": "second", "labels": labels}});
        let api = Cluster::new(Objects::from([(SECOND.to_owned(), object)]));
        Self { dirs: [first_dir, second_dir], first, second, api }
    }

    async fn ask(&self) -> Result<Asking, AskError> {
        ask(&Patient::new(self.api.client()), &self.second, &node("second", "192.0.2.2")).await
    }

    /// What the API server adds: who asked.
    fn asked_by(&self, user: &str, groups: &Value) {
        for (path, request) in self.requests() {
            if request["spec"]["username"].is_null() {
                self.api.change(&path, |request| {
                    request["spec"]["username"] = json!(user);
                    request["spec"]["groups"] = groups.clone();
                });
            }
        }
    }

    fn requests(&self) -> Vec<(String, Value)> {
        self.api.objects().into_iter().filter(|(path, _)| path.starts_with(REQUESTS)).collect()
    }

    async fn answer(&self) {
        for (_, request) in self.requests() {
            answer(&Patient::new(self.api.client()), &self.first, &request).await.unwrap();
        }
    }

    fn why_denied(&self) -> String {
        let (_, request) = self.requests().pop().unwrap();
        condition(&request, DENIED).unwrap_or_default().to_owned()
    }
}

fn is_key(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|end| end == "key")
}

fn of_nodes() -> Value {
    json!([user::NODES, "system:authenticated"])
}

#[tokio::test]
async fn a_node_that_has_the_label_gets_the_keys_and_makes_its_own_certificates() {
    let world = World::new(true);
    assert!(!world.second.are_there());
    let Asking::Waiting(request) = world.ask().await.unwrap() else { panic!("nobody has answered") };
    world.asked_by("system:node:second", &of_nodes());
    // Asked again, by a process that knows nothing of the first.
    assert_eq!(world.ask().await.unwrap(), Asking::Waiting(request));
    assert_eq!(world.requests().len(), 1);
    world.answer().await;
    assert_eq!(world.ask().await.unwrap(), Asking::Done);
    assert!(world.second.are_there());
    let (first, second) = (world.first.read().unwrap(), world.second.read().unwrap());
    for kept in ["tls/ca.key", "tls/sa.key", "tls/encryption-config.yaml", "tls/front-proxy-ca.key"] {
        assert_eq!(first.text(kept), second.text(kept), "{kept}");
    }
    let certificate = pki::inspect(second.text("tls/apiserver.crt").unwrap()).unwrap();
    assert!(certificate.names.iter().any(|name| name.to_string() == "192.0.2.2"));
    assert!(world.second.request_key().is_none());
    world.second.remove().unwrap();
    assert!(!world.second.are_there() && world.first.are_there());
    assert_eq!(world.dirs.len(), 2);
}

#[tokio::test]
async fn the_api_sees_no_key() {
    let world = World::new(true);
    world.ask().await.unwrap();
    world.asked_by("system:node:second", &of_nodes());
    world.answer().await;
    let seen = json!(world.api.objects()).to_string();
    assert!(seen.contains("certificate"), "{seen}");
    let tree = world.first.read().unwrap();
    for (name, file) in tree.iter().filter(|(name, _)| is_key(name)) {
        use base64::Engine as _;
        let line = std::str::from_utf8(&file.content).unwrap().lines().nth(1).unwrap();
        let twice = base64::engine::general_purpose::STANDARD.encode(&file.content);
        assert!(!seen.contains(line) && !seen.contains(&twice[..60]), "{name}");
    }
}

#[tokio::test]
async fn nobody_else_gets_them() {
    for (labelled, user, groups, why) in [
        (false, "system:node:second", of_nodes(), "has no label"),
        (true, "system:node:first", of_nodes(), "asks for another node's: second"),
        (true, "system:serviceaccount:kube-system:x", json!(["system:authenticated"]), "is no kubelet"),
        (true, "system:node:second", json!(["system:bootstrappers"]), "is no kubelet"),
        (true, "system:bootstrap:abcdef", json!(["system:bootstrappers"]), "is no kubelet"),
    ] {
        let world = World::new(labelled);
        world.ask().await.unwrap();
        world.asked_by(user, &groups);
        world.answer().await;
        assert!(world.why_denied().contains(why), "{user}: {}", world.why_denied());
        let (_, request) = world.requests().pop().unwrap();
        assert!(request["status"]["certificate"].is_null());
        assert!(matches!(world.ask().await, Err(AskError::Denied { .. })));
        // The next one is another request.
        assert!(matches!(world.ask().await, Ok(Asking::Waiting(_))));
        assert_eq!(world.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_node_that_is_gone_gets_nothing() {
    let world = World::new(true);
    world.ask().await.unwrap();
    world.asked_by("system:node:second", &of_nodes());
    world.api.remove(SECOND);
    world.answer().await;
    assert_eq!(world.why_denied(), "there is no node second");
}

#[tokio::test]
async fn an_answer_for_somebody_else_is_not_taken() {
    let world = World::new(true);
    world.ask().await.unwrap();
    world.asked_by("system:node:second", &of_nodes());
    world.answer().await;
    // A new key: what was sealed for the old one is of no use, and nothing of it is written.
    world.second.forget_request().unwrap();
    let Asking::Waiting(_) = world.ask().await.unwrap() else { panic!("it is another request") };
    let (_, answered) = world.requests().into_iter().find(|(_, r)| !r["status"].is_null()).unwrap();
    for (path, request) in world.requests() {
        if request["status"].is_null() {
            world.api.change(&path, |request| request["status"] = answered["status"].clone());
        }
    }
    assert!(matches!(world.ask().await, Err(AskError::Answer { .. })));
    assert!(!world.second.are_there());
}

#[tokio::test]
async fn two_guardians_answer_once_and_requests_of_others_are_left_alone() {
    let world = World::new(true);
    world.ask().await.unwrap();
    world.asked_by("system:node:second", &of_nodes());
    let (_, stale) = world.requests().pop().unwrap();
    world.answer().await;
    let before = world.requests();
    // The other one saw it before it was answered.
    answer(&Patient::new(world.api.client()), &world.first, &stale).await.unwrap();
    assert_eq!(world.requests(), before);
    let kubelets = json!({"metadata": {"name": "csr-x"},
        "spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet"}});
    world.api.put(&format!("{REQUESTS}/csr-x"), kubelets.clone());
    let asked = world.api.asked().len();
    answer(&Patient::new(world.api.client()), &world.first, &kubelets).await.unwrap();
    assert_eq!(world.api.asked().len(), asked);
}

#[test]
fn the_directory_of_the_audit_log_is_made_where_the_node_s_own_links_lead() {
    let (dir, keys, _) = with_keys();
    let disk = dir.path().join("data");
    host::fs::create_dir_all(&disk, 0o755).unwrap();
    host::fs::create_dir_all(&dir.path().join("var"), 0o755).unwrap();
    host::fs::symlink(std::path::Path::new("/data"), &dir.path().join("var/log")).unwrap();
    // To give it away takes a right that a test may not have.
    let made = keys.make_dirs();
    assert!(disk.join("kubernetes/audit").is_dir(), "{made:?}");
}
