//! What keeps this node's own etcd from coming back.

use super::*;
use crate::fixture::member;

#[test]
fn what_it_needs() {
    let manifest = "/etc/kubernetes/manifests/etcd.yaml";
    broken(|w| w.remove(manifest), &[("EtcdPod", Failed)], "its static pod is not there");
    broken(
        |w| w.remove("/etc/kubernetes/pki/etcd/peer.crt"),
        &[("EtcdCertificates", Failed)],
        "peer.crt (--peer-cert-file) cannot be read",
    );
    broken(
        |w| w.remove("/etc/kubernetes/pki/etcd/server.key"),
        &[("EtcdCertificates", Failed)],
        "server.key (--key-file) cannot be read",
    );
    let ended = |w: &mut World| {
        w.write("/etc/kubernetes/pki/etcd/server.crt", &w.certificate("s", 60).cert_pem, 0o644);
    };
    broken(ended, &[("EtcdCertificates", Failed)], "server.crt expires at");
    // Where the guardian renews it, it may live for minutes, and should have been renewed by now.
    let renewed = |w: &mut World| {
        host::fs::create_dir_all(&w.path("/etc/kubernetes/kubestrap/authorities"), 0o700).unwrap();
        ended(w);
    };
    broken(renewed, &[("EtcdCertificates", Warning)], "server.crt expires at");
    broken(|w| w.remove("/var/lib/etcd/member/snap/db"), &[("EtcdData", Failed)], "holds no member's data");
    broken(
        |w| w.live().local_etcd = Some(Health::Silent("refused".into())),
        &[("EtcdRunning", Failed)],
        "refused",
    );
    let health =
        |health: Health| move |w: &mut World| w.live().etcd = vec![("https://10.0.0.1:2379".into(), health)];
    let name = "EtcdHealth-https://10.0.0.1:2379";
    broken(health(Health::Unhealthy("status 503: RAFT NO LEADER".into())), &[(name, Failed)], "NO LEADER");
    // A full one serves what it has, and comes back so.
    let full = health(Health::Unhealthy("status 503: ALARM NOSPACE".into()));
    broken(full, &[(name, Warning)], "everything can be read, and nothing written");
    broken(health(Health::Unasked("a name".into())), &[(name, Unknown)], "was not asked: a name");
    // One of two answers: the apiserver uses that one.
    broken(
        |w| w.live().etcd.push(("https://10.0.0.2:2379".into(), Health::Silent("gone".into()))),
        &[("EtcdHealth-https://10.0.0.2:2379", Warning)],
        "gone",
    );
    // One that was added and never came has a vote.
    let with = |names: &'static [&str]| {
        move |w: &mut World| w.live().members = Some(names.iter().map(|name| member(name)).collect())
    };
    broken(with(&["a", "b", ""]), &[("EtcdMembers", Warning)], "1 never started");
    broken(with(&["a", ""]), &[("EtcdMembers", Failed)], "it decides nothing, and no API serves");
    // An etcd elsewhere is no static pod of this node.
    let elsewhere = |w: &mut World| {
        w.remove(manifest);
        w.options.addresses = None;
        w.live().local_etcd = None;
    };
    broken(elsewhere, &[], "");
}

#[test]
fn etcds_data_is_that_of_its_member() {
    let remember = |w: &World| {
        let member = etcd::Identity { cluster: 0xc, member: 0xa };
        let memory = w.path("/etc/kubernetes/kubestrap/etcd/member.json");
        etcd::data::remember(&memory, member, std::path::Path::new("/var/lib/etcd"), None).unwrap();
    };
    let gone = |w: &mut World| {
        remember(w);
        host::fs::remove_dir_all(&w.path("/var/lib/etcd/member")).unwrap();
    };
    broken(
        gone,
        &[("EtcdData", Failed)],
        "/var/lib/etcd holds no data of etcd, and this node is member a of cluster c",
    );
}

#[test]
fn an_edit_of_etcds_manifest() {
    let edit = |w: &mut World| w.write("/etc/kubernetes/manifests/etcd.yaml", &edited(w), 0o600);
    broken(edit, &[("EtcdManifest", Warning)], "was edited, and etcd runs without that");
    let refused = "/etc/kubernetes/kubestrap/etcd/refused.yaml";
    broken(|w| w.write(refused, "", 0o600), &[("EtcdManifest", Warning)], "etcd did not serve with an edit");
}

/// With a UID of something else.
fn edited(w: &World) -> String {
    let text = host::fs::read_to_string(&w.path("/etc/kubernetes/manifests/etcd.yaml")).unwrap();
    text.replacen('{', "{\"x\": {\n  uid: x\n}, # - --initial-cluster-state=new\n", 1)
}
