//! What the container runtime runs of kube-system.

use std::collections::BTreeMap;

use checkpoint::Component;
use cri::{Container, ContainerState, Cri, Filter, PodState};
use names::component::KUBE_APISERVER;
use names::label;
use names::object::KUBE_SYSTEM;
use objects::Origin;

/// A pod whose sandbox runs, with the newest container of each name.
#[derive(Debug, Clone)]
pub(crate) struct PodSeen {
    pub(crate) uid: String,
    /// Its sandbox, as the runtime calls it.
    pub(crate) sandbox: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) containers: Vec<Container>,
}

impl PodSeen {
    pub(crate) fn origin(&self) -> Origin {
        Origin::of_sandbox(&self.name, &self.labels, &self.annotations)
    }

    pub(crate) fn is_of_api(&self) -> bool {
        self.origin() == Origin::Api
    }

    /// A static pod of `kubestrap start`.
    pub(crate) fn is_temporary(&self) -> bool {
        self.origin() == Origin::Temporary
    }

    /// The component and the generation that this is a copy of.
    pub(crate) fn copy_of(&self) -> Option<(Component, String)> {
        let Origin::Checkpoint { generation } = self.origin() else { return None };
        let name = self.labels.get(label::CHECKPOINT_OF)?.clone();
        Some((Component { namespace: KUBE_SYSTEM.to_owned(), name }, generation))
    }

    /// Whether a pod of this name would be of that component. Only for a pod that the API has not told
    /// of: a DaemonSet's pod is called after it, a Deployment's after it and the template's hash.
    pub(crate) fn is_named_after(&self, component: &Component) -> bool {
        let base = match self.labels.get(label::POD_TEMPLATE_HASH) {
            Some(hash) => format!("{}-{hash}", component.name),
            None => component.name.clone(),
        };
        let rest = self.name.strip_prefix(&base);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('-').is_some_and(|r| r.len() == 5 && !r.contains('-'))
        })
    }

    /// Whether it is an apiserver.
    pub(crate) fn is_apiserver(&self) -> bool {
        self.containers.iter().any(|container| container.name == KUBE_APISERVER)
    }

    /// Whether a container of it runs.
    pub(crate) fn runs(&self) -> bool {
        self.containers.iter().any(|container| container.state == ContainerState::Running)
    }

    /// Whether the container of this id is among the newest.
    pub(crate) fn has(&self, container: &str) -> bool {
        self.containers.iter().any(|c| c.id == container)
    }
}

/// Looks; none when the runtime does not answer.
pub(crate) async fn look(runtime: &Cri) -> Option<Vec<PodSeen>> {
    let here = || Filter::all().label(label::POD_NAMESPACE, KUBE_SYSTEM);
    let answers = tokio::try_join!(runtime.sandboxes(here()), runtime.containers(here()));
    let (sandboxes, containers) =
        answers.inspect_err(|error| tracing::debug!(%error, "the container runtime does not answer")).ok()?;
    let mut pods: BTreeMap<String, (u32, PodSeen)> = BTreeMap::new();
    for sandbox in sandboxes.into_iter().filter(|s| s.state == PodState::Ready) {
        let containers = newest(containers.iter().filter(|c| c.pod_id == sandbox.id));
        let pod = PodSeen {
            uid: sandbox.uid.clone(),
            sandbox: sandbox.id,
            name: sandbox.name,
            labels: sandbox.labels,
            annotations: sandbox.annotations,
            containers,
        };
        let known = pods.get(&sandbox.uid).is_some_and(|(attempt, _)| *attempt > sandbox.attempt);
        if !known {
            pods.insert(sandbox.uid, (sandbox.attempt, pod));
        }
    }
    Some(pods.into_values().map(|(_, pod)| pod).collect())
}

/// The newest container of each name.
fn newest<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<Container> {
    let mut by_name: BTreeMap<&str, &Container> = BTreeMap::new();
    for container in containers {
        let known = by_name.get(container.name.as_str());
        if known.is_none_or(|known| known.attempt < container.attempt) {
            by_name.insert(&container.name, container);
        }
    }
    by_name.into_values().cloned().collect()
}

/// Milliseconds from the epoch.
pub(crate) fn milliseconds(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
