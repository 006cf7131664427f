use super::*;

/// Long for a loopback; nothing here waits for it.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn urls_have_addresses() {
    let of = |url: &str| address(url, 2379).map(|(address, tls)| (address.to_string(), tls));
    assert_eq!(of("https://10.0.0.1:2379").unwrap(), ("10.0.0.1:2379".to_owned(), true));
    assert_eq!(of("http://10.0.0.1").unwrap(), ("10.0.0.1:2379".to_owned(), false));
    assert_eq!(of("https://[::1]:4001/").unwrap(), ("[::1]:4001".to_owned(), true));
    assert_eq!(of("https://[::1]").unwrap(), ("[::1]:2379".to_owned(), true));
    assert!(of("https://etcd.example:2379").unwrap_err().is_unasked());
    assert!(of("10.0.0.1").is_err());
}

#[test]
fn answers_are_told_from_noise() {
    let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{\"health\":\"false\"}").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "{\"health\":\"false\"}"));
    assert_eq!(answer.date, None);
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\nok").unwrap().status, 200);
    let dated = b"HTTP/1.0 200 OK\r\nA: b\r\ndate:  Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nDate: x";
    assert_eq!(parse(dated).unwrap().date.unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), None);
    assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
    assert_eq!(parse(b""), None);
}

#[tokio::test]
async fn a_post_carries_its_body() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 1024];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let question = Question { path: "/v3/x", body: Some("{\"a\":1}") };
    let answer = ask(&url, 1, None, question, LIMIT).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /v3/x HTTP/1.0\r\n"), "{request}");
    assert!(request.ends_with("Content-Length: 7\r\n\r\n{\"a\":1}"), "{request}");
}

#[tokio::test]
async fn who_is_silent_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let question = Question { path: "/", body: None };
    let error = ask(&url, 1, None, question, Duration::from_millis(50)).await.unwrap_err();
    let told = format!("{} did not answer within 50 ms", listener.local_addr().unwrap());
    assert_eq!(error.to_string(), told);
}

#[test]
fn empty_pem_is_an_error_that_says_which() {
    assert_eq!(tls(b"", None).unwrap_err().to_string(), "cannot read the CA certificates");
}

#[test]
fn a_client_certificate_can_be_given() {
    let pair = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = pair();
    let with = |key: &str| {
        let identity = Identity { certificates: certificate.as_bytes(), key: key.as_bytes() };
        tls(certificate.as_bytes(), Some(identity))
    };
    assert!(with(&key).is_ok());
    assert_eq!(with("").unwrap_err().to_string(), "cannot read the client key");
    assert_eq!(with(&pair().1).unwrap_err().to_string(), "cannot use the client certificate");
}
