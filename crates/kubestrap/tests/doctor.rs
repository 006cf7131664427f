//! `doctor` and `status` as scripts see them: exit codes and JSON. What each check finds is tested in
//! the crate `doctor`; that a whole node passes, on a real cluster.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::path::Path;

use host::command::Command;
use serde_json::Value;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(root: &Path, args: &[&str]) -> Ran {
    let command = Command::new(env!("CARGO_BIN_EXE_kubestrap")).args(args).arg("--root").arg(root);
    let (status, output) = command.run_unchecked().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A machine on which a guardian has been, with nothing left but its directory.
fn empty_node() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    host::fs::create_dir_all(&dir.path().join("var/lib/kubestrap/checkpoints"), 0o700).unwrap();
    dir
}

#[test]
fn a_node_without_checkpoints_would_not_come_back() {
    let node = empty_node();
    let ran = run(node.path(), &["doctor", "--local", "--node-name", "a"]);
    assert_eq!(ran.code, Some(12), "{}{}", ran.out, ran.err);
    assert!(ran.out.starts_with("node a would NOT come back\n"), "{}", ran.out);
    assert!(
        ran.out.contains("failed: Checkpoint-kube-system/kube-apiserver: there is no checkpoint of it\n"),
        "{}",
        ran.out
    );
    assert!(ran.err.contains("error: would not come back: a\n"), "{}", ran.err);
    assert!(!ran.err.contains("other nodes"), "it was not to ask: {}", ran.err);
}

#[test]
fn every_check_is_in_the_json() {
    let node = empty_node();
    let ran = run(node.path(), &["doctor", "--local", "--node-name", "a", "-o", "json"]);
    assert_eq!(ran.code, Some(12), "{}{}", ran.out, ran.err);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["version"], &json["verdict"]), (&1.into(), &"wouldNot".into()));
    let node = &json["nodes"][0];
    assert_eq!(
        (&node["node"], &node["origin"], &node["verdict"]),
        (&"a".into(), &"disk".into(), &"wouldNot".into())
    );
    let checks = node["checks"].as_array().unwrap();
    let result = |name: &str| &checks.iter().find(|check| check["name"] == name).unwrap()["result"];
    assert_eq!(result("Checkpoint-kube-system/kube-scheduler"), "failed");
    assert_eq!(result("CRI"), "failed");
    assert_eq!(result("KubeletInstalled"), "unknown");
    assert_eq!(result("WritableCheckpoints"), "ok");
    let is_told =
        |check: &Value| check["what"].is_string() && (check["result"] == "ok" || check["remedy"].is_string());
    assert!(checks.iter().all(is_told), "{checks:#?}");
}

#[test]
fn of_a_machine_that_is_no_node_nothing_can_be_said() {
    let dir = tempfile::tempdir().unwrap();
    let doctor = run(dir.path(), &["doctor", "--local"]);
    assert_eq!(doctor.code, Some(13), "{}{}", doctor.out, doctor.err);
    assert!(doctor.err.contains("this machine is no control-plane node"), "{}", doctor.err);
    assert_eq!(run(dir.path(), &["status", "--local"]).code, Some(13));
    for verb in ["doctor", "status"] {
        let ran = run(dir.path(), &[verb, "--kubeconfig", "/no/such/file"]);
        assert_eq!(ran.code, Some(10), "{}", ran.err);
    }
}

#[test]
fn an_api_that_does_not_answer_is_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    // The discard port of loopback: nobody listens there.
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:9', insecure-skip-tls-verify: true}}]\nusers: [{name: u, user: {token: x}}]\n";
    host::fs::write(&kubeconfig, text.as_bytes(), 0o600).unwrap();
    let ran = run(dir.path(), &["doctor", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    assert_eq!(ran.code, Some(13), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("of others nothing is known: no answer to GET /version: "), "{}", ran.err);
}

#[test]
fn without_an_api_status_tells_what_the_node_knows() {
    let node = empty_node();
    let ran = run(node.path(), &["status", "--local", "--node-name", "a"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("The API tells nothing (it was not asked)."), "{}", ran.out);
    assert!(ran.out.contains("no container runtime listens on"), "{}", ran.out);
    let ran = run(node.path(), &["status", "--local", "--node-name", "a", "-o", "json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["version"], &json["api"]["answers"]), (&1.into(), &false.into()));
    assert_eq!((&json["nodes"][0]["name"], &json["nodes"][0]["origin"]), (&"a".into(), &"disk".into()));
}

#[test]
fn a_node_is_called_as_its_kubelet_is_whatever_its_host_is_called() {
    let node = empty_node();
    let units = node.path().join("etc/systemd/system");
    host::fs::create_dir_all(&units, 0o755).unwrap();
    let unit = "# Written by kubestrap; a change here is lost.\n[Service]\nExecStart=/usr/local/bin/kubelet --hostname-override=first\n";
    host::fs::write(&units.join("kubelet.service"), unit.as_bytes(), 0o644).unwrap();
    let ran = run(node.path(), &["doctor", "--local"]);
    assert!(ran.out.starts_with("node first would NOT come back\n"), "{}{}", ran.out, ran.err);
    let ran = run(node.path(), &["status", "--local", "-o", "json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["nodes"][0]["name"], "first");
    for verb in ["doctor", "status"] {
        let ran = run(node.path(), &[verb, "--local", "--node-name", "second"]);
        assert_eq!(ran.code, Some(8), "{}", ran.err);
        assert!(ran.err.contains("this node is called first"), "{}", ran.err);
        assert!(ran.err.contains("hint: leave --node-name away"), "{}", ran.err);
    }
}
