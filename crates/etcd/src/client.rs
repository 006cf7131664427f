//! One etcd as somebody knows it from a pod's flags: its endpoints, and the certificates by which it lets one
//! in. Whether it answers, and who its members are.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ask::{Answer, AskError, Identity, Question};
use names::port;
use objects::pod;
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::member::{self, Member};
use crate::server;

/// How long etcd may take to answer: it is on this machine or beside it.
const LIMIT: Duration = Duration::from_secs(3);

/// Reads a file of the host as text; the error is a clause that says why it cannot be had. Whoever knows an etcd
/// by a pod's flags knows where the pod's files lie: on this disk, below another root, in an asset directory.
pub type Read<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// An etcd that can be asked.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// Its endpoints, as the flag has them.
    pub endpoints: Vec<String>,
    tls: Result<Option<Arc<ClientConfig>>, String>,
}

/// Why an endpoint cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody answers there.
    #[error("{0}")]
    NoAnswer(String),
    /// Somebody answers whom the given certificates do not fit.
    #[error("{0}")]
    Untrusted(String),
    /// It could not be asked from here: a host name, or files that are not to be had.
    #[error("{0}")]
    Unknown(String),
}

/// What one endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has a leader and no alarm.
    Healthy,
    /// It answers, and says what is wrong.
    Unhealthy(String),
    /// It does not answer.
    Silent(String),
    /// It could not be asked from here.
    Unasked(String),
}

impl Etcd {
    /// From the pod of an apiserver; none when it names no etcd.
    pub fn of_apiserver(pod: &Value, read: Read<'_>) -> Option<Self> {
        let container = pod::apiserver(pod)?;
        let endpoints = server::urls(pod::flag(container, "--etcd-servers")?).collect();
        let flags = ["--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"];
        Some(Self { endpoints, tls: tls(read, pod, container, flags) })
    }

    /// From etcd's own static pod, for when no apiserver's is there: its peers' certificate is a client's, too.
    pub fn of_server(pod: &Value, read: Read<'_>) -> Option<Self> {
        let container = server::container(pod)?;
        let endpoints = server::urls(pod::flag(container, "--listen-client-urls")?).take(1).collect();
        let flags = ["--trusted-ca-file", "--peer-cert-file", "--peer-key-file"];
        Some(Self { endpoints, tls: tls(read, pod, container, flags) })
    }

    /// True when one of the endpoints is this host's: one of `addresses`, or loopback.
    pub fn is_local(&self, addresses: &[IpAddr]) -> bool {
        let local = |url: &String| {
            ask::address(url, port::ETCD_CLIENT)
                .is_ok_and(|(a, _)| a.ip().is_loopback() || addresses.contains(&a.ip()))
        };
        self.endpoints.iter().any(local)
    }

    /// Asks every endpoint for its health.
    pub async fn health(&self) -> Vec<(String, Health)> {
        let mut all = Vec::new();
        for url in &self.endpoints {
            all.push((url.clone(), self.health_of(url).await));
        }
        all
    }

    async fn health_of(&self, url: &str) -> Health {
        match self.ask(url, "/health", None).await {
            Err(health) => health,
            Ok(answer) => {
                let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
                if answer.status == 200 && body["health"] == "true" {
                    return Health::Healthy;
                }
                let reason = body["reason"].as_str().filter(|r| !r.is_empty()).unwrap_or(answer.body.trim());
                Health::Unhealthy(format!("status {}: {reason}", answer.status))
            }
        }
    }

    /// The members, as the first endpoint that answers knows them.
    ///
    /// # Errors
    /// A clause that says why nobody told.
    pub async fn members(&self) -> Result<Vec<Member>, String> {
        self.call("/v3/cluster/member/list", "{\"linearizable\":false}")
            .await
            .and_then(|body| member::parse(&body))
    }

    /// Has a member known to the others under other URLs. etcd has to have a leader; the member itself may be the only one.
    ///
    /// # Errors
    /// A clause that says why it is not done.
    pub async fn set_peer_urls(&self, member: &Member, urls: &[String]) -> Result<(), String> {
        let id =
            u64::from_str_radix(&member.id, 16).map_err(|error| format!("member {}: {error}", member.id))?;
        // As the gateway writes 64-bit numbers itself.
        let body = json!({"ID": id.to_string(), "peerURLs": urls}).to_string();
        self.call("/v3/cluster/member/update", &body).await.map(drop)
    }

    /// What the first endpoint that answers says to a call of its gateway.
    async fn call(&self, path: &str, body: &str) -> Result<String, String> {
        let mut last = "there is no endpoint".to_owned();
        for url in &self.endpoints {
            match self.ask(url, path, Some(body)).await {
                Ok(answer) if answer.status == 200 => return Ok(answer.body),
                Ok(answer) => {
                    last = format!("{url} answered with status {}: {}", answer.status, answer.body.trim());
                }
                Err(Health::Silent(why) | Health::Unasked(why) | Health::Unhealthy(why)) => last = why,
                Err(Health::Healthy) => {}
            }
        }
        Err(last)
    }

    /// Why each endpoint cannot be used; none for one that can.
    pub async fn lacks(&self) -> Vec<(String, Option<Problem>)> {
        let mut all = Vec::new();
        for url in &self.endpoints {
            let problem = match (ask::address(url, port::ETCD_CLIENT), &self.tls) {
                (Ok((_, true)), Err(why)) => Some(Problem::Unknown(why.clone())),
                (_, tls) => converse(url, tls.clone().ok().flatten()).await.err(),
            };
            all.push((url.clone(), problem));
        }
        all
    }

    async fn ask(&self, url: &str, path: &str, body: Option<&str>) -> Result<Answer, Health> {
        let tls = self.tls.clone().map_err(Health::Unasked)?;
        let question = Question { path, body };
        ask::ask(url, port::ETCD_CLIENT, tls, question, LIMIT).await.map_err(|error: AskError| {
            let why = host::error::chain(&error);
            if error.is_unasked() { Health::Unasked(why) } else { Health::Silent(why) }
        })
    }
}

/// Says a word and waits for an answer, whatever it is: a member that refuses the client's
/// certificate says so only after its own handshake is done (TLS 1.3).
async fn converse(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<(), Problem> {
    let trusts = tls.is_some();
    let question = Question { path: "/health", body: None };
    let error = match ask::ask(url, port::ETCD_CLIENT, tls, question, LIMIT).await {
        Ok(_) | Err(AskError::NotHttp { .. }) => return Ok(()),
        Err(error) => error,
    };
    // Whoever reads it knows which endpoint it is about: the cause is enough.
    Err(match error {
        AskError::Tls { source, .. } | AskError::Lost { source, .. } if trusts => {
            Problem::Untrusted(source.to_string())
        }
        AskError::Connect { source, .. } | AskError::Lost { source, .. } => {
            Problem::NoAnswer(source.to_string())
        }
        AskError::Url { why, .. } => Problem::Unknown(why.to_owned()),
        other => Problem::NoAnswer(other.to_string()),
    })
}

/// Where the etcd of a control-plane node is for its own processes.
pub fn local_endpoint() -> String {
    format!("https://127.0.0.1:{}", port::ETCD_CLIENT)
}

/// Asks the etcd of a static pod on this host by its endpoint without TLS.
pub async fn local_health(pod: &Value) -> Health {
    let flag = pod::containers(pod).find_map(|c| pod::flag(c, "--listen-metrics-urls"));
    // Where its flag does not say.
    let usual = format!("http://127.0.0.1:{}", port::ETCD_METRICS);
    let url = flag.and_then(|urls| urls.split(',').next()).unwrap_or(&usual);
    let question = Question { path: "/readyz", body: None };
    match ask::ask(url, port::ETCD_METRICS, None, question, LIMIT).await {
        Ok(answer) if answer.status == 200 => Health::Healthy,
        // etcd before 3.5.11 has no /readyz.
        Ok(answer) if answer.status == 404 => Health::Unasked("this etcd has no /readyz".to_owned()),
        Ok(answer) => Health::Unhealthy(answer.body.trim().replace('\n', ", ")),
        Err(error) if error.is_unasked() => Health::Unasked(error.to_string()),
        Err(error) => Health::Silent(host::error::chain(&error)),
    }
}

/// TLS with the files that these flags name: CA, certificate, key. None where none of them is named.
fn tls(
    read: Read<'_>,
    pod: &Value,
    container: &Value,
    flags: [&str; 3],
) -> Result<Option<Arc<ClientConfig>>, String> {
    let file = |name: &str| {
        let Some(path) = pod::flag(container, name) else { return Ok(String::new()) };
        let on_host = pod::on_host(pod, container, path)
            .ok_or_else(|| format!("{name}={path} is in no directory of the host"))?;
        read(&on_host).map_err(|why| format!("{name}={path}: {why}"))
    };
    let [ca, certificate, key] = flags.map(file);
    let (ca, certificate, key) = (ca?, certificate?, key?);
    if ca.is_empty() && certificate.is_empty() {
        return Ok(None);
    }
    let identity = Identity { certificates: certificate.as_bytes(), key: key.as_bytes() };
    let identity = (!certificate.is_empty()).then_some(identity);
    ask::tls(ca.as_bytes(), identity).map(Some).map_err(|error| host::error::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let problem = converse(&format!("http://{closed}"), None).await.unwrap_err();
        assert!(matches!(&problem, Problem::NoAnswer(why) if why.contains("refused")), "{problem}");
    }

    #[tokio::test]
    async fn files_that_cannot_be_had_are_no_word_on_etcd() {
        let pod = json!({"kind": "Pod", "spec": {"containers": [{"args":
            ["--etcd-servers=https://127.0.0.1:1, http://127.0.0.1:1", "--etcd-cafile=/in/the/image/ca.crt"]}]}});
        let etcd = Etcd::of_apiserver(&pod, &|_| Ok(String::new())).unwrap();
        let lacks = etcd.lacks().await;
        let unknown =
            Problem::Unknown("--etcd-cafile=/in/the/image/ca.crt is in no directory of the host".into());
        assert_eq!(lacks[0], ("https://127.0.0.1:1".to_owned(), Some(unknown)));
        assert!(matches!(lacks[1].1, Some(Problem::NoAnswer(_))), "{lacks:?}");
    }
}
