//! Which pod a listening process belongs to.

use std::collections::BTreeMap;

use cri::{Cri, CriError, Filter};
use objects::Origin;
use steer::Listener;

/// The pod that a listener's process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The container that the process runs in.
    pub container: String,
    /// Annotations of its sandbox.
    pub annotations: BTreeMap<String, String>,
}

impl Owner {
    /// True for a pod of the API, false for a static one.
    pub fn from_api(&self) -> bool {
        Origin::of_sandbox(&self.name, &BTreeMap::new(), &self.annotations) == Origin::Api
    }

    /// Asks the runtime for the pod; none when the process is in no pod of this node.
    pub(crate) async fn of(listener: &Listener, runtime: &Cri) -> Result<Option<Self>, CriError> {
        let Some(id) = &listener.container else { return Ok(None) };
        let containers = runtime.containers(Filter::all()).await?;
        let Some(container) = containers.into_iter().find(|c| c.id == *id) else { return Ok(None) };
        let pods = runtime.sandboxes(Filter::all()).await?;
        let pod = pods.into_iter().find(|pod| pod.id == container.pod_id);
        Ok(pod.map(|pod| Self {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
            container: container.id,
            annotations: pod.annotations,
        }))
    }
}
