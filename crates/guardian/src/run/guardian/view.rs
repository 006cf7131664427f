//! What a component's machine is told: what runs, what the API wants, and whether etcd's data is this cluster's.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use checkpoint::Component;
use cri::Cri;
use names::component::KUBE_APISERVER;

use super::super::instances::Sight;
use super::super::member;
use super::super::parents::Parent;
use super::Guardian;
use crate::machine::{ApiView, Event, Instance, Observation};

impl Guardian {
    /// What the apiserver would serve has to be this cluster's.
    pub(super) fn look_at_data(&mut self) {
        let problem = member::problem(&self.options, &mut self.end);
        if problem != self.withheld {
            if let Some(problem) = &problem {
                tracing::warn!(problem, "no copy of the apiserver is started");
            } else {
                tracing::info!("etcd's data is that of this node's member again");
            }
            self.is_withheld.store(problem.is_some(), Ordering::Relaxed);
            self.withheld = problem;
        }
    }

    pub(super) fn instances(&self, now_ms: u64) -> BTreeMap<Component, Vec<Instance>> {
        let view = self.api.as_ref().map(|api| api.steering.view());
        let components = self.keepers.keys().cloned().collect();
        let sight = Sight {
            now_ms,
            pods: &self.pods,
            cluster: &self.cluster,
            parentage: &|pod| self.parents.parentage(&pod.component, pod.maker.as_ref()),
            port: view.as_ref(),
            digests: &self.digests,
            ages: &self.ages,
            components: &components,
            init: &|component, generation| self.files.init_containers(component, generation),
        };
        sight.instances()
    }

    pub(super) async fn observe(&mut self, component: &Component, own: Option<Vec<Instance>>, runtime: &Cri) {
        let now_ms = self.now_ms();
        let (api, wanted) = (self.api_view(component, now_ms), self.wanted(component, now_ms));
        if let (Some(keeper), Some(own)) = (self.keepers.get_mut(component), &own) {
            keeper.instances.clone_from(own);
        }
        let withheld = component.is(KUBE_APISERVER) && self.withheld.is_some();
        let observation = Observation { now_ms, runtime: own, api, wanted, withheld };
        self.step(component, Event::Observed(observation), runtime).await;
        let parent = self.parents.last(component).and_then(Parent::origin);
        if let Some(keeper) = self.keepers.get_mut(component) {
            keeper.note_source(parent, &self.files).await;
        }
    }

    pub(super) fn api_view(&self, component: &Component, now_ms: u64) -> Option<ApiView> {
        let parent = self.parents.of(component, now_ms).filter(|_| self.cluster.pods_known)?;
        let expected = self.cluster.of(component).any(|pod| !pod.deleting && !pod.over);
        let others_serve = component.namespace == names::object::KUBE_SYSTEM
            && (self.leadership.leads_elsewhere(&component.name, now_ms)
                || (component.is(KUBE_APISERVER) && self.peers.serve(now_ms)));
        Some(ApiView { expected, parent_exists: parent.exists, others_serve })
    }

    /// Where the parent is gone nobody can say what was wanted.
    pub(super) fn wanted(&self, component: &Component, now_ms: u64) -> Option<bool> {
        let parent = self.parents.of(component, now_ms).filter(|parent| parent.exists);
        if self.cluster.is_control_plane()? { parent.map(|parent| parent.wanted) } else { Some(false) }
    }
}
