use node::Root;
use serde_json::json;

use super::*;

/// A file system whose root everybody gets to, with these files and modes.
fn host(all: &[(&str, &str, u32)]) -> (tempfile::TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    host::fs::set_mode(dir.path(), 0o755).unwrap();
    for (path, content, mode) in all {
        let path = dir.path().join(path::below_root(path));
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content.as_bytes(), *mode).unwrap();
    }
    let files = Files::new(Root::below(dir.path()));
    (dir, files)
}

fn set(files: &Files, path: &str, mode: u32) {
    host::fs::set_mode(&files.path(path), mode).unwrap();
}

/// A pod that runs as somebody who owns nothing here, with one directory to read and one to write.
fn pod() -> Value {
    json!({"spec": {"securityContext": {"runAsUser": 61101, "runAsGroup": 61101},
        "containers": [{"name": "c", "args": ["--config=/secrets/config.yaml", "--audit-log-path=/log/audit.log"], "volumeMounts": [
            {"name": "keys", "mountPath": "/secrets", "readOnly": true}, {"name": "log", "mountPath": "/log"}]}],
        "volumes": [{"name": "keys", "hostPath": {"path": "/keys"}}, {"name": "log", "hostPath": {"path": "/var/log/audit"}}]}})
}

const USED: [(&str, &str, u32); 3] =
    [("/keys/config.yaml", "", 0o444), ("/keys/other", "", 0o400), ("/var/log/audit/audit.log", "", 0o666)];

fn judged(files: &Files, pod: &Value) -> (bool, bool, String, String) {
    let check = of_pod(&kind::FILE_RIGHTS, files, pod);
    let remedy = check.remedy.clone().unwrap_or_default();
    (check.is_problem(), check.is_failure(), check.what, remedy)
}

#[test]
fn a_component_s_user_has_to_get_at_what_its_flags_name() {
    let (_dir, files) = host(&USED);
    set(&files, "/var/log/audit", 0o777);
    let (problem, _, what, _) = judged(&files, &pod());
    assert!(!problem, "{what}");
    for (path, mode, told) in [
        ("/keys/config.yaml", 0o440, "/keys/config.yaml ("),
        ("/keys", 0o750, "/keys/config.yaml, which is below /keys ("),
        ("/var/log/audit/audit.log", 0o644, "/var/log/audit/audit.log ("),
        ("/var/log/audit", 0o755, "/var/log/audit ("),
    ] {
        let (_dir, files) = host(&USED);
        set(&files, "/var/log/audit", 0o777);
        set(&files, path, mode);
        let (_, failed, what, remedy) = judged(&files, &pod());
        assert!(
            failed
                && what.starts_with(told)
                && what.ends_with(&format!(
                    "mode {mode:04o}): user 61101 may not {} it",
                    if path.starts_with("/keys") { "read" } else { "write" }
                )),
            "{path}: {what}"
        );
        let root = if path.starts_with("/keys") { "/keys" } else { "/var/log/audit" };
        assert_eq!(remedy, format!("chown -R 61101:61101 {root} && chmod -R u+rwX {root}"), "{path}");
    }
}

#[test]
fn root_and_whom_the_image_names_are_not_judged() {
    let (_dir, files) = host(&USED);
    set(&files, "/keys", 0o700);
    for user in [json!(0), Value::Null] {
        let mut pod = pod();
        pod["spec"]["securityContext"]["runAsUser"] = user;
        assert!(!judged(&files, &pod).0);
    }
    let mut own = pod();
    own["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0);
    assert!(!judged(&files, &own).0, "a container's own user counts");
}

#[test]
fn keys_that_the_guardian_renews_get_their_rights_back() {
    let dir = path::KUBE_APISERVER_KEYS;
    let key = format!("{dir}/apiserver.key");
    let (_dir, files) = host(&[(&key, "", 0o000)]);
    let mut pod = pod();
    pod["spec"]["volumes"][0]["hostPath"]["path"] = json!(dir);
    let (_, failed, what, _) = judged(&files, &pod);
    assert!(failed && what.contains(&key), "nobody renews here: {what}");
    host::fs::create_dir_all(&files.path(path::AUTHORITIES), 0o700).unwrap();
    let (problem, failed, what, remedy) = judged(&files, &pod);
    assert!(problem && !failed && what.contains(&key), "{what}");
    assert!(remedy.starts_with("the guardian puts this right"), "{remedy}");
}

#[test]
fn all_of_etcd_s_data_has_to_be_its_own() {
    let pod = |user: u32| {
        json!({"spec": {"securityContext": {"runAsUser": user}, "containers": [{"name": "etcd",
            "args": ["--listen-client-urls=https://127.0.0.1:2379", "--data-dir=/data"],
            "volumeMounts": [{"name": "d", "mountPath": "/data"}]}],
            "volumes": [{"name": "d", "hostPath": {"path": "/var/lib/etcd"}}]}})
    };
    let (dir, files) = host(&[("/var/lib/etcd/member/snap/db", "x", 0o600)]);
    let me = std::fs::metadata(dir.path()).unwrap().uid();
    assert!(!judged(&files, &pod(me)).0);
    let (_, failed, what, remedy) = judged(&files, &pod(61104));
    assert!(
        failed
            && what.contains("/var/lib/etcd/member/snap/db (")
            && what.contains("user 61104 may not write it"),
        "{what}"
    );
    assert_eq!(remedy, "chown -R 61104:0 /var/lib/etcd && chmod -R u+rwX /var/lib/etcd");
}

#[test]
fn what_is_for_few_is_named_where_everybody_may_read_it() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n";
    let all = [
        ("/etc/kubernetes/admin.conf", "client-key-data: x\n", 0o600),
        ("/etc/kubernetes/pki/ca.crt", "-----BEGIN CERTIFICATE-----\n", 0o644),
        ("/etc/kubernetes/kubestrap/kube-apiserver/sa.key", KEY, 0o440),
        ("/var/lib/kubestrap/assets/manifests/x.yaml", "volumes:\n- secret: {}\n", 0o644),
        ("/var/lib/kubestrap/backups/etcd.db", "x", 0o600),
        ("/data/member/snap/db", "x", 0o600),
    ];
    let open = |changed: &[(&str, u32)]| {
        let (_dir, files) = host(&all);
        host::fs::write(&files.path("/data/member/snap/db"), &[0xff], 0o600).unwrap();
        for (path, mode) in changed {
            set(&files, path, *mode);
        }
        let check = private(&files, Some("/data".as_ref()));
        (check.what, check.remedy.unwrap_or_default())
    };
    assert_eq!(open(&[]).1, "", "{:?}", open(&[]));
    let admin = ("/etc/kubernetes/admin.conf", 0o644);
    let (what, remedy) = open(&[admin, ("/etc/kubernetes/kubestrap/kube-apiserver/sa.key", 0o755)]);
    assert_eq!(
        what,
        "everybody on this host may read /etc/kubernetes/admin.conf; \
         everybody on this host may read /etc/kubernetes/kubestrap/kube-apiserver/sa.key"
    );
    assert!(remedy.starts_with("chmod -R o-rwx /etc/kubernetes; "), "{remedy}");
    assert_eq!(open(&[admin, ("/etc/kubernetes", 0o750)]).1, "", "nobody gets there");
    let (what, remedy) = open(&[("/data/member/snap/db", 0o644)]);
    assert!(what.contains("/data/member/snap/db") && remedy.contains("o-rwx /data;"), "{what}: {remedy}");
}
