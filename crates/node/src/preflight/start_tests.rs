use std::net::TcpListener;
use std::time::Duration;

use cluster::KeyAlgorithm;
use pki::{Authority, Leaf, Terms, Usage};

use super::*;

fn terms() -> Terms {
    Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(24), now: Timestamp::now() }
}

fn authority() -> Authority {
    Authority::generate("kubernetes", terms()).unwrap()
}

fn serving(authority: &Authority, name: &str) -> Certificate {
    let names = vec![SubjectName::Dns(name.to_owned())];
    let leaf =
        Leaf { common_name: "kube-apiserver".to_owned(), organization: None, names, usage: Usage::Server };
    let identity = authority.issue(&leaf, terms()).unwrap();
    Certificate {
        name: "apiserver.crt".to_owned(),
        certificate: identity.cert_pem,
        key: Some(identity.key_pem),
        authority: Some(authority.cert_pem().to_owned()),
        names: vec![SubjectName::Dns("a".to_owned())],
    }
}

fn cause(check: &Check) -> String {
    assert!(check.is_problem(), "{check}");
    check.what.clone()
}

#[test]
fn a_certificate_for_this_host_passes() {
    assert_eq!(
        certificate(&serving(&authority(), "a"), Timestamp::now()),
        Check::passed(kind::CERTIFICATE.of("apiserver.crt"))
    );
}

#[test]
fn a_certificate_for_another_host_says_for_which_one() {
    let check = certificate(&serving(&authority(), "b"), Timestamp::now());
    assert!(check.is_failure());
    assert!(cause(&check).contains("is not valid for a; it is valid for b"), "{check}");
    assert!(
        check
            .to_string()
            .ends_with("add this host's name and address to api.extraSANs and render the assets again")
    );
}

#[test]
fn a_wrong_clock_a_wrong_authority_and_a_wrong_key_are_told_apart() {
    let authority = authority();
    let good = serving(&authority, "a");
    let at = |seconds: i64| Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
    assert!(cause(&certificate(&good, at(10 * 86400))).contains("expired"));
    assert!(cause(&certificate(&good, at(-86400))).contains("not valid before"));
    let other = self::authority();
    let mixed = Certificate { authority: Some(other.cert_pem().to_owned()), ..good.clone() };
    assert!(cause(&certificate(&mixed, Timestamp::now())).contains("was not signed by"));
    let mixed = Certificate { key: Some(other.key_pem().unwrap().to_owned()), ..good };
    assert!(cause(&certificate(&mixed, Timestamp::now())).contains("does not belong"));
}

#[tokio::test]
async fn a_host_with_nothing_running_gets_all_problems_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let checks = start(&StartInput {
        kubelet: closed,
        socket: Path::new("/nonexistent/containerd.sock"),
        ports: vec![(port, "kube-apiserver")],
        certificates: vec![serving(&authority(), "b")],
        images: vec!["registry.k8s.io/etcd:3.7.3-0".to_owned()],
        static_pod_dir: Path::new("/nonexistent/manifests"),
        now: Timestamp::now(),
    })
    .await;
    let failed: Vec<&str> = checks.iter().filter(|c| c.is_failure()).map(|c| c.name.as_str()).collect();
    let port = format!("Port-{port}");
    assert_eq!(failed, ["KubeletRunning", "StaticPodDir", port.as_str(), "Certificate-apiserver.crt", "CRI"]);
}
