//! From what the runtime, the API and the probes say to the instances that the machine is told of.

use std::collections::{BTreeMap, BTreeSet};

use checkpoint::Component;
use cri::{Container, ContainerState};
use names::object::KUBE_SYSTEM;
use objects::{Origin, pod};
use traffic::{State, View};

use super::cluster::{ApiPod, Cluster};
use super::digests::Digests;
use super::parents::Parentage;
use super::snapshot::{PodSeen, milliseconds};
use crate::machine::Instance;

/// A container that nobody can ask and that ran for so long without being started again counts as Ready.
const SETTLED_MS: u64 = 10_000;

/// Since when each container was seen running, in the guardian's own milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Ages(BTreeMap<String, u64>);

impl Ages {
    pub(crate) fn update(&mut self, pods: &[PodSeen], now_ms: u64) {
        let running = |c: &&Container| c.state == ContainerState::Running;
        let ids: BTreeSet<&str> = pods
            .iter()
            .flat_map(|pod| pod.containers.iter().filter(running))
            .map(|c| c.id.as_str())
            .collect();
        self.0.retain(|id, _| ids.contains(id.as_str()));
        for id in ids {
            self.0.entry(id.to_owned()).or_insert(now_ms);
        }
    }

    fn settled(&self, container: &str, now_ms: u64) -> bool {
        self.0.get(container).is_some_and(|since| now_ms.saturating_sub(*since) >= SETTLED_MS)
    }
}

/// Everything that instances are made of.
pub(crate) struct Sight<'a> {
    pub(crate) now_ms: u64,
    pub(crate) pods: &'a [PodSeen],
    pub(crate) cluster: &'a Cluster,
    /// Whether the parent of its component made a pod.
    pub(crate) parentage: &'a dyn Fn(&ApiPod) -> Parentage,
    /// Of the API's port; none where nobody can be asked.
    pub(crate) port: Option<&'a View>,
    pub(crate) digests: &'a Digests,
    pub(crate) ages: &'a Ages,
    pub(crate) components: &'a BTreeSet<Component>,
    /// Names of the init containers of a generation.
    pub(crate) init: &'a dyn Fn(&Component, &str) -> Vec<String>,
}

impl Sight<'_> {
    /// The instances of each component.
    pub(crate) fn instances(&self) -> BTreeMap<Component, Vec<Instance>> {
        let mut all: BTreeMap<Component, Vec<Instance>> = BTreeMap::new();
        for pod in self.pods {
            let Some(component) = self.whose(pod) else { continue };
            if let Some(instance) = self.instance(pod, &component) {
                all.entry(component).or_default().push(instance);
            }
        }
        all
    }

    /// The component that a pod is an instance of.
    pub(crate) fn whose(&self, pod: &PodSeen) -> Option<Component> {
        if let Some((component, _)) = pod.copy_of() {
            return Some(component);
        }
        if pod.is_temporary() {
            let stands_in_for = |c: &&Component| {
                let rest = pod.name.split_once('-').and_then(|(_, name)| name.strip_prefix(&c.name));
                c.namespace == KUBE_SYSTEM
                    && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            };
            return self.components.iter().find(stands_in_for).cloned();
        }
        if !pod.is_of_api() {
            return None;
        }
        match self.cluster.pods.get(&pod.uid) {
            Some(known) if (self.parentage)(known) == Parentage::Foreign => None,
            Some(known) => self.components.get(&known.component).cloned(),
            None => {
                self.components.iter().find(|c| c.namespace == KUBE_SYSTEM && pod.is_named_after(c)).cloned()
            }
        }
    }

    fn instance(&self, pod: &PodSeen, component: &Component) -> Option<Instance> {
        let known = self.cluster.pods.get(&pod.uid);
        let init = match (pod.copy_of(), known.and_then(|known| known.object.as_ref())) {
            (Some((_, generation)), _) => (self.init)(component, &generation),
            (None, Some(object)) => init_containers(object),
            (None, None) => Vec::new(),
        };
        let containers: Vec<_> = pod.containers.iter().filter(|c| !init.contains(&c.name)).collect();
        let started = containers.iter().filter_map(|c| c.created).max();
        let made = self.digests.of(&pod.uid);
        // Nothing of it was ever started: it is not there yet.
        containers.first()?;
        Some(Instance {
            pod: pod.uid.clone(),
            container: containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(","),
            origin: origin(pod),
            digest: made.map(|made| made.digest.clone()),
            revision: known.map_or(0, |known| self.cluster.revision_number(known)),
            revision_name: known.map_or_else(String::new, |known| known.revision.clone()),
            started_ms: started.map_or(0, milliseconds),
            content_since_ms: made.map_or(0, |made| made.content_since_ms),
            running: containers.iter().all(|c| c.state == ContainerState::Running),
            ready: self.ready(pod, &containers),
            terminating: self.terminating(pod, known),
            restarts: containers.iter().map(|c| c.attempt).max().unwrap_or(0),
        })
    }

    /// What the API said once of a pod's end holds for ever.
    fn terminating(&self, pod: &PodSeen, known: Option<&ApiPod>) -> bool {
        match known {
            Some(known) => known.deleting,
            None => pod.is_of_api() && self.cluster.pods_known,
        }
    }

    fn ready(&self, pod: &PodSeen, containers: &[&Container]) -> bool {
        if let Some(view) = self.port.filter(|view| pod.is_apiserver() && asks_each(view)) {
            return view.seen.iter().any(|seen| {
                let of_pod = seen.owner.as_ref().is_some_and(|owner| pod.has(&owner.container));
                of_pod && seen.state == State::Ready
            });
        }
        match self.cluster.pod(&pod.uid).filter(|_| self.cluster.pods_known) {
            // A `Ready` of other containers than those that run is a memory.
            Some(told) if containers.iter().all(|c| told.containers.contains(&c.id)) => told.ready,
            _ => containers.iter().all(|c| self.ages.settled(&c.id, self.now_ms)),
        }
    }
}

/// Whether each listener was asked by itself: of several that is so while we steer. While `start` does, it
/// says what it found by the pod's readiness gate.
pub(crate) fn asks_each(view: &View) -> bool {
    view.rounds > 0 && (view.steady.is_some() || view.seen.len() < 2)
}

/// A static pod that stays is none of ours to end or to place: it counts as whatever the API wants.
fn origin(pod: &PodSeen) -> Origin {
    match pod.origin() {
        Origin::Static => Origin::Api,
        origin => origin,
    }
}

/// The names of a pod's init containers.
pub(crate) fn init_containers(object: &serde_json::Value) -> Vec<String> {
    let named = pod::init_containers(object).iter();
    named.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
