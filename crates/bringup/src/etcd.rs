//! An etcd that is not brought up here: does it answer, and with the certificate that the asset
//! directory expects? Asked before anything is started, since an apiserver without its etcd says
//! little and only after a while.

use std::sync::Arc;
use std::time::Duration;

use ::assets::AssetDir;
use ::assets::pod::{apiserver, flag, on_host};
use ask::{AskError, Identity, Question};
use names::path::BOOTSTRAP_SECRETS;
use names::port;
use rustls::ClientConfig;
use serde_json::Value;

/// How long an endpoint may take to answer.
const LIMIT: Duration = Duration::from_secs(3);

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
    let tls = match ask::address(url, port::ETCD_CLIENT) {
        Ok((_, true)) => Some(client_tls(dir, pod, container)?),
        _ => None,
    };
    converse(url, tls).await
}

fn client_tls(dir: &AssetDir, pod: &Value, container: &Value) -> Result<Arc<ClientConfig>, EtcdProblem> {
    let file = |name: &str| pem(dir, pod, container, name).map_err(EtcdProblem::Unknown);
    let (ca, certificates, key) = (file("--etcd-cafile")?, file("--etcd-certfile")?, file("--etcd-keyfile")?);
    let identity = Identity { certificates: certificates.as_bytes(), key: key.as_bytes() };
    let identity = (!certificates.is_empty()).then_some(identity);
    ask::tls(ca.as_bytes(), identity).map_err(|e| EtcdProblem::Unknown(host::error::chain(&e)))
}

/// Says a word and waits for an answer, whatever it is: a member that refuses the client's
/// certificate says so only after its own handshake is done (TLS 1.3).
async fn converse(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<(), EtcdProblem> {
    let trusts = tls.is_some();
    let question = Question { path: "/health", body: None };
    let error = match ask::ask(url, port::ETCD_CLIENT, tls, question, LIMIT).await {
        Ok(_) | Err(AskError::NotHttp { .. }) => return Ok(()),
        Err(error) => error,
    };
    // Whoever reads it knows which endpoint it is about: the cause is enough.
    Err(match error {
        AskError::Tls { source, .. } | AskError::Lost { source, .. } if trusts => {
            EtcdProblem::Untrusted(source.to_string())
        }
        AskError::Connect { source, .. } | AskError::Lost { source, .. } => {
            EtcdProblem::NoAnswer(source.to_string())
        }
        AskError::Url { why, .. } => EtcdProblem::Unknown(why.to_owned()),
        other => EtcdProblem::NoAnswer(other.to_string()),
    })
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
    let host = on_host(pod, container, path)?;
    Some(host.strip_prefix(BOOTSTRAP_SECRETS).ok()?.to_str()?.to_owned())
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
        assert_eq!(found(&format!("{BOOTSTRAP_SECRETS}-of-others")), None);
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let problem = converse(&format!("http://{closed}"), None).await.unwrap_err();
        assert!(matches!(&problem, EtcdProblem::NoAnswer(why) if why.contains("refused")), "{problem}");
    }
}
