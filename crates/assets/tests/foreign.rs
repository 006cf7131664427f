//! Asset directories that somebody else rendered: read as far as bootkube read them, and every
//! problem told with file and line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use assets::AssetDir;

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = dir.join(path);
        host::fs::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
        host::fs::write(&path, content.as_bytes(), 0o644).unwrap();
    }
}

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bootstrap-kube-apiserver\nspec:\n  containers: []\n";

#[test]
fn bootkube_s_layout_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("auth/kubeconfig", "kind: Config\n"),
            ("tls/ca.crt", "ca"),
            ("tls/service-account.key", "key"),
            ("tls/etcd/peer.key", "peer"),
            ("bootstrap-manifests/bootstrap-apiserver.yaml", POD),
            ("manifests/README.md", "not a manifest"),
            (
                "manifests/kube-system-ns.yml",
                "---\n\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: List\n\
                 items:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: b}}\n\
                 - {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}\n",
            ),
            (
                "manifests/z.json",
                "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"s\"}}",
            ),
        ],
    );
    let assets = AssetDir::read(dir.path()).unwrap();
    assert!(!assets.is_ours());
    assert!(assets.guardian().is_none());
    assert_eq!(assets.start_kubeconfig(), dir.path().join("auth/kubeconfig"));
    assert_eq!(assets.bootstrap_pods()[0].file_name, "bootstrap-apiserver.yaml");
    assert_eq!(assets.bootstrap_pods()[0].content, POD.as_bytes());
    let objects: Vec<_> =
        assets.objects().iter().map(|o| (o.kind(), o.name(), o.namespace(), o.line)).collect();
    assert_eq!(
        objects,
        [
            ("Namespace", "a", "", 3),
            ("ConfigMap", "one", "b", 8),
            ("ConfigMap", "two", "", 8),
            ("Secret", "s", "", 1)
        ]
    );
    let staged: Vec<String> =
        assets.bootstrap_secrets().unwrap().iter().map(|f| f.path.display().to_string()).collect();
    let expected = ["ca.crt", "etcd/peer.key", "service-account.key", "kubeconfig"];
    assert_eq!(staged, expected.map(|name| format!("{}/{name}", names::path::BOOTSTRAP_SECRETS)));
}

#[test]
fn a_template_that_was_not_filled_in_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  template:\n    spec:\n      \
        containers:\n      - name: a\n        image: ${image}\n        command: [sh, -c, 'echo ${HOME}']\n";
    let volume = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bootstrap-x\nspec:\n  containers: []\n  volumes:\n  \
        - {name: v, hostPath: {path: '${secrets}/tls'}}\n";
    write(
        dir.path(),
        &[
            ("auth/kubeconfig", "kind: Config\n"),
            ("bootstrap-manifests/x.yaml", volume),
            ("manifests/a.yaml", deployment),
        ],
    );
    let told =
        AssetDir::read(dir.path()).unwrap_err().to_string().replace(&dir.path().display().to_string(), "");
    let why = "a placeholder that whatever made this directory did not fill in";
    let expected = [
        format!("/bootstrap-manifests/x.yaml:8: hostPath is \"${{secrets}}/tls\": {why}"),
        format!("/manifests/a.yaml:10: image is \"${{image}}\": {why}"),
    ];
    assert_eq!(told, expected.join("\n"));
}

#[test]
fn every_problem_is_told_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        &[
            ("bootstrap-manifests/two.yaml", &format!("{POD}---\n{POD}")),
            ("manifests/a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n---\nkind: X\n"),
            ("manifests/b.yaml", "apiVersion: v1\nkind: [\n"),
        ],
    );
    let text = AssetDir::read(dir.path()).unwrap_err().to_string();
    let root = dir.path().display();
    for expected in [
        format!("{root}/auth/kubeconfig does not exist"),
        format!("{root}/bootstrap-manifests/two.yaml:8: a static pod's file holds one Pod"),
        format!("{root}/manifests/a.yaml:6: it has no apiVersion"),
        format!("{root}/manifests/b.yaml:"),
    ] {
        assert!(text.contains(&expected), "{expected:?} is not in:\n{text}");
    }
}
