//! The client against listeners on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::{ApiError, ClientError, ClientOptions, Connection, ReadyzFailure, readyz};
use base64::Engine;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// For what gets an answer.
const LIMIT: Duration = Duration::from_secs(30);

fn kubeconfig(server: &str, cluster: &str) -> String {
    // As bootkube wrote the kubelet's: no current context.
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    server: {server}\n{cluster}\
         users:\n- name: admin\n  user: {{}}\ncontexts:\n- name: only\n  context: {{cluster: local, user: admin}}\n"
    )
}

async fn client(server: &str, cluster: &str, options: &ClientOptions) -> Result<api::Client, ClientError> {
    Connection::parse(&kubeconfig(server, cluster), "test", options).await?.client()
}

#[tokio::test]
async fn many_requests_at_once_take_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    // Takes connections and never says a word.
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    let client = client(&server, "", &ClientOptions::default()).await.unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let client = client.clone();
        requests.spawn(async move { readyz(&client, Duration::from_millis(500)).await });
    }
    for result in requests.join_all().await {
        assert!(matches!(result, Err(ReadyzFailure::NoAnswer(ApiError::TimedOut { .. }))), "{result:?}");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_connection_is_said_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = client(&server, "", &ClientOptions::default()).await.unwrap();
    let failure = readyz(&client, LIMIT).await.unwrap_err();
    assert_eq!(failure.to_string(), "no answer to GET /readyz: Connection refused (os error 111)");
}

#[tokio::test]
async fn a_server_by_name_is_looked_up_in_the_host_s_own_table() {
    let connection = |server: &str| {
        let text = kubeconfig(server, "");
        async move { Connection::parse(&text, "test", &ClientOptions::default()).await }
    };
    let named = connection("https://localhost:6443").await.unwrap();
    assert_eq!(
        named.server_name().unwrap(),
        Some("localhost".try_into().unwrap()),
        "the certificate's name stays"
    );
    let error = connection("https://nowhere.invalid:6443").await.unwrap_err();
    assert_eq!(error.to_string(), "the API server `https://nowhere.invalid:6443/` cannot be reached by name");
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.starts_with("nowhere.invalid does not resolve: "), "{why}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_apart() {
    let certified = rcgen::generate_simple_self_signed(["somebody-else".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let ca = base64::engine::general_purpose::STANDARD.encode(certified.cert.pem());
    let options =
        ClientOptions { tls_server_name: Some("kubernetes".to_owned()), ..ClientOptions::default() };
    let client = client(&server, &format!("    certificate-authority-data: {ca}\n"), &options).await.unwrap();
    let Err(ReadyzFailure::NoAnswer(error)) = readyz(&client, LIMIT).await else {
        panic!("the certificate must not be believed");
    };
    assert!(error.untrusted(), "{error}");
    assert!(error.to_string().contains("kubernetes"), "{error}");
}
