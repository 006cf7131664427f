//! A host below a temporary directory and the cluster that it joins, on fakes: programs, containerd, a kubelet that asks
//! for its certificate with the token that it was started with, a guardian that decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Client, Connection};
use ask::{Answer, AskError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Parser;
use cluster::{ClusterConfig, Endpoint, KeyAlgorithm};
use fakes::cluster::Cluster;
use fakes::cluster_info::{cluster_info, kubeconfig};
use fakes::machine::Machine;
use jiff::{SignedDuration, Timestamp};
use join::requests::REQUESTS;
use join::{Later, Way, WayError, Whom};
use names::object::{KUBE_SYSTEM, KUBELET_CLIENT_SIGNER, NODE_CONFIG, NODE_CONFIG_KEY};
use names::{path, user};
use node::facts::Addresses;
use node::{Facts, Root, kubelet_certificate};
use pki::{Authority, CsrSubject, Leaf, Terms};
use serde_json::json;

use super::steps::{Outcome, Place, Step};
use super::{JoinArgs, join};
use crate::commands::killed;
use crate::exit::Failure;
use crate::ui::{Format, Ui};

pub(super) const NODE: &str = "w";
pub(super) const ENDPOINT: &str = "192.0.2.1:6443";
pub(super) const TOKEN: &str = "abcdef.0123456789abcdef";
/// How often everybody but `join` looks.
const PERIOD: Duration = Duration::from_millis(100);

pub(super) type Kill = killed::Kill<Step>;

/// The cluster, as it is asked from outside.
#[derive(Debug)]
struct Outside {
    cluster: Cluster,
    ca: String,
    /// The tokens that it knows.
    tokens: Mutex<Vec<String>>,
    /// How far its clock is ahead.
    ahead: Mutex<SignedDuration>,
    /// Nobody listens there.
    gone: Mutex<bool>,
}

impl Way for Outside {
    fn ask<'a>(&'a self, endpoint: &'a Endpoint, _: &'a str, whom: Whom<'a>) -> Later<'a, Answer, WayError> {
        let answer = || {
            let address = endpoint.to_string().parse().unwrap();
            if *self.gone.lock().unwrap() {
                let source = std::io::ErrorKind::ConnectionRefused.into();
                return Err(AskError::Connect { address, source }.into());
            }
            if let Whom::Signed(ca) = whom {
                assert_eq!(ca, self.ca);
            }
            let tokens = self.tokens.lock().unwrap();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let body = cluster_info(&kubeconfig(&format!("https://{ENDPOINT}"), &self.ca), &tokens);
            let time = Timestamp::now() + *self.ahead.lock().unwrap();
            let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
            Ok(Answer { status: 200, body: body.to_string(), date: Some(date.unwrap()) })
        };
        Box::pin(std::future::ready(answer()))
    }

    fn client(&self, _: &Connection) -> Result<Client, api::ClientError> {
        Ok(self.cluster.client())
    }
}

/// The kubelet of the host.
struct Kubelet {
    root: Root,
    machine: Machine,
    outside: Arc<Outside>,
    authority: Arc<Authority>,
    /// What its requests are answered with, where that is no.
    refuses: Arc<Mutex<Option<String>>>,
    /// How often it was started, and the kubeconfig that it found the last time.
    started: usize,
    found: String,
}

impl Kubelet {
    fn step(&mut self) {
        if !self.machine.runs(path::KUBELET_UNIT) {
            return;
        }
        let is_start = |line: &&String| line.contains("restart") && line.contains(path::KUBELET_UNIT);
        let started = self.machine.called().iter().filter(is_start).count();
        if started != self.started {
            self.started = started;
            let file = self.root.path(path::KUBELET_BOOTSTRAP_KUBECONFIG);
            self.found = host::fs::read_to_string(&file).unwrap_or_default();
        }
        let ca = &self.outside.ca;
        if kubelet_certificate::is_there(&self.root, ca, NODE, Timestamp::now()) {
            return self.register();
        }
        let tokens = self.outside.tokens.lock().unwrap();
        if tokens.iter().any(|token| self.found.contains(token.as_str())) {
            match &*self.refuses.lock().unwrap() {
                Some(why) => self.refused(why),
                None => self.issued(),
            }
        }
    }

    fn issued(&self) {
        let terms = terms();
        let identity = self.authority.issue(&Leaf::kubelet(NODE), terms).unwrap();
        let text = kubelet_certificate::text(&identity.cert_pem, &identity.key_pem);
        kubelet_certificate::put(&self.root, kubelet_certificate::CLIENT, &text).unwrap();
        let own = kubeconfig(&format!("https://{ENDPOINT}"), &self.outside.ca);
        let own = own.replace("contexts: []", "contexts:\n- {name: c, context: {cluster: \"\", user: u}}");
        let own = own.replace("current-context: \"\"", "current-context: c");
        let own = own.replace("users: []", "users:\n- {name: u, user: {}}");
        host::fs::write(&self.root.path(path::KUBELET_KUBECONFIG), own.as_bytes(), 0o600).unwrap();
    }

    fn refused(&self, why: &str) {
        let subject = CsrSubject {
            common_name: format!("{}{NODE}", user::NODE_PREFIX),
            organizations: vec![user::NODES.to_owned()],
            names: Vec::new(),
        };
        let (_, csr) = pki::new_csr(&subject, KeyAlgorithm::EcdsaP256).unwrap();
        let request = json!({
            "metadata": {"name": "csr-x", "creationTimestamp": (Timestamp::now() + SignedDuration::from_secs(1)).to_string()},
            "spec": {"signerName": KUBELET_CLIENT_SIGNER, "request": BASE64.encode(csr),
                "username": format!("{}abcdef", user::BOOTSTRAP_PREFIX)},
            "status": {"conditions": [{"type": "Denied", "message": why}]}});
        self.outside.cluster.put(&format!("{REQUESTS}/csr-x"), request);
    }

    /// The Node is Ready when the images are there.
    fn register(&self) {
        let ready = if self.machine.images().is_empty() { "False" } else { "True" };
        let node = json!({"kind": "Node", "metadata": {"name": NODE},
            "status": {"conditions": [{"type": "Ready", "status": ready, "message": "no images"}]}});
        self.outside.cluster.put(&format!("/api/v1/nodes/{NODE}"), node);
    }
}

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: JoinArgs,
}

fn terms() -> Terms {
    Terms { algorithm: KeyAlgorithm::EcdsaP256, validity: Duration::from_hours(1), now: Timestamp::now() }
}

/// See the module.
pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) facts: Facts,
    machine: Machine,
    outside: Arc<Outside>,
    authority: Arc<Authority>,
    refuses: Arc<Mutex<Option<String>>>,
}

impl World {
    /// A bare host, a bundle, and a cluster that knows [`TOKEN`].
    pub(super) fn new() -> Self {
        let config = ClusterConfig::default();
        let dir = killed::dir();
        let images: Vec<_> = config.images().iter().map(|(_, image)| image.to_string()).collect();
        let version = config.kubernetes_version.to_string();
        fakes::bundle::write(&dir.path().join("bundle"), &version, &images, &bundle::HOST_PROGRAMS);
        let cluster = Cluster::default();
        cluster.say("/version", 200, &json!({"gitVersion": version}).to_string());
        let authority = Arc::new(Authority::generate("kubernetes", terms()).unwrap());
        let outside = Outside {
            cluster,
            ca: authority.cert_pem().to_owned(),
            tokens: Mutex::new(vec![TOKEN.to_owned()]),
            ahead: Mutex::default(),
            gone: Mutex::default(),
        };
        let world = Self {
            machine: Machine::new(&dir.path().join("root")),
            dir,
            facts: Facts { addresses: Addresses::example([192, 0, 2, 2].into()), ..Facts::example(NODE) },
            outside: Arc::new(outside),
            authority,
            refuses: Arc::default(),
        };
        world.tells(&config);
        world
    }

    /// What the cluster tells its nodes of itself.
    pub(super) fn tells(&self, config: &ClusterConfig) {
        let mut map = json!({"kind": "ConfigMap", "metadata": {"name": NODE_CONFIG}, "data": {}});
        map["data"][NODE_CONFIG_KEY] = json!(config.of_nodes().unwrap());
        self.cluster().put(&format!("/api/v1/namespaces/{KUBE_SYSTEM}/configmaps/{NODE_CONFIG}"), map);
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.outside.cluster
    }

    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The pin of the cluster's CA.
    pub(super) fn pin(&self) -> String {
        pki::pins(&self.outside.ca).unwrap()[0].to_string()
    }

    pub(super) fn tokens(&self, tokens: &[&str]) {
        *self.outside.tokens.lock().unwrap() = tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    pub(super) fn clock_ahead(&self, ahead: SignedDuration) {
        *self.outside.ahead.lock().unwrap() = ahead;
    }

    pub(super) fn gone(&self) {
        *self.outside.gone.lock().unwrap() = true;
    }

    pub(super) fn refuses(&self, why: Option<&str>) {
        *self.refuses.lock().unwrap() = why.map(str::to_owned);
    }

    pub(super) fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// Where a path of the node lies.
    pub(super) fn root(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path::below_root(path))
    }

    /// Joins to the end, with the command that the cluster prints.
    pub(super) async fn join(&self, more: &[&str]) -> Result<Outcome, Failure> {
        self.join_as(TOKEN, &self.pin(), Kill::Never, more).await.expect("nobody kills it")
    }

    /// The same with another token or pin, until it is killed; nothing comes of it then.
    pub(super) async fn join_as(
        &self,
        token: &str,
        pin: &str,
        kill: Kill,
        more: &[&str],
    ) -> Option<Result<Outcome, Failure>> {
        kill.arm(&self.machine);
        let bundle = self.bundle();
        let ours = ["join", ENDPOINT, "--token", token, "--discovery-token-ca-cert-hash", pin];
        let bundle = ["--bundle", bundle.to_str().unwrap(), "--timeout", "5"];
        let line = ours.iter().chain(&bundle).chain(more);
        let args = Line::try_parse_from(line).unwrap().args;
        let way = Arc::clone(&self.outside) as Arc<dyn Way>;
        let place = Place { root: self.machine.root(), facts: self.facts.clone(), way };
        let begins = |step: Step| kill.begins(step);
        let kubelet = self.run_kubelet();
        let ui = Ui::new(Format::Text, true);
        let ended = killed::ended(join(&args, &place, &begins, &ui)).await;
        kubelet.abort();
        let _ = kubelet.await;
        ended
    }

    fn run_kubelet(&self) -> tokio::task::JoinHandle<()> {
        let mut kubelet = Kubelet {
            root: self.machine.root(),
            machine: self.machine.clone(),
            outside: Arc::clone(&self.outside),
            authority: Arc::clone(&self.authority),
            refuses: Arc::clone(&self.refuses),
            // One that ran before was not stopped.
            started: 0,
            found: String::new(),
        };
        tokio::spawn(async move {
            loop {
                kubelet.step();
                tokio::time::sleep(PERIOD).await;
            }
        })
    }

    /// Every file of the host with its content, but for keys and what is made with them.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = killed::files(&self.root("/"), &self.root("/"));
        files.retain(|name, _| !name.contains("/kubelet-client-"));
        files
    }
}
