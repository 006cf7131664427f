//! What an upgrade looks at beside this node's files and programs: the API and the container runtime.

use std::collections::BTreeSet;

use api::{ApiError, Call, Client, Patient};
use causes::{Cause, Place};
use cri::{ContainerState, Cri, Filter};
use jiff::Timestamp;
use names::{label, object};
use objects::ObjectRef;
use serde_json::Value;

use crate::error::UpgradeError;
use crate::rollout::{self, Seen, Verdict};

/// See the module.
pub(crate) struct Sight {
    pub(crate) api: Patient,
    pub(crate) runtime: Cri,
    /// This node's name.
    pub(crate) node: String,
}

impl Sight {
    pub(crate) fn new(client: Client, runtime: Cri, node: String) -> Self {
        Self { api: Patient::new(client), runtime, node }
    }

    /// What the API has that is in the way.
    pub(crate) async fn causes(&self) -> Vec<Cause> {
        causes::told(self.api.client(), &Place::node(&self.node, Timestamp::now()), &[]).await
    }

    /// The containers that run on this node.
    pub(crate) async fn running(&self) -> Result<BTreeSet<String>, UpgradeError> {
        let containers = self.runtime.containers(Filter::all()).await?;
        Ok(containers.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| c.id).collect())
    }

    /// How a workload's rollout stands; none when it is not there.
    pub(crate) async fn verdict(&self, object: &ObjectRef) -> Result<Option<Verdict>, UpgradeError> {
        let Some(workload) = self.api.get_once(&self.api.path(object).await?).await? else { return Ok(None) };
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let (kind, plural) = match object.kind.as_str() {
            "DaemonSet" => ("ControllerRevision", "controllerrevisions"),
            _ => ("ReplicaSet", "replicasets"),
        };
        let revisions =
            self.api.list(&format!("/apis/apps/v1/namespaces/{namespace}/{plural}"), kind).await?;
        let pods = self.api.list(&format!("/api/v1/namespaces/{namespace}/pods"), "Pod").await?;
        let running = self.running().await?;
        let seen = Seen {
            workload: &workload,
            revisions: &revisions,
            pods: &pods,
            events: &[],
            running: &running,
            node: &self.node,
        };
        let verdict = rollout::judge(seen);
        if !matches!(verdict, Verdict::Waiting(_)) {
            return Ok(Some(verdict));
        }
        // What is lacking may be told by them; that they cannot be had changes nothing.
        let events = self.api.list(&causes::refusals(namespace), "Event").await.unwrap_or_default();
        Ok(Some(rollout::judge(Seen { events: &events, ..seen })))
    }

    /// The containers of this node's guardian that run.
    pub(crate) async fn guardians(&self) -> Result<Vec<String>, UpgradeError> {
        let (namespace, name) = (object::KUBE_SYSTEM, object::GUARDIAN);
        let filter = Filter::all()
            .label(label::POD_NAMESPACE, namespace)
            .label(label::POD_NAME, &format!("{name}-{}", self.node));
        let containers = self.runtime.containers(filter).await?;
        Ok(containers.into_iter().filter(|c| c.state == ContainerState::Running).map(|c| c.id).collect())
    }

    /// What would come of an apply. An object whose namespace is not there yet would be as it is.
    pub(crate) async fn try_apply(&self, object: &Value) -> Result<Value, ApiError> {
        let path = self.api.path(&ObjectRef::of(object)).await?;
        match self.api.send(&Call::apply(&path, object).dry_run()).await {
            Err(error) if error.is_not_found() => Ok(object.clone()),
            other => other,
        }
    }
}
