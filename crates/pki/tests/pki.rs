//! Certificates as OpenSSL sees them, authorities in every form that tools write, and what is said
//! about certificates that will not do.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests: a panic is a failed test")]

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cluster::{ClusterConfig, KeyAlgorithm, SubjectName};
use jiff::Timestamp;
use pki::{
    Authorities, Authority, CertificateProblem, Credential, GivenAuthorities, Kubeconfig, Leaf, NodeIdentity,
    PkiError, SigningKeyPair, Terms, check_chain, check_dates, check_key, check_names, inspect,
};

const DAY: Duration = Duration::from_hours(24);

/// The beginning of 2026: certificates of these tests do not depend on the clock.
fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn terms(days: u32) -> Terms {
    Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: DAY * days, now: now() }
}

fn authority(name: &str) -> Authority {
    Authority::generate(name, terms(3650)).unwrap()
}

fn node() -> NodeIdentity {
    NodeIdentity { name: "node-a".to_owned(), addresses: vec!["10.0.0.5".parse().unwrap()] }
}

fn dns(name: &str) -> SubjectName {
    SubjectName::Dns(name.to_owned())
}

fn ip(address: &str) -> SubjectName {
    SubjectName::Ip(address.parse::<IpAddr>().unwrap())
}

/// Runs openssl in a directory; its output, or the test fails with what it said.
#[expect(clippy::disallowed_methods, reason = "a test's own child; host's wrapper is for the product")]
fn openssl(dir: &Path, args: &str) -> String {
    let output = std::process::Command::new("openssl")
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .expect("openssl is needed to check certificates with other eyes than ours");
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own files in its own directory")]
fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

#[test]
fn whole_set_is_right_for_openssl() {
    let config = ClusterConfig::default();
    let authorities = Authorities::complete(GivenAuthorities::default(), &config, now()).unwrap();
    let (cluster, front_proxy) = (&authorities.cluster, &authorities.front_proxy);
    let etcd = authorities.etcd.as_ref().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let node = node();
    let apiserver = Leaf::apiserver(&config, &node);
    let by_purpose = [
        ("sslserver", cluster, vec![apiserver.clone()]),
        (
            "sslclient",
            cluster,
            vec![
                Leaf::apiserver_kubelet_client(),
                Leaf::controller_manager(),
                Leaf::scheduler(),
                Leaf::guardian("node-a"),
                Leaf::admin(),
                Leaf::super_admin(),
                Leaf::kubelet(&node.name),
            ],
        ),
        ("sslclient", front_proxy, vec![Leaf::front_proxy_client()]),
        (
            "sslclient",
            etcd,
            vec![
                Leaf::etcd_server(&node),
                Leaf::etcd_peer(&node),
                Leaf::etcd_healthcheck_client(),
                Leaf::apiserver_etcd_client(),
            ],
        ),
        ("sslserver", etcd, vec![Leaf::etcd_server(&node), Leaf::etcd_peer(&node)]),
    ];
    let at = now().as_second();
    for (purpose, authority, leaves) in by_purpose {
        write(dir, "ca.crt", authority.cert_pem());
        for leaf in leaves {
            let identity = authority.issue(&leaf, terms(365)).unwrap();
            write(dir, "leaf.crt", &identity.cert_pem);
            openssl(
                dir,
                &format!("verify -x509_strict -purpose {purpose} -attime {at} -CAfile ca.crt leaf.crt"),
            );
            check_chain(&identity.cert_pem, authority.cert_pem()).unwrap();
            check_key(&identity.cert_pem, &identity.key_pem).unwrap();
            check_dates(&identity.cert_pem, now()).unwrap();
        }
    }
    write(dir, "leaf.crt", &cluster.issue(&apiserver, terms(365)).unwrap().cert_pem);
    write(dir, "ca.crt", cluster.cert_pem());
    for name in
        ["-verify_hostname kubernetes.default.svc.cluster.local", "-verify_ip 10.96.0.1", "-verify_ip ::1"]
    {
        openssl(dir, &format!("verify -attime {at} {name} -CAfile ca.crt leaf.crt"));
    }
}

#[test]
fn subjects_are_kubeadms() {
    let authority = authority("kubernetes");
    let subject = |leaf: Leaf| inspect(&authority.issue(&leaf, terms(1)).unwrap().cert_pem).unwrap().subject;
    assert_eq!(subject(Leaf::admin()), "O=kubeadm:cluster-admins, CN=kubernetes-admin");
    assert_eq!(subject(Leaf::super_admin()), "O=system:masters, CN=kubernetes-super-admin");
    assert_eq!(subject(Leaf::kubelet("node-a")), "O=system:nodes, CN=system:node:node-a");
    assert_eq!(subject(Leaf::scheduler()), "CN=system:kube-scheduler");
    assert_eq!(subject(Leaf::guardian("a")), "O=system:kubestrap:guardians, CN=system:kubestrap:guardian:a");
    assert_eq!(subject(Leaf::controller_manager()), "CN=system:kube-controller-manager");
    assert_eq!(subject(Leaf::apiserver_kubelet_client()), "CN=kube-apiserver-kubelet-client");
}

#[test]
fn dates() {
    let authority = authority("kubernetes");
    let info = inspect(&authority.issue(&Leaf::admin(), terms(365)).unwrap().cert_pem).unwrap();
    assert_eq!(info.not_before.to_string(), "2025-12-31T23:55:00Z");
    assert_eq!(info.not_after.to_string(), "2027-01-01T00:00:00Z");
    let long = inspect(&authority.issue(&Leaf::admin(), terms(36500)).unwrap().cert_pem).unwrap();
    assert_eq!(long.not_after, authority.info().not_after, "no certificate outlives its authority");

    let late = Terms { now: "2040-01-01T00:00:00Z".parse().unwrap(), ..terms(1) };
    assert_eq!(
        authority.issue(&Leaf::admin(), late).unwrap_err().to_string(),
        "the certificate authority \"CN=kubernetes\" expired at 2035-12-30T00:00:00Z"
    );
}

/// Every form of private key that tools have written in the last twenty years.
#[test]
fn given_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let forms = [
        ("PKCS#8 RSA", "genrsa -out ca.key 2048", ""),
        ("PKCS#1 RSA", "genrsa -traditional -out ca.key 2048", ""),
        ("RSA 4096", "genrsa -out ca.key 4096", ""),
        ("SEC1 P-256", "ecparam -name prime256v1 -genkey -noout -out ca.key", ""),
        ("SEC1 P-384 with parameters block", "ecparam -name secp384r1 -genkey -out ca.key", ""),
        (
            "PKCS#8 P-384",
            "ecparam -name secp384r1 -genkey -noout -out sec1.key",
            "pkcs8 -topk8 -nocrypt -in sec1.key -out ca.key",
        ),
    ];
    for (form, first, second) in forms {
        openssl(dir, first);
        if !second.is_empty() {
            openssl(dir, second);
        }
        openssl(
            dir,
            "req -x509 -new -key ca.key -sha256 -days 3650 -out ca.crt -subj /C=DE/O=Example/OU=Ops/CN=ca",
        );
        let given = Authority::from_pem(&read(dir, "ca.crt"), &read(dir, "ca.key"))
            .unwrap_or_else(|error| panic!("{form}: {error}"));
        let terms = Terms { now: given.info().not_before + DAY, ..terms(30) };
        let identity = given.issue(&Leaf::etcd_server(&node()), terms).unwrap();
        write(dir, "leaf.crt", &identity.cert_pem);
        let at = terms.now.as_second();
        openssl(dir, &format!("verify -purpose sslserver -attime {at} -CAfile ca.crt leaf.crt"));
        check_chain(&identity.cert_pem, given.cert_pem()).unwrap();
        check_key(given.cert_pem(), given.key_pem().unwrap()).unwrap();
    }
}

#[test]
fn authorities_that_cannot_be_taken() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (one, other) = (authority("one"), authority("other"));
    let error = |cert: &str, key: &str| Authority::from_pem(cert, key).unwrap_err().to_string();
    assert_eq!(
        error(one.cert_pem(), other.key_pem().unwrap()),
        "the private key does not belong to the certificate \"CN=one\""
    );
    let leaf = one.issue(&Leaf::admin(), terms(1)).unwrap();
    assert_eq!(
        error(&leaf.cert_pem, &leaf.key_pem),
        "the certificate \"O=kubeadm:cluster-admins, CN=kubernetes-admin\" is not a certificate authority's (basic \
         constraint CA is not set)"
    );
    assert_eq!(error("nothing", one.key_pem().unwrap()), "no certificate in PEM form found");
    assert_eq!(error(one.cert_pem(), "nothing"), "no private key in PEM form found");

    write(dir, "one.key", one.key_pem().unwrap());
    let encrypted = "the private key is encrypted; give it without a passphrase";
    for form in [
        "pkcs8 -topk8 -in one.key -passout pass:x -out e.key",
        "ec -in one.key -aes128 -passout pass:x -out e.key",
    ] {
        openssl(dir, form);
        assert_eq!(error(one.cert_pem(), &read(dir, "e.key")), encrypted);
    }
    openssl(dir, "genpkey -algorithm ed448 -out odd.key");
    assert_eq!(
        error(one.cert_pem(), &read(dir, "odd.key")),
        "the private key cannot be used: only RSA of 2048 to 4096 bits and ECDSA on P-256 or P-384 can"
    );
    // Two organizational units: the crypto library keeps only one of them.
    openssl(dir, "ecparam -name prime256v1 -genkey -noout -out ca.key");
    openssl(dir, "req -x509 -new -key ca.key -days 36500 -out ca.crt -subj /OU=a/OU=b/CN=two");
    let two = Authority::from_pem(&read(dir, "ca.crt"), &read(dir, "ca.key")).unwrap();
    let terms = Terms { now: two.info().not_before, ..terms(1) };
    assert!(matches!(two.issue(&Leaf::admin(), terms), Err(PkiError::UnusableSubject { .. })));
}

#[test]
fn pin_is_kubeadms() {
    let authority = authority("kubernetes");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "ca.crt", authority.cert_pem());
    openssl(dir.path(), "x509 -in ca.crt -pubkey -noout -out pub.pem");
    openssl(dir.path(), "pkey -pubin -in pub.pem -outform DER -out pub.der");
    let hash = openssl(dir.path(), "dgst -sha256 -r pub.der");
    assert_eq!(authority.public_key_pin(), format!("sha256:{}", hash.split(' ').next().unwrap()));
}

#[test]
fn service_account_key() {
    let pair = SigningKeyPair::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "sa.key", &pair.private_pem);
    openssl(dir.path(), "pkey -in sa.key -pubout -out sa.pub");
    assert_eq!(read(dir.path(), "sa.pub").replace('\r', ""), pair.public_pem.replace('\r', ""));
    openssl(dir.path(), "genrsa -traditional -out rsa.key 2048");
    openssl(dir.path(), "pkey -in rsa.key -pubout -out rsa.pub");
    let given = SigningKeyPair::from_private_pem(&read(dir.path(), "rsa.key")).unwrap();
    assert_eq!(read(dir.path(), "rsa.pub"), given.public_pem.replace('\r', ""));
}

#[test]
fn problems() {
    let (ours, theirs) = (authority("kubernetes"), authority("kubernetes"));
    let leaf = Leaf {
        names: vec![dns("a.example.com"), dns("*.b.example.com"), ip("10.0.0.5")],
        ..Leaf::etcd_server(&node())
    };
    let identity = ours.issue(&leaf, terms(30)).unwrap();
    let cert = identity.cert_pem.as_str();

    check_names(cert, &[dns("A.example.com"), dns("x.b.example.com"), ip("10.0.0.5")]).unwrap();
    let wanted = [dns("x.y.b.example.com"), dns("b.example.com"), ip("10.0.0.6"), ip("10.0.0.5")];
    assert_eq!(
        check_names(cert, &wanted).unwrap_err().to_string(),
        "certificate \"CN=node-a\" is not valid for x.y.b.example.com, b.example.com, 10.0.0.6; it is valid for \
         a.example.com, *.b.example.com, 10.0.0.5"
    );
    // The same name and another key: what a second render on top of a running cluster would give.
    assert!(matches!(check_chain(cert, theirs.cert_pem()), Err(CertificateProblem::WrongAuthority { .. })));
    let renamed = authority("other");
    assert_eq!(
        check_chain(cert, renamed.cert_pem()).unwrap_err().to_string(),
        "certificate \"CN=node-a\" was not signed by the authority \"CN=other\", but by \"CN=kubernetes\""
    );
    assert_eq!(
        check_key(cert, theirs.key_pem().unwrap()).unwrap_err().to_string(),
        "the private key does not belong to the certificate \"CN=node-a\""
    );
    assert_eq!(
        check_dates(cert, "2026-03-01T00:00:00Z".parse().unwrap()).unwrap_err().to_string(),
        "certificate \"CN=node-a\" expired at 2026-01-31T00:00:00Z; it is 2026-03-01T00:00:00Z here"
    );
    assert_eq!(
        check_dates(cert, "2025-03-01T00:00:00Z".parse().unwrap()).unwrap_err().to_string(),
        "certificate \"CN=node-a\" is not valid before 2025-12-31T23:55:00Z; it is 2025-03-01T00:00:00Z here"
    );
}

#[test]
fn external_etcd_has_no_authority_of_ours() {
    let text = "etcd: {external: {endpoints: ['https://10.0.0.1:2379'], caFile: a, certFile: b, keyFile: c}}";
    let config = ClusterConfig::parse("f", text).unwrap();
    let authorities = Authorities::complete(GivenAuthorities::default(), &config, now()).unwrap();
    assert!(authorities.etcd.is_none());
}

#[test]
fn kubeconfig() {
    let authority = authority("kubernetes");
    let identity = authority.issue(&Leaf::admin(), terms(1)).unwrap();
    let config = |credential| Kubeconfig {
        cluster: "demo".to_owned(),
        server: "https://10.0.0.5:6443".to_owned(),
        ca_pem: authority.cert_pem().to_owned(),
        tls_server_name: None,
        user: "admin".to_owned(),
        credential,
    };
    let text = config(Credential::Token("abcdef.0123456789abcdef".to_owned())).to_yaml().unwrap();
    let (before, after) = text.split_once("certificate-authority-data: ").unwrap();
    let (data, after) = after.split_once('\n').unwrap();
    assert!(!data.contains(' ') && data.len() > 100, "one line of base64: {data}");
    assert_eq!(
        format!("{before}certificate-authority-data: …\n{after}"),
        "apiVersion: v1
kind: Config
clusters:
- name: demo
  cluster:
    server: https://10.0.0.5:6443
    certificate-authority-data: …
contexts:
- name: admin@demo
  context:
    cluster: demo
    user: admin
current-context: admin@demo
users:
- name: admin
  user:
    token: abcdef.0123456789abcdef
"
    );
    let text = config(Credential::Certificate(identity)).to_yaml().unwrap();
    assert!(
        text.contains("client-certificate-data: LS0t") && text.contains("client-key-data: LS0t"),
        "{text}"
    );
    let path = "/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned();
    let files = Credential::CertificateFiles { certificate: path.clone(), key: path };
    let text = config(files).to_yaml().unwrap();
    assert!(text.contains("client-key: /var/lib/kubelet/pki/kubelet-client-current.pem"), "{text}");
}

#[test]
fn tokens() {
    let tokens: Vec<_> = (0..200).map(|_| pki::generate_bootstrap_token().unwrap()).collect();
    let letters: std::collections::BTreeSet<char> =
        tokens.iter().flat_map(|token| token.secret().chars().collect::<Vec<_>>()).collect();
    assert_eq!(letters.len(), 36, "every letter and digit comes up");
    assert!(!format!("{:?}", tokens[0]).contains(tokens[0].secret()));
    assert_ne!(pki::encryption_key().unwrap(), pki::encryption_key().unwrap());
}

/// Secrets do not get into logs by way of Debug.
#[test]
fn debug_hides_keys() {
    let authority = authority("kubernetes");
    let identity = authority.issue(&Leaf::admin(), terms(1)).unwrap();
    let pair = SigningKeyPair::generate(KeyAlgorithm::EcdsaP384).unwrap();
    assert!(!format!("{authority:?} {identity:?} {pair:?}").contains("PRIVATE"));
}
