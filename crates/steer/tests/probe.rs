//! Probing one instance of several through the steered port. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test may")]

mod net;

use std::time::Duration;

use ask::{Answer, AskError};
use net::{PORT, Process, Server, in_namespace, order};
use rcgen::{CertificateParams, KeyPair};
use steer::Steerer;
use steer::probe::{Probe, ProbeError, Readiness};

const NAME: &str = "kubernetes.default.svc";

#[test]
#[ignore = "a child process of the other tests"]
fn child() {
    net::play(|| ());
}

struct Certificate {
    certificate: String,
    key: String,
}

fn certificate() -> Certificate {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A server that answers every request with this status and body.
fn serve(certificate: &Certificate, status: &str, body: &str) -> Server {
    let files = [("CERTIFICATE", certificate.certificate.as_str()), ("KEY", certificate.key.as_str())];
    Server::of(Process::start_with(&format!("tls [::]:{PORT} {status} {body}"), &files))
}

fn probe(certificate: &Certificate) -> Probe {
    Probe {
        address: format!("127.0.0.1:{PORT}").parse().unwrap(),
        server_name: NAME.try_into().unwrap(),
        tls: ask::tls(certificate.certificate.as_bytes(), None).unwrap(),
        path: "/readyz?verbose".to_owned(),
        timeout: Duration::from_secs(5),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    // The namespace is this thread's: everything must stay on it.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn each_instance_answers_for_itself_again_and_again_and_at_the_same_time() {
    in_namespace(|| {
        let certificate = certificate();
        let ready = serve(&certificate, "200", "ok");
        let starting = serve(&certificate, "500", "[-]etcd");
        let mut steerer = Steerer::attach(PORT).unwrap();
        steerer.apply(&order(&[&ready, &starting])).unwrap();
        let port = |server: &Server| steerer.probe_port(server.listener.id).unwrap();
        let (first, second) = (port(&ready), port(&starting));

        let v4 = probe(&certificate);
        let v6 = Probe { address: format!("[::1]:{PORT}").parse().unwrap(), ..v4.clone() };
        block_on(async {
            for probe in [&v4, &v6] {
                for _ in 0..30 {
                    let (a, b, again) =
                        tokio::join!(probe.ready(first), probe.ready(second), probe.ready(first));
                    let (a, b) = (a.unwrap(), b.unwrap());
                    assert_eq!(again.unwrap(), a);
                    assert_eq!(a, Readiness(Answer { status: 200, body: "ok".to_owned(), date: None }));
                    assert!(!b.is_ready());
                    assert_eq!(b.failing().collect::<Vec<_>>(), ["etcd"]);
                }
            }
        });
    });
}

#[test]
fn what_is_wrong_is_told_apart() {
    in_namespace(|| {
        let certificate = certificate();
        let server = serve(&certificate, "200", "ok");
        let deaf = Server::deaf();
        let mut steerer = Steerer::attach(PORT).unwrap();
        steerer.apply(&order(&[&server, &deaf])).unwrap();
        let port = |server: &Server| steerer.probe_port(server.listener.id).unwrap();
        let (good, silent) = (port(&server), port(&deaf));
        let probe = probe(&certificate);
        let other_ca = Probe { tls: self::probe(&self::certificate()).tls, ..probe.clone() };
        let other_name = Probe { server_name: "example.org".try_into().unwrap(), ..probe.clone() };
        let hasty = Probe { timeout: Duration::from_millis(100), ..probe.clone() };
        block_on(async {
            for wrong in [other_ca, other_name] {
                let error = wrong.ready(good).await.unwrap_err();
                assert!(matches!(error, ProbeError::Ask(AskError::Tls { .. })), "{error}");
            }
            // Twice: what was given up leaves nothing behind that is in the way.
            for _ in 0..2 {
                let error = hasty.ready(silent).await.unwrap_err();
                assert_eq!(error.to_string(), format!("127.0.0.1:{PORT} did not answer within 100 ms"));
            }
            assert!(probe.ready(good).await.unwrap().is_ready());
            server.process.kill();
            let error = probe.ready(good).await.unwrap_err();
            assert!(matches!(error, ProbeError::Ask(AskError::Connect { .. })), "{error}");
        });
    });
}
