//! What the guardian asks of the API and tells it, besides its watches.

use api::Client;
use checkpoint::Component;
use doctor::report::{DoctorReport, News, SteeringReport};

use super::super::jobs::Done;
use super::super::keeper::Keeper;
use super::super::publish::Publication;
use super::{FORGET_MS, Guardian};
use crate::report;

/// How often the node is diagnosed, and how long after something changed, in milliseconds.
const DIAGNOSIS_PERIOD_MS: u64 = 5 * 60 * 1000;
const DIAGNOSIS_DELAY_MS: u64 = 20_000;

impl Guardian {
    /// Whatever is to be asked of the API, or told to it.
    pub(super) fn ask_api(&mut self, known: bool) {
        let now_ms = self.now_ms();
        let Some(client) = self.api.as_ref().map(|api| api.client.clone()) else { return };
        if !self.cluster.pods_known {
            return;
        }
        for component in self.keepers.keys() {
            if self.parents.due(component, now_ms) {
                let kind = self.parents.last(component).map_or("", |parent| parent.kind);
                let claimed = self.cluster.of(component).filter_map(|pod| pod.maker.clone()).collect();
                self.jobs.parent(client.clone(), component.clone(), kind, claimed);
            }
        }
        if known {
            for question in self.leadership.questions(&self.pods, now_ms) {
                self.jobs.lease(client.clone(), question);
            }
        }
        if self.cluster.is_control_plane() == Some(false)
            && let Some(hosts) = self.peers.question(now_ms)
        {
            self.jobs.peers(client.clone(), hosts);
        }
        if self.event_at_ms.is_none_or(|at| now_ms >= at)
            && let Some(telling) = self.events.next()
        {
            // The next one when this one is sent.
            self.event_at_ms = Some(u64::MAX);
            self.jobs.event(client.clone(), telling);
        }
        self.diagnose(now_ms);
        self.publish(client, now_ms);
    }

    /// What the report says, but for its time.
    fn content(&self) -> String {
        let brief = |keeper: &Keeper| {
            let running: Vec<_> = keeper.instances.iter().map(|i| (&i.pod, i.running, i.ready)).collect();
            format!("{:?} {:?} {running:?} {:?}", keeper.machine.state(), keeper.machine.disk(), keeper.last)
        };
        let keepers: Vec<_> = self.keepers.values().map(brief).collect();
        format!("{keepers:?} {:?}", self.api.as_ref().map(|api| api.steering.stands()))
    }

    fn diagnose(&mut self, now_ms: u64) {
        let content = self.content();
        if content != self.diagnosed_content {
            self.diagnosed_content = content;
            let soon = now_ms + DIAGNOSIS_DELAY_MS;
            self.diagnosis_due_ms = Some(self.diagnosis_due_ms.map_or(soon, |due| due.min(soon)));
        }
        if self.diagnosis_due_ms.is_some_and(|due| now_ms >= due) {
            self.diagnosis_due_ms = Some(now_ms + DIAGNOSIS_PERIOD_MS);
            let root = node::Root::below(&self.options.host_root);
            self.jobs.diagnose(doctor::Options::new(root, Some((self.options.addresses)())));
        }
    }

    fn publish(&mut self, client: Client, now_ms: u64) {
        let content = format!(
            "{} {:?}",
            self.diagnosed_content,
            self.doctor.as_ref().map(|d| (d.verdict, &d.problems))
        );
        if !self.publisher.due(&content, now_ms) {
            return;
        }
        let generations = |component: &Component| self.files.generations(component).unwrap_or_default();
        let known = |keeper: &Keeper| report::Known {
            generations: generations(&keeper.component),
            disk: keeper.machine.disk().clone(),
            instances: keeper.instances.clone(),
            last: keeper.last.clone(),
        };
        let components = self.keepers.iter().map(|(component, keeper)| (component, known(keeper))).collect();
        let steering = self.api.as_ref().map_or_else(SteeringReport::default, |api| {
            let (on, why) = api.steering.stands();
            SteeringReport { on, why: Some(why) }
        });
        let reverts = self.keepers.values().filter_map(|keeper| keeper.last_revert.clone());
        let last_revert: Option<News> = reverts.max_by_key(|news| news.time);
        let now = jiff::Timestamp::now();
        let report = report::report(
            &self.options.node_name,
            &components,
            steering,
            last_revert,
            self.doctor.clone(),
            now,
        );
        if let Some(publication) = Publication::new(&self.cluster, &report, content) {
            self.publisher.begin(now_ms);
            self.jobs.publish(client, publication);
        }
    }

    /// Takes in what came of a job. Returns whether all should be looked at again.
    pub(super) fn finished(&mut self, done: Done) -> bool {
        let now_ms = self.now_ms();
        match done {
            Done::Parent(component, answer) => {
                let answer = answer
                    .inspect_err(|error| tracing::debug!(%component, %error, "its parent is not known"));
                let before = self.parents.of(&component, now_ms).cloned();
                self.parents.answered(&component, answer.ok(), now_ms);
                before.as_ref() != self.parents.of(&component, now_ms)
            }
            Done::Lease(answer) => {
                self.leadership.answered(answer, now_ms);
                false
            }
            Done::Peers(answer) => {
                let before = self.peers.serve(now_ms);
                self.peers.answered(answer, now_ms);
                before != self.peers.serve(now_ms)
            }
            Done::Gate(gate, result) => {
                if let Err(error) = result {
                    tracing::debug!(pod = gate.name, %error, "its readiness gate is not set");
                }
                false
            }
            Done::Event(telling, result) => {
                self.event_at_ms = None;
                if let Err(error) = result {
                    tracing::debug!(%error, "an Event is not sent");
                    self.event_at_ms = Some(now_ms + 1_000);
                    self.events.back(telling);
                }
                self.events.waits()
            }
            Done::Published(publication, result) => {
                self.publisher.ended(publication, result);
                false
            }
            Done::Diagnosed(diagnosis) => {
                self.doctor = Some(DoctorReport::from(&diagnosis));
                self.forget_ms = now_ms + FORGET_MS;
                true
            }
        }
    }
}
