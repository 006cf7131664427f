//! Golden files: what a node's files look like on different hosts, and what an install would do.

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "golden/uninstall.rs"]
mod uninstall;

use std::path::Path;

use cluster::{ClusterConfig, KeyAlgorithm};
use jiff::Timestamp;
use node::desired::{Desired, ProgramFile, desired};
use node::facts::{CgroupVersion, Facts, Sandbox};
use node::observe::{Found, Observed, UnitState, observe};
use node::plan::{Action, Plan, plan};
use node::{NodeConfig, NodeCredentials, Root, containerd, execute, kubelet, note};

fn facts() -> Facts {
    Facts::example("a")
}

fn sandbox_v1() -> Facts {
    Facts {
        cgroup_version: CgroupVersion::V1,
        systemd: false,
        sandbox: Some(Sandbox { cgroup_root: Some("/demo".to_owned()) }),
        cap_sys_resource: false,
        swap: true,
        resolv_conf: None,
        ..facts()
    }
}

fn terms() -> pki::Terms {
    pki::Terms {
        algorithm: KeyAlgorithm::EcdsaP256,
        validity: std::time::Duration::from_hours(24),
        now: Timestamp::now(),
    }
}

/// A kubeconfig as `render` makes it, with the certificate inside.
fn kubeconfig(authority: &pki::Authority) -> String {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let identity = authority.issue(&pki::Leaf::kubelet("a"), terms()).unwrap();
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    server: https://192.0.2.1:6443\n\
         users:\n- name: node\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        encode(&identity.cert_pem),
        encode(&identity.key_pem)
    )
}

fn config(ca: &str, kubeconfig: &str) -> NodeConfig {
    let cluster = ClusterConfig::default();
    let credentials = NodeCredentials::Kubeconfig(kubeconfig.to_owned());
    NodeConfig::new(
        &cluster,
        "a",
        facts().addresses.preferred,
        ca,
        credentials,
        "registry.k8s.io/pause:3.10.2",
    )
}

/// The apiserver announces the address that the kubelet has first, and refuses one that Services have not.
#[test]
fn the_kubelet_has_the_address_first_that_services_have_first() {
    let text = "network: {podCIDRs: ['fd00:1::/56'], serviceCIDRs: ['fd00:2::/112']}";
    let cluster = ClusterConfig::parse("kubestrap.yaml", text).unwrap();
    let addresses = ["192.0.2.1", "fd00::1"].map(|address| address.parse().unwrap()).to_vec();
    let node =
        NodeConfig::new(&cluster, "a", addresses, "", NodeCredentials::Kubeconfig(TOKEN.to_owned()), "");
    assert!(node::kubelet::args(&node).contains(&"--node-ip=fd00::1,192.0.2.1".to_owned()));
}

const TOKEN: &str = "users:\n- name: node\n  user:\n    token: secret-token\n";

fn programs() -> Vec<ProgramFile> {
    ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "kubelet", "loopback"]
        .map(|name| ProgramFile { name: name.to_owned(), digest: node::sha256_hex(name.as_bytes()) })
        .to_vec()
}

#[test]
fn containerd_s_configuration() {
    insta::assert_snapshot!(
        "containerd-v2-systemd",
        containerd::config(&facts(), "registry.k8s.io/pause:3.10.2")
    );
    insta::assert_snapshot!(
        "containerd-v1-sandbox",
        containerd::config(&sandbox_v1(), "registry.k8s.io/pause:3.10.2")
    );
}

#[test]
fn the_kubelet_s_configuration() {
    insta::assert_snapshot!("kubelet-v2-systemd", kubelet::config(&facts(), &config("ca", TOKEN)));
    let mut gates = config("ca", TOKEN);
    gates.feature_gates = [("KubeletCrashLoopBackOffMax".to_owned(), false)].into();
    insta::assert_snapshot!("kubelet-v1-sandbox", kubelet::config(&sandbox_v1(), &gates));
}

#[test]
fn units() {
    let v2 = [containerd::unit(&facts(), "x").text, kubelet::unit(&facts(), &config("ca", TOKEN), "x").text];
    insta::assert_snapshot!("units-v2-systemd", v2.join("\n"));
    let mut node = config("ca", TOKEN);
    node.credentials = NodeCredentials::Bootstrap(TOKEN.to_owned());
    node.addresses.push("2001:db8::1".parse().unwrap());
    node.kubelet_extra_args =
        [("v".to_owned(), vec!["4".to_owned()]), ("node-labels".to_owned(), vec!["a=b c".to_owned()])].into();
    node.existing_containerd = true;
    let v1 = [containerd::unit(&sandbox_v1(), "x").text, kubelet::unit(&sandbox_v1(), &node, "x").text];
    insta::assert_snapshot!("units-v1-sandbox", v1.join("\n"));
}

/// A plan as people read it.
fn shown(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(ToString::to_string).collect()
}

/// What would be observed once a plan for `desired` was carried out.
fn fulfilled(desired: &Desired) -> Observed {
    let found = |mode, digest| Found { mode, digest, marked: false };
    let dirs = desired.dirs.iter().map(|d| (d.path.clone(), found(d.mode, String::new())));
    let files = desired.files.iter().map(|f| (f.path.clone(), found(f.mode, f.content.digest())));
    let programs = desired.programs.iter().map(|p| (p.path.clone(), found(0o755, p.digest.clone())));
    let running = |unit: &node::units::Unit| {
        let state =
            UnitState { running_inputs: Some(unit.inputs.clone()), newer: None, active: true, enabled: true };
        (unit.name.to_owned(), state)
    };
    Observed {
        files: dirs.chain(files).chain(programs).collect(),
        leftovers: Vec::new(),
        damaged: Vec::new(),
        client_certificate: true,
        modules: desired.modules.iter().cloned().collect(),
        sysctls: desired.sysctls.iter().map(|s| (s.key.clone(), s.value.clone())).collect(),
        units: desired.units.iter().map(running).collect(),
        record: Some(note::extended(desired, &Observed::default())),
        ..Observed::default()
    }
}

#[test]
fn the_plan_of_a_fresh_host() {
    let desired = desired(&facts(), &config("ca", TOKEN), &programs()).unwrap();
    let sysctls = [("net.ipv4.ip_forward".to_owned(), "0".to_owned())].into();
    let plan = plan(&desired, &Observed { sysctls, ..Observed::default() });
    insta::assert_snapshot!("plan-fresh", shown(&plan).join("\n"));
}

#[test]
fn a_complete_node_has_an_empty_plan() {
    for facts in [facts(), sandbox_v1()] {
        let desired = desired(&facts, &config("ca", TOKEN), &programs()).unwrap();
        assert_eq!(shown(&plan(&desired, &fulfilled(&desired))), Vec::<String>::new());
    }
}

#[test]
fn a_changed_configuration_restarts_only_its_own_unit() {
    let before = desired(&facts(), &config("ca", TOKEN), &programs()).unwrap();
    let mut changed = config("ca", TOKEN);
    changed.cluster_domain = "example.org".to_owned();
    let after = desired(&facts(), &changed, &programs()).unwrap();
    assert_eq!(
        shown(&plan(&after, &fulfilled(&before))),
        [
            "note in /var/lib/kubestrap/installed.json what was here before",
            "rewrite /var/lib/kubelet/config.yaml",
            "rewrite /etc/systemd/system/kubelet.service",
            "reload unit files",
            "restart kubelet.service: its configuration or program changed",
            "wait for the kubelet",
        ]
    );
}

#[test]
fn a_file_that_somebody_changed_and_had_read_is_put_back_and_read_again() {
    let desired = desired(&facts(), &config("ca", TOKEN), &programs()).unwrap();
    let reload = "reload unit files";
    let restart = |unit| format!("restart {unit}.service: its configuration or program changed");
    let cases = [
        ("/var/lib/kubelet/config.yaml", "rewrite", "kubelet", "the kubelet"),
        ("/etc/kubernetes/kubelet.conf", "rewrite", "kubelet", "the kubelet"),
        ("/etc/systemd/system/kubelet.service", "rewrite", "kubelet", "the kubelet"),
        ("/usr/local/bin/kubelet", "replace", "kubelet", "the kubelet"),
        ("/etc/containerd/config.toml", "rewrite", "containerd", "containerd"),
        ("/usr/local/bin/containerd", "replace", "containerd", "containerd"),
    ];
    for (path, verb, unit, awaited) in cases {
        let mut observed = fulfilled(&desired);
        let found = observed.files.get_mut(path).unwrap();
        (found.digest, found.marked) = ("another".to_owned(), true);
        let expected = [&format!("{verb} {path}"), reload, &restart(unit), &format!("wait for {awaited}")];
        assert_eq!(shown(&plan(&desired, &observed)), expected);
        // Killed before the restart: the file is as it shall be, and newer than the process that runs.
        let mut observed = fulfilled(&desired);
        observed.units.get_mut(&format!("{unit}.service")).unwrap().newer = Some(path.to_owned());
        assert_eq!(shown(&plan(&desired, &observed)), expected[1..]);
    }
    // Nobody keeps that one open.
    let mut observed = fulfilled(&desired);
    observed.files.get_mut("/usr/local/bin/runc").unwrap().digest = "another".to_owned();
    assert_eq!(shown(&plan(&desired, &observed)), ["replace /usr/local/bin/runc"]);
}

#[test]
fn an_install_killed_before_the_restart_goes_on_there() {
    let before = desired(&facts(), &config("ca", TOKEN), &programs()).unwrap();
    let newer: Vec<ProgramFile> = programs()
        .into_iter()
        .map(|p| if p.name == "runc" { ProgramFile { digest: node::sha256_hex(b"newer"), ..p } } else { p })
        .collect();
    let after = desired(&facts(), &config("ca", TOKEN), &newer).unwrap();
    // Every file is new already; the processes still are the old ones.
    let observed = Observed { units: fulfilled(&before).units, ..fulfilled(&after) };
    assert_eq!(
        shown(&plan(&after, &observed)),
        [
            "reload unit files",
            "restart containerd.service: its configuration or program changed",
            "wait for containerd",
        ]
    );
}

#[test]
fn a_plan_shows_no_secret() {
    let authority = pki::Authority::generate("kubernetes", terms()).unwrap();
    let desired =
        desired(&facts(), &config(authority.cert_pem(), &kubeconfig(&authority)), &programs()).unwrap();
    let plan = plan(&desired, &Observed::default());
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains("kubelet-client-current.pem"), "{json}");
    assert!(!json.contains("PRIVATE KEY"), "{json}");
    assert!(!format!("{plan:?}").contains("PRIVATE KEY"));
}

/// Only what concerns files, and settings, which are some below a root: units and modules would be the machine's own.
fn files_only(plan: Plan) -> Plan {
    let of_files = |a: &Action| {
        matches!(
            a,
            Action::Note { .. }
                | Action::Keep { .. }
                | Action::RemoveFile { .. }
                | Action::CreateDir { .. }
                | Action::InstallProgram { .. }
                | Action::WriteFile { .. }
                | Action::Link { .. }
                | Action::SetSysctl { .. }
        )
    };
    Plan { actions: plan.actions.into_iter().filter(of_files).collect() }
}

async fn carry_out(root: &Root, plan: &Plan) {
    let extract = |name: &str, path: &Path| {
        host::fs::write(path, name.as_bytes(), 0o755).unwrap();
        Ok(())
    };
    execute::execute(root, plan, extract, |_| ()).await.unwrap();
}

#[tokio::test]
async fn files_are_written_once_and_again_only_when_they_change() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::below(dir.path());
    let authority = pki::Authority::generate("kubernetes", terms()).unwrap();
    let node = config(authority.cert_pem(), &kubeconfig(&authority));
    let wanted = desired(&facts(), &node, &programs()).unwrap();
    let todo = || files_only(plan(&wanted, &observe(&root, &wanted)));

    carry_out(&root, &todo()).await;
    assert_eq!(shown(&todo()), Vec::<String>::new());

    // Killed after any action, the rest is done.
    for done in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::below(dir.path());
        let todo = || files_only(plan(&wanted, &observe(&root, &wanted)));
        let all = todo();
        carry_out(&root, &Plan { actions: all.actions[..done * all.actions.len() / 6].to_vec() }).await;
        carry_out(&root, &todo()).await;
        assert_eq!(shown(&todo()), Vec::<String>::new());
    }

    host::fs::write(&root.path("/etc/containerd/config.toml"), b"changed", 0o644).unwrap();
    host::fs::write(&root.path("/usr/local/bin/.runc.4194999.tmp"), b"half", 0o755).unwrap();
    assert_eq!(
        shown(&todo()),
        ["remove /usr/local/bin/.runc.4194999.tmp", "rewrite /etc/containerd/config.toml"]
    );
    carry_out(&root, &todo()).await;
    assert_eq!(shown(&todo()), Vec::<String>::new());
}

#[tokio::test]
async fn a_rotated_client_certificate_stays_and_another_cluster_s_goes() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::below(dir.path());
    let authority = pki::Authority::generate("kubernetes", terms()).unwrap();
    let node = config(authority.cert_pem(), &kubeconfig(&authority));
    let wanted = desired(&facts(), &node, &programs()).unwrap();
    carry_out(&root, &files_only(plan(&wanted, &observe(&root, &wanted)))).await;

    // As the kubelet rotates: a new file, and the link points there.
    let rotated = authority.issue(&pki::Leaf::kubelet("a"), terms()).unwrap();
    let path = "/var/lib/kubelet/pki/kubelet-client-2026-11-22-18-50-01.pem";
    host::fs::write(&root.path(path), format!("{}{}", rotated.cert_pem, rotated.key_pem).as_bytes(), 0o600)
        .unwrap();
    let link = root.path(names::path::KUBELET_CLIENT_CERTIFICATE);
    host::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(path, &link).unwrap();
    assert_eq!(shown(&files_only(plan(&wanted, &observe(&root, &wanted)))), Vec::<String>::new());

    // The same name of the CA, another key: the old certificate is of no use any more.
    let other = pki::Authority::generate("kubernetes", terms()).unwrap();
    let wanted = desired(&facts(), &config(other.cert_pem(), &kubeconfig(&other)), &programs()).unwrap();
    let todo = shown(&files_only(plan(&wanted, &observe(&root, &wanted))));
    assert!(todo.iter().any(|line| line.starts_with("link ")), "{todo:?}");
}
