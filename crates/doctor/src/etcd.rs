//! etcd as the apiserver's checkpoint knows it: its endpoints, and the certificates by which the
//! apiserver talks to it. Whether it answers, and who its members are.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ask::{Answer, AskError, Identity, Question};
use assets::pod::{self, items};
use names::port;
use rustls::ClientConfig;
use serde::Serialize;
use serde_json::Value;

use crate::files::Files;

/// How long etcd may take to answer: it is on this machine or beside it.
const LIMIT: Duration = Duration::from_secs(3);

/// An etcd that can be asked.
#[derive(Clone, Debug)]
pub(crate) struct Etcd {
    /// Its endpoints, as the apiserver's flag has them.
    pub(crate) endpoints: Vec<String>,
    tls: Result<Option<Arc<ClientConfig>>, String>,
}

/// What one endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has a leader and no alarm.
    Healthy,
    /// It answers, and says what is wrong.
    Unhealthy(String),
    /// It does not answer.
    Silent(String),
    /// It could not be asked from here.
    Unasked(String),
}

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its id, hexadecimal as etcdctl prints it.
    pub id: String,
    /// Its name; empty until it was started for the first time.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it takes no part in votes yet.
    pub learner: bool,
}

impl Etcd {
    /// From an apiserver's static pod; none when it names no etcd.
    pub(crate) fn of_apiserver(files: &Files, pod: &Value) -> Option<Self> {
        let container = pod::apiserver(pod)?;
        let urls = pod::flag(container, "--etcd-servers")?.split(',').map(str::trim);
        let endpoints = urls.filter(|url| !url.is_empty()).map(str::to_owned).collect();
        Some(Self {
            endpoints,
            tls: tls(files, pod, container, ["--etcd-cafile", "--etcd-certfile", "--etcd-keyfile"]),
        })
    }

    /// From etcd's own static pod on this node, for when no apiserver's is there: its peers' certificate
    /// is a client's, too.
    pub(crate) fn of_static_pod(files: &Files, pod: &Value) -> Option<Self> {
        let container = server(pod)?;
        let urls = pod::flag(container, "--listen-client-urls")?.split(',').map(str::trim);
        let endpoints = urls.filter(|url| !url.is_empty()).map(str::to_owned).take(1).collect();
        let flags = ["--trusted-ca-file", "--peer-cert-file", "--peer-key-file"];
        Some(Self { endpoints, tls: tls(files, pod, container, flags) })
    }

    /// True when one of the endpoints is this host's: one of `addresses`, or loopback.
    pub(crate) fn is_local(&self, addresses: &[IpAddr]) -> bool {
        let local = |url: &String| {
            ask::address(url, port::ETCD_CLIENT)
                .is_ok_and(|(a, _)| a.ip().is_loopback() || addresses.contains(&a.ip()))
        };
        self.endpoints.iter().any(local)
    }

    /// Asks every endpoint for its health.
    pub(crate) async fn health(&self) -> Vec<(String, Health)> {
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
    pub(crate) async fn members(&self) -> Result<Vec<Member>, String> {
        let mut last = "there is no endpoint".to_owned();
        for url in &self.endpoints {
            match self.ask(url, "/v3/cluster/member/list", Some("{\"linearizable\":false}")).await {
                Ok(answer) if answer.status == 200 => return members(&answer.body),
                Ok(answer) => {
                    last = format!("{url} answered with status {}: {}", answer.status, answer.body.trim());
                }
                Err(Health::Silent(why) | Health::Unasked(why) | Health::Unhealthy(why)) => last = why,
                Err(Health::Healthy) => {}
            }
        }
        Err(last)
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

/// Asks the etcd of a static pod on this host by its endpoint without TLS.
pub(crate) async fn local_health(pod: &Value) -> Health {
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

/// TLS with the files that these flags name: CA, certificate, key. None where no CA is named.
fn tls(
    files: &Files,
    pod: &Value,
    container: &Value,
    flags: [&str; 3],
) -> Result<Option<Arc<ClientConfig>>, String> {
    let file = |name: &str| {
        let Some(path) = pod::flag(container, name) else { return Ok(String::new()) };
        let on_host: PathBuf = pod::on_host(pod, container, path)
            .ok_or_else(|| format!("{name}={path} is in no directory of the host"))?;
        files.text(&on_host).map_err(|error| format!("{}: {error}", on_host.display()))
    };
    let [ca, certificate, key] = flags.map(file);
    let (ca, certificate, key) = (ca?, certificate?, key?);
    if ca.is_empty() {
        return Ok(None);
    }
    let identity = Identity { certificates: certificate.as_bytes(), key: key.as_bytes() };
    ask::tls(ca.as_bytes(), Some(identity)).map(Some).map_err(|error| host::error::chain(&error))
}

fn members(body: &str) -> Result<Vec<Member>, String> {
    let answer: Value =
        serde_json::from_str(body).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let texts = |value: &Value| items(value).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let member = |member: &Value| Member {
        // The gateway writes 64-bit numbers as decimal text.
        id: member["ID"]
            .as_str()
            .and_then(|id| id.parse::<u64>().ok())
            .map_or_else(String::new, |id| format!("{id:x}")),
        name: member["name"].as_str().unwrap_or_default().to_owned(),
        peer_urls: texts(&member["peerURLs"]),
        client_urls: texts(&member["clientURLs"]),
        learner: member["isLearner"].as_bool().unwrap_or_default(),
    };
    Ok(items(&answer["members"]).iter().map(member).collect())
}

/// The host's paths of an etcd's certificates, by flag, and of its data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Each certificate file with the flag that names it.
    pub(crate) certificates: Vec<(&'static str, PathBuf)>,
    /// The directory of its data; none when it is not the host's.
    pub(crate) data: Option<PathBuf>,
}

/// Where the files of an etcd's static pod lie.
pub(crate) fn places(pod: &Value) -> Places {
    const FLAGS: [&str; 6] = [
        "--cert-file",
        "--key-file",
        "--trusted-ca-file",
        "--peer-cert-file",
        "--peer-key-file",
        "--peer-trusted-ca-file",
    ];
    let Some(container) = server(pod) else { return Places::default() };
    let mut seen = BTreeSet::new();
    let found = FLAGS.iter().filter_map(|flag| {
        let path = pod::on_host(pod, container, pod::flag(container, flag)?)?;
        seen.insert(path.clone()).then_some((*flag, path))
    });
    let certificates = found.collect();
    let data = pod::flag(container, "--data-dir").and_then(|path| pod::on_host(pod, container, path));
    Places { certificates, data }
}

/// The container that is an etcd server.
pub(crate) fn server(pod: &Value) -> Option<&Value> {
    pod::containers(pod)
        .find(|c| pod::flag(c, "--listen-client-urls").is_some() && pod::flag(c, "--data-dir").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_the_gateway_s_answer() {
        let body = r#"{"header":{"cluster_id":"1"},"members":[
            {"ID":"9372538179322589801","name":"a","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["https://10.0.0.1:2379"]},
            {"ID":"2","peerURLs":["https://10.0.0.2:2380"],"isLearner":true}]}"#;
        let members = members(body).unwrap();
        assert_eq!((members[0].id.as_str(), members[0].name.as_str()), ("8211f1d0f64f3269", "a"));
        assert_eq!((members[1].learner, members[1].client_urls.len()), (true, 0));
        assert!(super::members("404 page not found").is_err());
    }
}
