//! Discovery by real TLS: whoever answers does it on loopback, under the address by which the cluster is known.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration as StdDuration;

use cluster::{KeyAlgorithm, SubjectName};
use fakes::cluster_info::{cluster_info, kubeconfig};
use pki::{Authority, Leaf, Terms};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::way::{Later, Network, ask_at};

const ENDPOINT: &str = "192.0.2.1:6443";
const SERVER: &str = "https://192.0.2.1:6443";
const TOKEN: &str = "abcdef.0123456789abcdef";

/// What is answered: the status, the text, the time.
type Told = (u16, String, Timestamp);

/// Whoever answers at the endpoint.
#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    /// What is answered to the first question, to the second, and to all after it.
    told: Arc<Mutex<Vec<Told>>>,
}

impl Server {
    /// One with a certificate of that authority for that address, valid from then for an hour.
    async fn start(ca: &Authority, name: &str, from: Timestamp, told: Vec<Told>) -> Self {
        let leaf = Leaf::apiserver_named(vec![SubjectName::Ip(name.parse().unwrap())]);
        let identity = ca.issue(&leaf, terms(from)).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(identity.cert_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), told: Arc::new(Mutex::new(told)) };
        let (acceptor, answering) = (TlsAcceptor::from(Arc::new(config)), server.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answering.next();
                // Who does not trust it says so and goes.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        server
    }

    fn next(&self) -> String {
        let mut told = self.told.lock().unwrap();
        let (status, body, time) = if told.len() > 1 { told.remove(0) } else { told[0].clone() };
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap();
        format!("HTTP/1.0 {status} X\r\nContent-Type: application/json\r\nDate: {date}\r\n\r\n{body}")
    }
}

impl Way for Server {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        whom: Whom<'a>,
    ) -> Later<'a, Answer, WayError> {
        Box::pin(async move {
            assert_eq!(endpoint.to_string(), ENDPOINT);
            ask_at(self.address, ServerName::try_from("192.0.2.1").unwrap(), path, whom).await
        })
    }

    fn client(&self, connection: &api::Connection) -> Result<api::Client, api::ClientError> {
        connection.client()
    }
}

fn terms(now: Timestamp) -> Terms {
    Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: StdDuration::from_hours(1), now }
}

fn authority() -> Authority {
    // It is valid whenever one of its certificates is.
    let (validity, now) =
        (StdDuration::from_hours(24 * 365), Timestamp::now() - SignedDuration::from_hours(24 * 100));
    Authority::generate("kubernetes", Terms { validity, ..terms(now) }).unwrap()
}

fn invitation(ca: &Authority) -> Invitation {
    Invitation {
        endpoint: ENDPOINT.parse().unwrap(),
        token: TOKEN.parse().unwrap(),
        pins: pki::pins(ca.cert_pem()).unwrap(),
    }
}

/// cluster-info of that CA with signatures of these tokens.
fn info(ca: &Authority, tokens: &[&str]) -> Told {
    (200, cluster_info(&kubeconfig(SERVER, ca.cert_pem()), tokens).to_string(), Timestamp::now())
}

/// What comes of the answers of an API server of that CA.
async fn discovered(ca: &Authority, told: Vec<Told>) -> Result<Trusted, JoinError> {
    let server = Server::start(ca, "192.0.2.1", Timestamp::now(), told).await;
    discover(&server, &invitation(ca)).await
}

#[tokio::test]
async fn a_cluster_of_the_pin_whose_text_is_signed_with_the_token_is_trusted() {
    let ca = authority();
    let trusted = discovered(&ca, vec![info(&ca, &["zzzzzz.0123456789abcdef", TOKEN])]).await.unwrap();
    assert_eq!((trusted.ca.as_str(), trusted.server.as_str()), (ca.cert_pem(), SERVER));
    let away = Timestamp::now().duration_since(trusted.time.unwrap()).abs();
    assert!(away < SignedDuration::from_mins(1), "{away}");
}

#[tokio::test]
async fn a_signature_that_comes_late_is_waited_for() {
    let ca = authority();
    let told = vec![info(&ca, &[]), info(&ca, &[]), info(&ca, &[TOKEN])];
    discovered(&ca, told).await.unwrap();
}

#[tokio::test]
async fn another_ca_is_told_with_both_pins() {
    let (ca, other) = (authority(), authority());
    let server = Server::start(&other, "192.0.2.1", Timestamp::now(), vec![info(&other, &[TOKEN])]).await;
    let error = discover(&server, &invitation(&ca)).await.unwrap_err();
    let pin = |ca: &Authority| pki::pins(ca.cert_pem()).unwrap()[0];
    let told = format!("the cluster at {ENDPOINT} has the CA {}, and not {}", pin(&other), pin(&ca));
    assert_eq!(error.to_string(), told);
}

#[tokio::test]
async fn who_shows_the_ca_of_another_cluster_is_found_out() {
    let (ca, forger) = (authority(), authority());
    let server = Server::start(&forger, "192.0.2.1", Timestamp::now(), vec![info(&ca, &[TOKEN])]).await;
    let error = discover(&server, &invitation(&ca)).await.unwrap_err();
    assert!(matches!(error, JoinError::Impostor { .. }), "{error}");
}

/// Who has a token signs what he likes: the pin is for whoever is given the command, against him too.
#[tokio::test]
async fn a_ca_beside_the_pinned_one_is_not_trusted() {
    let (ca, forger) = (authority(), authority());
    let both = kubeconfig(SERVER, &format!("{}{}", ca.cert_pem(), forger.cert_pem()));
    let told = || (200, cluster_info(&both, &[TOKEN]).to_string(), Timestamp::now());
    let server = Server::start(&forger, "192.0.2.1", Timestamp::now(), vec![told()]).await;
    let error = discover(&server, &invitation(&ca)).await.unwrap_err();
    assert!(matches!(error, JoinError::Impostor { .. }), "{error}");
    // The cluster's own API server may show both, while its CA is replaced.
    assert!(discovered(&ca, vec![told()]).await.unwrap().ca.contains(forger.cert_pem()));
}

#[tokio::test]
async fn a_first_answer_that_was_changed_on_its_way_is_found_out() {
    let ca = authority();
    let elsewhere = kubeconfig("https://198.51.100.1:6443", ca.cert_pem());
    let forged = (200, cluster_info(&elsewhere, &[]).to_string(), Timestamp::now());
    let error = discovered(&ca, vec![forged, info(&ca, &[TOKEN])]).await.unwrap_err();
    assert!(matches!(error, JoinError::Tampered { .. }), "{error}");
}

#[tokio::test]
async fn a_text_that_the_token_did_not_sign_is_not_used() {
    let ca = authority();
    let mut forged = cluster_info(&kubeconfig(SERVER, ca.cert_pem()), &[TOKEN]);
    let text = kubeconfig("https://198.51.100.1:6443", ca.cert_pem());
    forged["data"][CLUSTER_INFO_KUBECONFIG] = json!(text);
    let error = discovered(&ca, vec![(200, forged.to_string(), Timestamp::now())]).await.unwrap_err();
    assert!(matches!(&error, JoinError::WrongToken { id } if id == "abcdef"), "{error}");
    let other = "abcdef.ffffffffffffffff";
    let error = discovered(&ca, vec![info(&ca, &[other])]).await.unwrap_err();
    assert_eq!(error.to_string(), "the cluster has a token abcdef with another secret part than this one");
}

#[tokio::test]
async fn a_token_that_the_cluster_does_not_know_is_told_within_seconds() {
    let (ca, began) = (authority(), Instant::now());
    let error = discovered(&ca, vec![info(&ca, &["zzzzzz.0123456789abcdef"])]).await.unwrap_err();
    assert!(matches!(&error, JoinError::UnknownToken { id } if id == "abcdef"), "{error}");
    assert!(began.elapsed() >= SIGNING);
}

#[tokio::test]
async fn a_clock_that_is_behind_or_ahead_is_told_by_how_much() {
    let ca = authority();
    for hours in [24 * 30 + 1, -24 * 30 - 1] {
        let there = Timestamp::now() + SignedDuration::from_hours(hours);
        let (status, text, _) = info(&ca, &[TOKEN]);
        let server = Server::start(&ca, "192.0.2.1", there, vec![(status, text, there)]).await;
        let error = discover(&server, &invitation(&ca)).await.unwrap_err();
        assert!(matches!(error, JoinError::Clocks { .. }), "{error}");
        assert!(error.to_string().ends_with("they differ by 30 d"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_for_everybody_is_no_matter_of_clocks() {
    let ca = authority();
    let then = Timestamp::now() - SignedDuration::from_hours(5);
    let server = Server::start(&ca, "192.0.2.1", then, vec![info(&ca, &[TOKEN])]).await;
    let error = discover(&server, &invitation(&ca)).await.unwrap_err();
    assert!(matches!(error, JoinError::CertificateEnded { .. }), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_the_certificate_does_not_name_is_told() {
    let ca = authority();
    let server = Server::start(&ca, "192.0.2.9", Timestamp::now(), vec![info(&ca, &[TOKEN])]).await;
    let error = discover(&server, &invitation(&ca)).await.unwrap_err();
    assert_eq!(error.to_string(), "the API server's certificate is not valid for 192.0.2.1");
}

#[tokio::test]
async fn what_is_no_cluster_info_is_refused() {
    let ca = authority();
    let error = discovered(&ca, vec![(401, String::new(), Timestamp::now())]).await.unwrap_err();
    assert!(error.to_string().ends_with("it answers 401"), "{error}");
    let of = |text: &str| (200, cluster_info(text, &[TOKEN]).to_string(), Timestamp::now());
    let no_ca = "clusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]";
    let bad_ca = kubeconfig(SERVER, "no certificate");
    let two = format!("{}{}", kubeconfig(SERVER, ca.cert_pem()), "x: 1\nclusters: []\n");
    for told in [(200, "no JSON".to_owned(), Timestamp::now()), of("a: ["), of(no_ca), of(&bad_ca), of(&two)]
    {
        let error = discovered(&ca, vec![told.clone()]).await.unwrap_err();
        assert!(matches!(error, JoinError::Malformed { .. }), "{}: {error}", told.1);
    }
}

#[tokio::test]
async fn what_leads_every_host_to_itself_is_refused() {
    let ca = authority();
    for endpoint in ["127.0.0.1:6443", "[::1]:6443", "0.0.0.0:6443", "[::ffff:127.0.0.1]:6443", "localhost"] {
        let endpoint: Endpoint = endpoint.parse().unwrap();
        let own = Invitation { endpoint, ..invitation(&ca) };
        let error = discover(&Network, &own).await.unwrap_err();
        assert!(matches!(error, JoinError::Loopback { .. }), "{error}");
    }
    let local = kubeconfig("https://127.0.0.1:6443", ca.cert_pem());
    let told = (200, cluster_info(&local, &[TOKEN]).to_string(), Timestamp::now());
    let error = discovered(&ca, vec![told]).await.unwrap_err();
    assert!(matches!(error, JoinError::Loopback { .. }), "{error}");
}

#[tokio::test]
async fn this_host_s_network_leads_to_who_listens_and_says_when_nobody_does() {
    let ca = authority();
    let server = Server::start(&ca, "127.0.0.1", Timestamp::now(), vec![info(&ca, &[TOKEN])]).await;
    let endpoint = Endpoint::new(server.address.ip(), server.address.port());
    for whom in [Whom::Anybody, Whom::Signed(ca.cert_pem())] {
        assert_eq!(Network.ask(&endpoint, "/", whom).await.unwrap().status, 200, "{whom:?}");
    }
    let other = authority();
    let error = Network.ask(&endpoint, "/", Whom::Signed(other.cert_pem())).await.unwrap_err();
    assert!(matches!(&error, WayError::Ask(error) if error.distrust() == Some(Distrust::Issuer)), "{error}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::new(gone.ip(), gone.port());
    let error = Network.ask(&endpoint, "/", Whom::Anybody).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {gone}"));
}
