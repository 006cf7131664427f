//! The manifests spell names out, for operators read them: here they are held to the tables.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use names::{annotation, component, condition, label, object, path, port, user};

/// All templates of manifests: the path below `manifests/`, and the text.
fn manifests() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/manifests");
    let list = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let files = list(&root).into_iter().flat_map(|dir| list(&dir));
    let name = |file: &Path| file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    files.map(|file| (name(&file), fs::read_to_string(&file).unwrap())).collect()
}

#[test]
fn manifests_have_the_names_of_the_tables() {
    let manifests = manifests();
    let url = |port: u16| format!("://127.0.0.1:{port}");
    let probe = |port: u16| format!("port: {port}\n");
    let mount = |path: &str| format!("path: {path}\n");
    let mount_path = |path: &str| format!("mountPath: {path}\n");
    for (file, lines) in [
        ("flags/etcd.yaml", vec![url(port::ETCD_CLIENT), url(port::ETCD_METRICS), path::ETCD_PKI.to_owned()]),
        ("static/etcd.yaml", vec![probe(port::ETCD_METRICS), mount(path::ETCD_PKI)]),
        (
            "cluster/kube-controller-manager.yaml",
            vec![
                probe(port::KUBE_CONTROLLER_MANAGER),
                mount(path::KUBE_CONTROLLER_MANAGER_KEYS),
                mount_path(path::KEYS_MOUNT),
            ],
        ),
        (
            "cluster/kube-scheduler.yaml",
            vec![probe(port::KUBE_SCHEDULER), mount(path::KUBE_SCHEDULER_KEYS), mount_path(path::KEYS_MOUNT)],
        ),
        (
            "cluster/kube-apiserver.yaml",
            vec![
                format!("conditionType: {}\n", condition::SERVING),
                mount(path::KUBE_APISERVER_KEYS),
                mount_path(path::KEYS_MOUNT),
            ],
        ),
        ("bootstrap/bootstrap-kube-apiserver.yaml", vec![mount(path::BOOTSTRAP_SECRETS)]),
        ("bootstrap/bootstrap-kube-controller-manager.yaml", vec![mount(path::BOOTSTRAP_SECRETS)]),
        ("bootstrap/bootstrap-kube-scheduler.yaml", vec![mount(path::BOOTSTRAP_SECRETS)]),
        (
            "static/kubestrap-guardian.yaml",
            vec![
                format!("name: {}\n", object::GUARDIAN),
                mount(path::STATIC_PODS),
                mount(path::CHECKPOINTS),
                mount(path::CONTROL_PLANE),
            ],
        ),
        (
            "cluster/kubestrap-guardian.yaml",
            vec![
                format!("name: {}\n", object::GUARDIAN),
                format!("{}: {}\n", label::APP, object::GUARDIAN_INSTALLER),
                format!("{}: |", path::GUARDIAN_FILE),
                format!("name: {}\n", user::GUARDIANS),
                format!("resourceNames: [{}]", component::LEADER_ELECTED.join(", ")),
                format!("resourceNames: [{}]", object::CONTROL_PLANE_KEYS_SIGNER),
                format!("--static-pod-dir={}\n", path::STATIC_PODS),
                mount(path::KUBERNETES),
                mount(path::KUBELET_PKI),
            ],
        ),
        (
            "cluster/flannel.yaml",
            vec![
                mount(path::CNI_CONFIG),
                mount(path::CNI_PLUGINS),
                mount(path::FLANNEL_STATE),
                format!("namespace: {}\n", object::KUBE_FLANNEL),
                format!("name: {}\n", object::FLANNEL_DAEMON_SET),
            ],
        ),
        (
            "cluster/cluster-info.yaml",
            vec![
                format!("name: {}\n", object::CLUSTER_INFO),
                format!("namespace: {}\n", object::KUBE_PUBLIC),
                format!("  {}: |\n", object::CLUSTER_INFO_KUBECONFIG),
                format!("resourceNames: [{}]", object::CLUSTER_INFO),
            ],
        ),
        (
            "cluster/node-config.yaml",
            vec![
                format!("name: {}\n", object::NODE_CONFIG),
                format!("  {}: |\n", object::NODE_CONFIG_KEY),
                format!("resourceNames: [{}]", object::NODE_CONFIG),
                format!("name: {}\n", user::JOINING_NODES),
            ],
        ),
        (
            "cluster/rbac.yaml",
            vec![
                format!("name: {}\n", user::CLUSTER_ADMINS),
                format!("name: {}\n", user::JOINING_NODES),
                format!("name: {}\n", user::NODES),
            ],
        ),
    ] {
        let (_, text) = manifests.iter().find(|(name, _)| name == file).unwrap();
        for line in lines {
            assert!(text.contains(&line), "manifests/{file} has no {line:?}");
        }
    }
}

/// What programs look for, they find: a name of ours in a manifest that is not in the tables is a slip.
#[test]
fn manifests_have_no_name_of_ours_that_is_not_in_the_tables() {
    let ours = [
        annotation::CHECKPOINT,
        annotation::GENERATION,
        annotation::GUARDIAN_REPORT,
        annotation::INPUTS,
        annotation::TEMPORARY,
        condition::SERVING,
        label::CHECKPOINT_OF,
        object::CONTROL_PLANE_KEYS_SIGNER,
    ];
    for (file, text) in manifests() {
        for (at, _) in text.match_indices("kubestrap.io/") {
            let rest = &text[at..];
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-./".contains(c)).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('.');
            assert!(ours.contains(&name), "manifests/{file}: {name}");
        }
    }
}

#[test]
fn each_component_runs_as_its_own_user_and_what_is_temporary_as_the_one_whose_port_it_shares() {
    let ours = |file: &str| match file.rsplit('/').next().unwrap() {
        "etcd.yaml" => Some(user::ETCD_ID),
        "kube-controller-manager.yaml" => Some(user::KUBE_CONTROLLER_MANAGER_ID),
        "kube-scheduler.yaml" => Some(user::KUBE_SCHEDULER_ID),
        name if name == "kube-apiserver.yaml" || name.starts_with("bootstrap-") => {
            Some(user::KUBE_APISERVER_ID)
        }
        _ => None,
    };
    for (file, text) in manifests() {
        let one = ours(&file).map_or("0".to_owned(), |id| id.to_string());
        for line in text.lines().map(str::trim) {
            let id =
                ["runAsUser: ", "runAsGroup: ", "fsGroup: "].iter().find_map(|key| line.strip_prefix(key));
            assert!(id.is_none_or(|id| id == one), "manifests/{file}: {line}");
        }
    }
}

/// The guardian renews all of them.
#[test]
fn each_component_mounts_its_own_directory_of_keys() {
    for (name, text) in manifests() {
        let component = name.rsplit('/').next().unwrap().trim_end_matches(".yaml");
        for line in text.lines().map(str::trim).filter(|line| line.contains(path::CONTROL_PLANE)) {
            let own = line.ends_with(&format!("{}/{component}", path::CONTROL_PLANE));
            assert!(own || component == object::GUARDIAN, "{name}: {line}");
        }
    }
}
