//! The rendered tree: it holds together, is written safely, and a second render keeps its secrets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use assets::{AssetDir, AssetTree, ChangeKind, Given, RenderInput, TreeError, render, static_pod_problems};
use common::{config, input, rendered};
use host::command::Command;
use pki::{Authority, GivenAuthorities, Terms};
use serde_json::Value;

fn is_key(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "key")
}

fn again(dir: &Path) -> RenderInput {
    RenderInput { existing: AssetTree::read(dir).unwrap(), ..input() }
}

#[test]
fn a_second_render_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config();
    render(&config, input()).unwrap().write(dir.path()).unwrap();
    let later =
        RenderInput { now: common::now() + jiff::SignedDuration::from_hours(20), ..again(dir.path()) };
    assert_eq!(render(&config, later).unwrap().diff(dir.path()).unwrap(), []);
}

#[test]
fn aged_certificates_are_made_anew_and_authorities_stay() {
    let dir = tempfile::tempdir().unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    let later =
        RenderInput { now: common::now() + jiff::SignedDuration::from_hours(300 * 24), ..again(dir.path()) };
    let changes = render(&config(), later).unwrap().diff(dir.path()).unwrap();
    let paths: BTreeSet<&str> = changes.iter().map(|c| c.path.as_str()).collect();
    for path in ["tls/apiserver.crt", "auth/kubeconfig", "tls/etcd/peer.crt"] {
        assert!(paths.contains(path), "{path} should change: {paths:?}");
    }
    // Between a new certificate and its new key somebody would read both.
    let keys = paths.iter().filter(|path| is_key(path)).collect::<Vec<_>>();
    assert!(keys.is_empty(), "{keys:?}");
    for path in ["tls/ca.crt", "tls/encryption-config.yaml"] {
        assert!(!paths.contains(path), "{path} should stay");
    }
}

#[test]
fn another_address_changes_only_what_names_it() {
    let dir = tempfile::tempdir().unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    let mut config = config();
    config.api.extra_sans.push("api.example.com".parse().unwrap());
    let changes = render(&config, again(dir.path())).unwrap().diff(dir.path()).unwrap();
    let paths: Vec<&str> = changes.iter().map(|c| c.path.as_str()).collect();
    let expected = ["kubestrap.yaml", "tls/apiserver.crt"];
    assert_eq!(paths, expected);
    assert!(changes.iter().all(|c| c.kind == ChangeKind::Change));
    // Nothing secret is shown.
    assert!(changes.iter().filter(|c| c.path != "tls/apiserver.crt").all(|c| c.diff.is_none()));
}

#[test]
fn given_authorities_sign_everything() {
    let terms = Terms {
        algorithm: cluster::KeyAlgorithm::EcdsaP384,
        validity: std::time::Duration::from_hours(24 * 30),
        now: common::now(),
    };
    let authority = |name| Authority::generate(name, terms).unwrap();
    let (ca, etcd) = (authority("given"), authority("given-etcd"));
    let (ca_pem, etcd_pem) = (ca.cert_pem().to_owned(), etcd.cert_pem().to_owned());
    let given = Given {
        authorities: GivenAuthorities { cluster: Some(ca), front_proxy: None, etcd: Some(etcd) },
        external_etcd: None,
    };
    let tree = render(&config(), RenderInput { given, ..input() }).unwrap();
    assert_eq!(tree.text("tls/ca.crt"), Some(ca_pem.as_str()));
    for (cert, signer) in [("tls/apiserver.crt", &ca_pem), ("tls/etcd/server.crt", &etcd_pem)] {
        pki::check_chain(tree.text(cert).unwrap(), signer).unwrap();
    }
}

#[test]
fn an_authority_without_its_key_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    host::fs::remove_file(&dir.path().join("tls/ca.key")).unwrap();
    let error = render(&config(), again(dir.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tls/ca.key is missing in the asset directory, and its certificate is there"
    );
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    host::fs::write(&dir.path().join("precious"), b"x", 0o644).unwrap();
    let error = rendered(&config()).write(dir.path()).unwrap_err();
    assert!(matches!(error, TreeError::NotOurs { .. }), "{error}");
    assert_eq!(host::fs::list(dir.path()).unwrap(), [dir.path().join("precious")]);
}

#[test]
fn a_render_that_was_killed_half_way_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    host::fs::create_dir_all(&dir.path().join(".rendering/tls"), 0o700).unwrap();
    host::fs::write(&dir.path().join(".rendering/tls/ca.key"), b"half", 0o600).unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    assert!(!dir.path().join(".rendering").exists());
}

#[test]
fn files_of_an_earlier_config_go_and_the_operator_s_own_stay() {
    let dir = tempfile::tempdir().unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    let own = dir.path().join("manifests/my-storage.yaml");
    host::fs::write(&own, b"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n", 0o644).unwrap();
    let mut config = config();
    config.network.provider = cluster::NetworkProvider::None;
    let tree = render(&config, again(dir.path())).unwrap();
    let changes = tree.diff(dir.path()).unwrap();
    assert!(changes.iter().any(|c| c.path == "manifests/flannel.yaml" && c.kind == ChangeKind::Remove));
    tree.write(dir.path()).unwrap();
    assert!(own.exists());
    assert!(!dir.path().join("manifests/flannel.yaml").exists());
}

#[test]
fn private_keys_and_tokens_are_for_their_owner_only() {
    for (path, file) in rendered(&config()).iter() {
        let text = std::str::from_utf8(&file.content).unwrap();
        let secret = ["PRIVATE KEY", "client-key-data", "token:", "kind: Secret", "secretbox:"];
        let is_secret = secret.iter().any(|mark| text.contains(mark)) && !path.ends_with("audit-policy.yaml");
        assert_eq!(file.is_private(), is_secret || path == "kubestrap.yaml", "{path}");
    }
}

/// A file system with little room, unmounted at the end of the test however it ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "assets-test", path]).run().unwrap();
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0.path()).run().unwrap();
    }
}

#[test]
fn a_full_disk_costs_no_file() {
    let disk = SmallDisk::new();
    let dir = disk.0.path().join("assets");
    rendered(&config()).write(&dir).unwrap();
    let before = AssetTree::read(&dir).unwrap();
    // Something else fills the disk.
    let filler = disk.0.path().join("filler");
    let mut size = 512 * 1024;
    while host::fs::write(&filler, &vec![0; size], 0o644).is_err() {
        size -= 4096;
    }
    let mut config = config();
    config.cluster_name = "another".parse().unwrap();
    let error = render(&config, again(&dir)).unwrap().write(&dir).unwrap_err();
    assert!(matches!(&error, TreeError::Fs(e) if e.is_disk_full()), "{error:?}");
    assert_eq!(AssetTree::read(&dir).unwrap(), before);
    assert!(!dir.join(".rendering").exists());
}

fn written() -> (tempfile::TempDir, AssetDir) {
    let dir = tempfile::tempdir().unwrap();
    rendered(&config()).write(dir.path()).unwrap();
    let assets = AssetDir::read(dir.path()).unwrap();
    (dir, assets)
}

#[test]
fn every_static_pod_is_one_that_a_kubelet_takes() {
    let (_dir, assets) = written();
    let pods: Vec<_> = assets.bootstrap_pods().iter().chain(assets.static_pods()).collect();
    assert_eq!(pods.len(), 4);
    for pod in pods {
        assert_eq!(static_pod_problems(&pod.object.value), Vec::<String>::new(), "{}", pod.file_name);
    }
}

/// The object of that kind and name.
fn object<'a>(assets: &'a AssetDir, kind: &str, name: &str) -> &'a Value {
    &assets.objects().iter().find(|o| o.kind() == kind && o.name() == name).unwrap().value
}

/// The guardian's static pod, as its installer finds it.
fn guardian_pod(assets: &AssetDir) -> Value {
    let text = &object(assets, "ConfigMap", "kubestrap-guardian")["data"]["kubestrap-guardian.yaml"];
    assets::parse_documents(text.as_str().unwrap()).unwrap().remove(0).value
}

#[test]
fn the_guardian_s_static_pod_is_one_that_a_kubelet_takes() {
    let (_dir, assets) = written();
    let pod = guardian_pod(&assets);
    assert_eq!(static_pod_problems(&pod), Vec::<String>::new());
    // Where the kubelet knows no PriorityClass only the number counts.
    assert_eq!(pod["spec"]["priority"], 2_000_001_000);
    assert_eq!(pod["spec"]["containers"][0]["image"], "IMAGE");
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"][0], "ALL");
}

#[test]
fn the_guardian_is_installed_where_it_looks_for_its_files() {
    let (_dir, assets) = written();
    let installer = &assets.guardian().unwrap().value["spec"]["template"]["spec"];
    let guardian = &guardian_pod(&assets)["spec"];
    let host_path = |spec: &Value, volume: &str| {
        let volumes = spec["volumes"].as_array().unwrap();
        volumes.iter().find(|v| v["name"] == volume).unwrap()["hostPath"]["path"].as_str().unwrap().to_owned()
    };
    // The installer has all of it mounted where it lies.
    assert_eq!(host_path(installer, "kubernetes"), names::path::KUBERNETES);
    for path in [host_path(guardian, "keys"), host_path(guardian, "static-pods")] {
        assert!(Path::new(&path).starts_with(names::path::KUBERNETES), "{path}");
    }
    let kubeconfig = format!("--kubeconfig={}/kubeconfig", names::path::GUARDIAN_CREDENTIALS);
    assert!(guardian["containers"][0]["args"].as_array().unwrap().contains(&kubeconfig.into()));
}

#[test]
fn the_guardian_may_read_no_secret() {
    let (_dir, assets) = written();
    for kind in ["Role", "ClusterRole"] {
        for rule in object(&assets, kind, "kubestrap:guardian")["rules"].as_array().unwrap() {
            let resources = rule["resources"].as_array().unwrap();
            let open = ["secrets", "configmaps", "*"].map(Value::from);
            assert!(!resources.iter().any(|resource| open.contains(resource)), "{rule}");
        }
    }
}

/// The arguments of a pod's only container that begin with a path's folder.
fn mentioned(spec: &Value, folder: &str) -> BTreeSet<String> {
    let args = spec["containers"][0]["args"].as_array().unwrap();
    let paths = args.iter().filter_map(|arg| arg.as_str()?.split_once('=')?.1.strip_prefix(folder));
    paths.map(str::to_owned).collect()
}

#[test]
fn every_file_that_a_flag_names_is_there() {
    let (_dir, assets) = written();
    let temporary = assets.temporary_kubeconfig(None, common::now()).unwrap();
    let secrets = assets.bootstrap_secrets().unwrap();
    let staged: BTreeSet<String> = secrets
        .iter()
        .chain(&temporary)
        .map(|f| f.path.strip_prefix(names::path::BOOTSTRAP_SECRETS).unwrap().to_str().unwrap().to_owned())
        .collect();
    for pod in assets.bootstrap_pods() {
        let wanted = mentioned(&pod.object.value["spec"], "/etc/kubernetes/secrets/");
        assert!(!wanted.is_empty() && wanted.is_subset(&staged), "{}: {wanted:?}", pod.file_name);
    }
    for (kind, name) in [
        ("DaemonSet", "kube-apiserver"),
        ("Deployment", "kube-controller-manager"),
        ("Deployment", "kube-scheduler"),
    ] {
        let spec = &object(&assets, kind, name)["spec"]["template"]["spec"];
        let dir = spec["volumes"][0]["hostPath"]["path"].as_str().unwrap();
        let user = u32::try_from(spec["securityContext"]["runAsUser"].as_u64().unwrap()).unwrap();
        let files = assets.node_files().unwrap();
        let own = files.iter().filter(|file| file.path.starts_with(dir));
        let mounted: BTreeSet<String> = own
            .inspect(|file| assert_eq!((file.owner, file.mode), (Some((0, user)), 0o440), "{file:?}"))
            .map(|file| file.path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned())
            .collect();
        let wanted = mentioned(spec, "/etc/kubernetes/secrets/");
        assert!(!wanted.is_empty() && wanted.is_subset(&mounted), "{name}: {wanted:?} in {mounted:?}");
        assert!(spec["containers"][0].get("ports").is_none(), "{name} would conflict with itself");
        assert_eq!(spec["securityContext"]["runAsGroup"], user);
        let annotations = &object(&assets, kind, name)["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["kubestrap.io/checkpoint"], "true");
    }
}

#[test]
fn no_key_is_staged_that_no_temporary_pod_needs() {
    let (_dir, assets) = written();
    let files = assets.bootstrap_secrets().unwrap();
    for name in
        ["etcd/server.key", "etcd/ca.key", "front-proxy-ca.key", "kubeconfig-super-admin", "kubeconfig"]
    {
        assert!(
            !files.iter().any(|f| f.path == Path::new(names::path::BOOTSTRAP_SECRETS).join(name)),
            "{name}"
        );
    }
}

/// Whoever gets the temporary control plane's credential is of a group whose rights nobody can take back.
#[test]
fn what_the_temporary_control_plane_shows_is_good_for_an_hour() {
    let (dir, assets) = written();
    let made = |staged: Option<&str>, minutes: i64| {
        let now = common::now() + jiff::SignedDuration::from_mins(minutes);
        let file = assets.temporary_kubeconfig(staged.map(str::to_owned), now).unwrap().unwrap();
        String::from_utf8(file.content).unwrap()
    };
    let first = made(None, 0);
    let config: Value =
        serde_json::to_value(assets::parse_documents(&first).unwrap()[0].value.clone()).unwrap();
    let data = config["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
    let pem = Command::new("base64").args(["-d"]).stdin(data).run().unwrap().text();
    let info = pki::inspect(&pem).unwrap();
    assert_eq!(info.organizations, [names::user::MASTERS]);
    assert_eq!(info.not_after, common::now() + jiff::SignedDuration::from_hours(1));
    // A `start` that was killed goes on with what it staged, for as long as that lasts.
    assert_eq!(made(Some(&first), 30), first);
    assert_ne!(made(Some(&first), 50), first);
    assert_ne!(made(Some("nonsense"), 0), first);
    // It needs the authority's key, and is in no asset directory.
    let all = AssetTree::read(dir.path()).unwrap().unwrap();
    assert!(all.get("auth/kubeconfig-bootstrap").is_none());
    std::fs::remove_file(dir.path().join("tls/ca.key")).unwrap();
    let error = assets.temporary_kubeconfig(None, common::now()).unwrap_err();
    assert!(error.to_string().contains("tls/ca.key"), "{error}");
}

/// Who reads every object of the cluster learns no key.
#[test]
fn no_private_key_is_among_the_objects() {
    let (dir, assets) = written();
    assert!(assets.objects().iter().all(|object| object.kind() != "Secret"));
    let tree = AssetTree::read(dir.path()).unwrap().unwrap();
    let manifests: Vec<&str> = tree
        .iter()
        .filter(|(path, _)| path.starts_with("manifests/"))
        .filter_map(|(path, _)| tree.text(path))
        .collect();
    assert!(manifests.len() > 8);
    let mut keys = 0;
    for (path, file) in tree.iter().filter(|(path, file)| file.is_private() && *path != "kubestrap.yaml") {
        let text = std::str::from_utf8(&file.content).unwrap();
        let secret = |line: &&str| {
            let in_key = is_key(path) && line.len() > 40;
            in_key || ["client-key-data:", "secret:"].iter().any(|field| line.contains(field))
        };
        let lines = text.lines().map(str::trim).filter(secret);
        let words: Vec<&str> = lines.filter_map(|line| line.rsplit(' ').next()).collect();
        keys += words.len();
        for word in words {
            assert!(!manifests.iter().any(|manifest| manifest.contains(word)), "{path}: {word}");
        }
    }
    assert!(keys > 20, "{keys}");
}

#[test]
fn a_node_without_an_address_of_the_first_family_is_refused() {
    let mut input = input();
    input.node.addresses = vec![IpAddr::from([0u16; 8])];
    let error = render(&config(), input).unwrap_err();
    assert!(error.to_string().contains("no IPv4 address"), "{error}");
}
