//! After an uninstall a host is as it was before the install, whatever it had of its own, and whatever was killed.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use node::desired::{Desired, ProgramFile, desired};
use node::observe::observe;
use node::plan::{Plan, Remains, Runtime, Stay, Undo, plan, uninstall};
use node::reset::{self, Host};
use node::{NodeConfig, Root, note};
use proptest::prelude::*;

use super::{carry_out, config, facts, files_only, kubeconfig, terms};

/// What every host has.
const PLAIN: [&str; 11] = [
    "/etc/sysctl.d",
    "/etc/modules-load.d",
    "/etc/systemd/system",
    "/etc/ssl",
    "/opt",
    "/proc/sys/net/ipv4",
    "/run",
    "/usr/libexec",
    "/usr/local",
    "/var/lib",
    "/var/log",
];

/// What a host may have of its own where a node has something, each with its content. A content that is the name of a
/// program is that of the bundle's.
const OWN: [(&str, &str); 22] = [
    ("/opt/cni/bin/loopback", "loopback"),
    ("/opt/cni/bin/flannel", "their flannel"),
    ("/opt/cni/bin/cilium-cni", "cilium"),
    ("/etc/cni/net.d/05-cilium.conflist", "{}"),
    ("/etc/crictl.yaml", "runtime-endpoint: unix:///run/crio/crio.sock"),
    ("/usr/local/bin/kubelet", "their kubelet"),
    ("/usr/local/bin/runc", "runc"),
    ("/usr/local/bin/ctr", "their ctr"),
    ("/etc/containerd/config.toml", "version = 2"),
    ("/etc/containerd/conf.d/mine.toml", "version = 3"),
    ("/etc/systemd/system/kubelet.service", "[Unit]\nDescription=theirs\n"),
    ("/etc/sysctl.d/99-kubestrap.conf", "vm.swappiness = 1\n"),
    ("/etc/kubernetes/theirs.conf", "x"),
    ("/etc/kubernetes/manifests/theirs.yaml", "kind: Pod"),
    ("/etc/kubernetes/pki/ca.crt", "another CA"),
    ("/var/lib/kubelet/theirs", "x"),
    ("/var/lib/containerd/theirs", "x"),
    ("/var/lib/cni/networks/theirs/10.0.0.2", "x"),
    ("/var/log/pods/theirs/0.log", "x"),
    ("/var/lib/etcd/lost+found/x", "x"),
    ("/usr/libexec/kubernetes/theirs", "x"),
    ("/var/lib/kubestrap/sandboxes/demo/record.json", "{}"),
];

/// What a node that runs makes beside that.
const RUNNING: [&str; 16] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/manifests/etcd.yaml",
    "/etc/kubernetes/manifests/kubestrap-guardian.yaml",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/kubestrap/guardian/kubeconfig",
    "/var/lib/kubelet/pods/a/volumes/b",
    "/var/lib/kubelet/pki/kubelet-client-2026.pem",
    "/var/lib/containerd/io.containerd.content.v1.content/blob",
    "/run/containerd/containerd.sock.ttrpc",
    "/run/flannel/subnet.env",
    "/var/lib/cni/networks/cbr0/10.244.0.2",
    "/var/log/pods/kube-system_etcd/0.log",
    "/var/lib/etcd/member/wal/0.wal",
    "/etc/cni/net.d/10-flannel.conflist",
    "/opt/cni/bin/flannel",
    "/usr/local/bin/.kubelet.4194999.tmp",
];

/// kubestrap's own directories.
const KUBESTRAPS: [&str; 3] = [
    "/var/lib/kubestrap/assets/tls/ca.key",
    "/var/lib/kubestrap/checkpoints/kube-apiserver/1/pod.yaml",
    "/var/lib/kubestrap/upgrade/before.json",
];

/// A host: which of [`OWN`] it has, and how.
#[derive(Debug, Clone)]
struct Given {
    own: Vec<Own>,
    existing_containerd: bool,
    ip_forward: bool,
    /// Whether the install was ended, and the node ran.
    ended: bool,
    /// After how many hundredths of it install and uninstall are killed.
    kills: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    No,
    Is(u32),
    Link,
}

fn given() -> impl Strategy<Value = Given> {
    let own = prop_oneof![
        4 => Just(Own::No),
        2 => prop_oneof![Just(0o644), Just(0o755), Just(0o700)].prop_map(Own::Is),
        1 => Just(Own::Link),
    ];
    let all = prop::collection::vec(own, OWN.len());
    let kills = prop::collection::vec(0..100_usize, 0..3);
    (all, any::<[bool; 3]>(), kills).prop_map(|(own, [existing_containerd, ip_forward, unended], kills)| {
        Given { own, existing_containerd, ip_forward, ended: !unended, kills }
    })
}

/// The bundle's programs, with the one that flannel's pods write again.
fn bundled() -> Vec<ProgramFile> {
    let flannel = ProgramFile { name: "flannel".to_owned(), digest: node::sha256_hex(b"flannel") };
    super::programs().into_iter().chain([flannel]).collect()
}

fn write(root: &Root, path: &str, text: &str, mode: u32) {
    let path = root.path(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    host::fs::write(&path, text.as_bytes(), mode).unwrap();
}

fn furnish(root: &Root, given: &Given) {
    for dir in PLAIN {
        std::fs::create_dir_all(root.path(dir)).unwrap();
    }
    write(root, "/proc/sys/net/ipv4/ip_forward", if given.ip_forward { "1\n" } else { "0\n" }, 0o644);
    for ((path, content), own) in OWN.iter().zip(&given.own) {
        match own {
            Own::No => {}
            Own::Is(mode) => write(root, path, content, *mode),
            Own::Link => {
                write(root, &format!("/opt/theirs/{path}"), content, 0o755);
                std::fs::create_dir_all(root.path(path).parent().unwrap()).unwrap();
                symlink(root.path(format!("/opt/theirs/{path}")), root.path(path)).unwrap();
            }
        }
    }
}

/// Everything below a directory: mode, and content or where a link leads.
fn listing(dir: &Path, found: &mut BTreeMap<String, (u32, String)>) {
    for path in host::fs::list(dir).unwrap() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            std::fs::read_link(&path).unwrap().display().to_string()
        } else if metadata.is_dir() {
            listing(&path, found);
            String::new()
        } else {
            std::fs::read_to_string(&path).unwrap()
        };
        found.insert(path.display().to_string(), (metadata.permissions().mode(), content.trim().to_owned()));
    }
}

fn all(root: &Root) -> BTreeMap<String, (u32, String)> {
    let mut found = BTreeMap::new();
    listing(&root.path("/"), &mut found);
    found
}

/// Those steps that concern no more than files.
fn undo_files_only(actions: Vec<Undo>) -> Vec<Undo> {
    let of_machine = |action: &Undo| {
        matches!(
            action,
            Undo::StopUnit { .. }
                | Undo::StartUnit { .. }
                | Undo::EnableUnit { .. }
                | Undo::ReloadUnits
                | Undo::RemovePods
                | Undo::RemoveInterface { .. }
                | Undo::RemoveRules { .. }
        )
    };
    actions.into_iter().filter(|action| !of_machine(action)).collect()
}

/// The first `percent` hundredths.
fn part<T: Clone>(all: &[T], percent: usize) -> Vec<T> {
    all[..all.len() * percent / 100].to_vec()
}

async fn half_installed(root: &Root, wanted: &Desired, kills: &[usize]) {
    for percent in kills {
        let todo = files_only(plan(wanted, &observe(root, wanted)));
        carry_out(root, &Plan { actions: part(&todo.actions, *percent) }).await;
    }
}

async fn installed(root: &Root, wanted: &Desired) {
    let todo = || files_only(plan(wanted, &observe(root, wanted)));
    carry_out(root, &todo()).await;
    assert!(todo().is_empty(), "an install that is done has nothing to do");
}

fn running(root: &Root, node: &NodeConfig) {
    let is_host_s = |path: &&&str| node.existing_containerd && path.contains("containerd");
    for path in RUNNING.iter().chain(&KUBESTRAPS).filter(|path| !is_host_s(path)) {
        write(root, path, "made by the node", 0o600);
    }
}

async fn removed(root: &Root, kills: &[usize]) {
    for percent in kills.iter().map(Some).chain([None]) {
        let Host::Ours(record) = reset::whose(root).unwrap() else { break };
        let remains = reset::look(root, &record, vec![names::path::ASSETS.to_owned()]).await;
        let actions = undo_files_only(uninstall(&record, &remains).actions);
        let actions = percent.map_or(actions.clone(), |percent| part(&actions, *percent));
        let errors = reset::execute(root, &actions, |_| ()).await;
        assert!(errors.is_empty(), "{errors:?}");
    }
    assert!(!matches!(reset::whose(root).unwrap(), Host::Ours(_)));
}

/// Where a disk need not be waited for, on hosts that have such a place.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn check(given: &Given) {
    let dir = quick_dir();
    let root = Root::below(dir.path());
    furnish(&root, given);
    let authority = pki::Authority::generate("kubernetes", terms()).unwrap();
    let mut node = config(authority.cert_pem(), &kubeconfig(&authority));
    node.existing_containerd = given.existing_containerd;
    let wanted = desired(&facts(), &node, &bundled()).unwrap();
    let (before, observed) = (all(&root), observe(&root, &wanted));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        half_installed(&root, &wanted, &given.kills).await;
        if given.ended {
            installed(&root, &wanted).await;
            running(&root, &node);
        }
        removed(&root, &given.kills).await;
    });
    assert_eq!(observe(&root, &wanted), observed);
    assert_eq!(all(&root), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn an_uninstall_leaves_the_host_as_it_was(given in given()) {
        check(&given);
    }
}

#[test]
fn a_bare_host_is_bare_again() {
    let own = vec![Own::No; OWN.len()];
    check(&Given { own, existing_containerd: false, ip_forward: false, ended: true, kills: Vec::new() });
}

/// A node with two kinds of things of others in its directories.
fn node_with_guests(dir: &Path) -> (Root, Desired) {
    let root = Root::below(dir);
    let own = OWN.map(|(path, _)| if path.contains("cilium") { Own::Is(0o755) } else { Own::No }).to_vec();
    furnish(
        &root,
        &Given { own, existing_containerd: false, ip_forward: true, ended: true, kills: Vec::new() },
    );
    let authority = pki::Authority::generate("kubernetes", terms()).unwrap();
    let node = config(authority.cert_pem(), &kubeconfig(&authority));
    let wanted = desired(&facts(), &node, &bundled()).unwrap();
    (root, wanted)
}

#[tokio::test]
async fn what_others_brought_later_or_changed_stays_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (root, wanted) = node_with_guests(dir.path());
    installed(&root, &wanted).await;
    write(&root, "/usr/local/bin/runc", "a newer one, by hand", 0o755);
    write(&root, "/etc/containerd/certs.d/hosts.toml", "x", 0o644);
    let Host::Ours(record) = reset::whose(&root).unwrap() else { panic!("no record") };
    let remains = reset::look(&root, &record, vec![names::path::ASSETS.to_owned()]).await;
    let plan = uninstall(&record, &remains);
    let stays: Vec<_> = plan.stays.iter().map(|stay| format!("{}: {}", stay.what, stay.why)).collect();
    assert_eq!(
        stays,
        [
            "/usr/local/bin/runc: it is not what kubestrap put there",
            "/etc/containerd/certs.d: kubestrap did not make it",
        ]
    );
    assert!(reset::execute(&root, &undo_files_only(plan.actions), |_| ()).await.is_empty());
    for path in ["/usr/local/bin/runc", "/etc/containerd/certs.d/hosts.toml", "/opt/cni/bin/cilium-cni"] {
        assert!(root.path(path).exists(), "{path}");
    }
    assert!(!root.path("/usr/local/bin/kubelet").exists());
}

/// The order of what is the machine's own: a model, for it cannot be done here.
#[test]
fn first_nobody_starts_anything_then_nothing_runs_then_all_goes_and_the_record_last() {
    let dir = tempfile::tempdir().unwrap();
    let (root, wanted) = node_with_guests(dir.path());
    let mut before = observe(&root, &wanted);
    before.units =
        [("containerd.service".to_owned(), node::observe::UnitState { enabled: true, ..Default::default() })]
            .into();
    let record = note::extended(&wanted, &before);
    let running = super::fulfilled(&wanted);
    let remains = Remains {
        files: running.files,
        trees: [("/var/lib/kubelet".to_owned(), ["pods".to_owned()].into())].into(),
        units: running.units,
        runtime: Runtime::Answers { pods: 9 },
        mounts: ["/var/lib/kubelet/pods/a/volumes/token".to_owned()].into(),
        interfaces: ["cni0".to_owned(), "eth0".to_owned()].into(),
        rules: vec!["nft".to_owned()],
        own: vec!["/var/lib/kubestrap/assets".to_owned()],
        users: vec![Stay { what: "/var/lib/kubestrap/backups".to_owned(), why: "yours".to_owned() }],
        ..Remains::default()
    };
    let plan = uninstall(&record, &remains);
    let shown: Vec<_> = plan.actions.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("uninstall", shown.join("\n"));
    // A runtime that hangs is started for it: what it has would run on without anybody to end it.
    let silent = uninstall(&record, &Remains { runtime: Runtime::Silent, ..remains });
    let start = Undo::StartUnit { unit: "containerd.service".to_owned() };
    assert_eq!(silent.actions[1..3], [start, Undo::RemovePods]);
}
