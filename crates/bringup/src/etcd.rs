//! An etcd that is not brought up here: does it answer, and with the certificate that the asset
//! directory expects? Asked before anything is started, since an apiserver without its etcd says
//! little and only after a while.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::assets::{AssetDir, BOOTSTRAP_SECRETS};
use rustls::ClientConfig;
use serde_json::Value;
use steer::probe::{self, Identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::assets::{apiserver, flag, pod_spec};

/// How long an endpoint may take to answer.
const LIMIT: Duration = Duration::from_secs(3);
/// etcd's client port.
const PORT: u16 = 2379;

/// One endpoint that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdEndpoint {
    /// Its URL, as the apiserver's flag has it.
    pub url: String,
    /// What keeps it from being used; none when it answers as it should.
    pub problem: Option<EtcdProblem>,
}

/// Why an endpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdProblem {
    /// Nobody answers there.
    #[error("{0}")]
    NoAnswer(String),
    /// Somebody answers whom the given certificates do not fit.
    #[error("{0}")]
    Untrusted(String),
    /// It could not be asked from here: a host name, or files that are not in the asset directory.
    #[error("{0}")]
    Unknown(String),
}

/// Asks every endpoint of an etcd that the asset directory does not bring along; none when it does.
pub async fn external_etcd(dir: &AssetDir) -> Vec<EtcdEndpoint> {
    let mut server = dir.bootstrap_pods().iter().map(|pod| &pod.object.value);
    let Some((pod, container)) = server.find_map(|pod| Some((pod, apiserver(pod)?))) else {
        return Vec::new();
    };
    if !dir.static_pods().is_empty() {
        return Vec::new();
    }
    let urls = flag(container, "--etcd-servers").unwrap_or_default().split(',');
    let mut endpoints = Vec::new();
    for url in urls.map(str::trim).filter(|url| !url.is_empty()) {
        let problem = ask(dir, pod, container, url).await.err();
        endpoints.push(EtcdEndpoint { url: url.to_owned(), problem });
    }
    endpoints
}

async fn ask(dir: &AssetDir, pod: &Value, container: &Value, url: &str) -> Result<(), EtcdProblem> {
    let unknown = |why: String| EtcdProblem::Unknown(why);
    let uri: http::Uri = url.parse().map_err(|e| unknown(format!("it is no URL: {e}")))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let ip: IpAddr =
        host.parse().map_err(|_| unknown("its host is a name, which is not resolved here".into()))?;
    let address = SocketAddr::new(ip, uri.port_u16().unwrap_or(PORT));
    let tls = match uri.scheme_str() {
        Some("https") => Some(client_tls(dir, pod, container)?),
        _ => None,
    };
    let answer = tokio::time::timeout(LIMIT, converse(address, tls)).await;
    answer.unwrap_or_else(|_| Err(EtcdProblem::NoAnswer(format!("no answer within {} s", LIMIT.as_secs()))))
}

fn client_tls(dir: &AssetDir, pod: &Value, container: &Value) -> Result<Arc<ClientConfig>, EtcdProblem> {
    let file = |name: &str| pem(dir, pod, container, name).map_err(EtcdProblem::Unknown);
    let (ca, certificates, key) = (file("--etcd-cafile")?, file("--etcd-certfile")?, file("--etcd-keyfile")?);
    let identity = Identity { certificates: certificates.as_bytes(), key: key.as_bytes() };
    let identity = (!certificates.is_empty()).then_some(identity);
    probe::tls(ca.as_bytes(), identity).map_err(|e| EtcdProblem::Unknown(e.to_string()))
}

/// Says a word and waits for an answer, whatever it is: a member that refuses the client's
/// certificate says so only after its own handshake is done (TLS 1.3).
async fn converse(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<(), EtcdProblem> {
    let mut stream = TcpStream::connect(address).await.map_err(|e| EtcdProblem::NoAnswer(e.to_string()))?;
    let Some(tls) = tls else { return Ok(()) };
    let untrusted = |e: io::Error| EtcdProblem::Untrusted(e.to_string());
    let mut stream =
        TlsConnector::from(tls).connect(address.ip().into(), &mut stream).await.map_err(untrusted)?;
    let request = format!("GET /health HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(untrusted)?;
    stream.read(&mut [0; 64]).await.map(drop).map_err(untrusted)
}

/// The file that a flag of the container names, found in `tls/` by the way it is mounted; empty
/// when there is no such flag.
fn pem(dir: &AssetDir, pod: &Value, container: &Value, name: &str) -> Result<String, String> {
    let Some(path) = flag(container, name) else { return Ok(String::new()) };
    let inner = staged(pod, container, path)
        .ok_or_else(|| format!("{name}={path} is not one of the asset directory's files"))?;
    let text = dir.tls(&inner).map_err(|e| e.to_string())?;
    text.ok_or_else(|| format!("{name}={path}: tls/{inner} is not in the asset directory"))
}

/// The part of a container's path below the directory of the staged secrets.
fn staged(pod: &Value, container: &Value, path: &str) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&container["volumeMounts"]).iter().find_map(|mount| {
        let inner = path.strip_prefix(mount["mountPath"].as_str()?)?.strip_prefix('/')?;
        let volumes = list(&pod_spec(pod)["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
        let host = format!("{}/{inner}", volume["hostPath"]["path"].as_str()?.trim_end_matches('/'));
        Some(host.strip_prefix(BOOTSTRAP_SECRETS)?.trim_start_matches('/').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_found_by_the_way_it_is_mounted() {
        let container = json!({"volumeMounts": [
            {"name": "logs", "mountPath": "/var/log"},
            {"name": "secrets", "mountPath": "/etc/kubernetes/secrets"},
        ]});
        let pod = |path: &str| json!({"kind": "Pod", "spec": {"volumes": [{"name": "secrets", "hostPath": {"path": path}}]}});
        let path = "/etc/kubernetes/secrets/etcd/ca.crt";
        let found = |host: &str| staged(&pod(host), &container, path);
        assert_eq!(found(BOOTSTRAP_SECRETS).as_deref(), Some("etcd/ca.crt"));
        assert_eq!(found("/etc/elsewhere"), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let problem = converse(closed, None).await.unwrap_err();
        assert!(matches!(&problem, EtcdProblem::NoAnswer(why) if why.contains("refused")), "{problem}");
    }
}
