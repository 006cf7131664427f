use super::*;
use crate::facts::{Addresses, Sandbox};

fn facts() -> Facts {
    Facts::example("a")
}

fn input() -> HostInput<'static> {
    HostInput::example()
}

fn problems(checks: &[Check]) -> Vec<String> {
    checks.iter().filter(|c| c.is_problem()).map(ToString::to_string).collect()
}

#[test]
fn a_good_host_passes_every_check() {
    assert_eq!(problems(&of_facts(&facts(), &input())), Vec::<String>::new());
}

#[test]
fn everything_wrong_is_named_at_once() {
    let bad = Facts {
        addresses: Addresses::default(),
        cgroup_controllers: vec!["cpu".to_owned()],
        systemctl: false,
        root: false,
        overlayfs: false,
        cpus: 1,
        memory_mib: 1000,
        swap: true,
        resolv_conf_empty: true,
        free_bytes: 1 << 20,
        ..facts()
    };
    let input = HostInput { node_name: "Not_A_Name", kubelet_version: "v1.38.0", ..input() };
    insta::assert_snapshot!(problems(&of_facts(&bad, &input)).join("\n"));
}

#[test]
fn a_worker_may_be_small_and_a_sandbox_on_cgroup_v1() {
    let v1 = ["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"].map(str::to_owned).to_vec();
    let sandbox = Some(Sandbox { cgroup_root: Some("/demo".to_owned()) });
    let facts = Facts {
        cpus: 1,
        memory_mib: 512,
        cgroup_version: CgroupVersion::V1,
        cgroup_controllers: v1,
        sandbox,
        ..facts()
    };
    let input = HostInput { control_plane: false, ..input() };
    assert_eq!(problems(&of_facts(&facts, &input)), Vec::<String>::new());
}

#[test]
fn every_port_that_the_node_needs_is_looked_at() {
    let numbers = |input: &HostInput<'_>| {
        let mut numbers: Vec<u16> = wanted_ports(input).into_iter().map(|(port, _)| port).collect();
        numbers.sort_unstable();
        numbers
    };
    let all = [2379, 2380, 2381, 6443, 10248, 10249, 10250, 10256, 10257, 10259];
    assert_eq!(numbers(&input()), all);
    let worker = HostInput { control_plane: false, local_etcd: false, ..input() };
    assert_eq!(numbers(&worker), [10248, 10249, 10250, 10256]);
    let without = HostInput { kube_proxy: false, local_etcd: false, api_port: 7443, ..input() };
    assert_eq!(numbers(&without), [7443, 10248, 10250, 10257, 10259]);
}

#[test]
fn a_wrong_clock_is_found() {
    assert!(clock(std::time::UNIX_EPOCH).is_failure());
    assert!(!clock(std::time::SystemTime::now()).is_failure());
}

#[test]
fn a_kubelet_may_be_three_minors_older_and_never_newer() {
    let check = |kubelet| kubelet_version(&HostInput { kubelet_version: kubelet, ..input() });
    assert!(!check("v1.34.9").is_failure());
    assert!(check("v1.33.0").is_failure());
    assert!(check("v1.38.0").is_failure());
    assert_eq!(check("newest").result, checks::Outcome::Unknown);
}

#[test]
fn files_of_others_are_never_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::below(dir.path());
    assert_eq!(problems(&foreign_files(&root, &input())), Vec::<String>::new());
    let write = |path: &str, text: &str| {
        let path = root.path(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
    };
    write("/etc/containerd/config.toml", "version = 2\n");
    write("/etc/systemd/system/kubelet.service", "[Unit]\n");
    write("/etc/kubernetes/pki/ca.crt", "theirs\n");
    write("/etc/kubernetes/manifests/kube-apiserver.yaml", "kind: Pod\n");
    write("/var/lib/etcd/member/snap/db", "data");
    let input = HostInput { ca: Some("ours\n"), ..input() };
    insta::assert_snapshot!(problems(&foreign_files(&root, &input)).join("\n"));
}

#[test]
fn files_of_the_same_cluster_are_ours() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::below(dir.path());
    let write = |path: &str, text: &str| {
        let path = root.path(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, text.as_bytes(), 0o644).unwrap();
    };
    write("/etc/containerd/config.toml", &crate::containerd::config(&facts(), "pause"));
    write("/etc/systemd/system/containerd.service", &crate::containerd::unit(&facts(), "x").text);
    write("/etc/kubernetes/pki/ca.crt", "ours\n");
    write("/etc/kubernetes/manifests/etcd.yaml", "kind: Pod\n");
    write("/var/lib/etcd/member/snap/db", "data");
    let ours = HostInput { ca: Some("ours"), ..input() };
    assert_eq!(problems(&foreign_files(&root, &ours)), Vec::<String>::new());
    // A new asset directory would be another cluster.
    assert_eq!(problems(&foreign_files(&root, &input())).len(), 3);
}

#[test]
fn an_old_containerd_is_refused() {
    let version =
        |v: &str| Version { runtime: "containerd".to_owned(), version: v.to_owned(), api: "v1".to_owned() };
    assert!(!runtime_version(&version("v2.4.2"), true).is_failure());
    let check = runtime_version(&version("1.6.20"), false);
    assert!(check.is_failure());
    assert!(check.to_string().contains("containerd 1.6.20 lacks the CRI call RuntimeConfig"), "{check}");
}

#[test]
fn a_name_that_no_node_can_have_is_refused_with_the_reason() {
    let said = |name: &str| {
        let input = HostInput { node_name: name, ..input() };
        problems(&of_facts(&facts(), &input)).join("\n")
    };
    let long = format!("{}.org", "n".repeat(60));
    for name in ["a", "a-1.example.org", "localhosts", &long[1..]] {
        assert_eq!(said(name), "", "{name}");
    }
    for name in ["localhost", "localhost.localdomain"] {
        assert!(said(name).contains("every host calls itself so"), "{}", said(name));
    }
    assert!(said(&long).contains("it has 64 characters, and 63 are allowed"), "{}", said(&long));
    for name in ["", "A", "a..b", "-a", "a_b"] {
        assert!(said(name).contains("only a-z, 0-9, - and . are allowed"), "{}", said(name));
    }
}
