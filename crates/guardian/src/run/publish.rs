//! The published report: when it is due, and how it gets into the annotation.

use std::time::Duration;

use api::{ApiError, Call, Client};
use doctor::report::NodeReport;
use serde_json::json;

use super::cluster::{ApiPod, Cluster};

const LIMIT: Duration = Duration::from_secs(2);
/// Not more often than so, in milliseconds …
const SHORTEST_MS: u64 = 5_000;
/// … and at least so often: readers take an older one for the word of a dead guardian.
const LONGEST_MS: u64 = 4 * 60 * 1000;

/// A report on its way to the pod that carries it.
#[derive(Debug)]
pub(crate) struct Publication {
    namespace: String,
    pod: String,
    text: String,
    /// What it says, without its time.
    pub(crate) content: String,
}

/// What was published, and when.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    content: Option<String>,
    tried_ms: Option<u64>,
    sending: bool,
}

impl Publisher {
    /// Whether this content should be published now.
    pub(crate) fn due(&self, content: &str, now_ms: u64) -> bool {
        let age = self.tried_ms.map_or(u64::MAX, |at| now_ms.saturating_sub(at));
        let new = self.content.as_deref() != Some(content);
        !self.sending && age >= if new { SHORTEST_MS } else { LONGEST_MS }
    }

    pub(crate) fn begin(&mut self, now_ms: u64) {
        self.sending = true;
        self.tried_ms = Some(now_ms);
    }

    pub(crate) fn ended(&mut self, publication: Publication, result: Result<(), ApiError>) {
        self.sending = false;
        match result {
            Ok(()) => self.content = Some(publication.content),
            Err(error) => tracing::debug!(%error, "the report is not published"),
        }
    }
}

impl Publication {
    /// To the pod of the DaemonSet on this node, if there is one.
    pub(crate) fn new(cluster: &Cluster, report: &NodeReport, content: String) -> Option<Self> {
        let carrier = |pod: &&ApiPod| pod.installer && !pod.deleting && !pod.over;
        let pod = cluster.pods.values().find(carrier).filter(|_| cluster.pods_known)?;
        let text = serde_json::to_string(report).ok()?;
        Some(Self { namespace: pod.namespace.clone(), pod: pod.name.clone(), text, content })
    }
}

pub(crate) async fn send(client: &Client, publication: &Publication) -> Result<(), ApiError> {
    let Publication { namespace, pod, text, .. } = publication;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
    let patch = json!({"metadata": {"annotations": {names::annotation::GUARDIAN_REPORT: text}}});
    Call::merge(path, &patch).object(client, LIMIT).await.map(|_| ())
}
