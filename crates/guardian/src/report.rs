//! What the guardian publishes of its node ([`doctor::report`]), made of what its machines know.

use std::collections::BTreeMap;

use checkpoint::{Component, Generation};
use doctor::report::{
    ComponentReport, DoctorReport, GenerationReport, News, NodeReport, SteeringReport, VERSION,
};
use jiff::Timestamp;

use crate::machine::{Disk, Instance};

/// What is known of one component.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) generations: Vec<Generation>,
    pub(crate) disk: Disk,
    pub(crate) instances: Vec<Instance>,
    pub(crate) last: Option<News>,
}

/// The report of a node at one time.
pub(crate) fn report(
    node: &str,
    components: &BTreeMap<&Component, Known>,
    steering: SteeringReport,
    last_revert: Option<News>,
    doctor: Option<DoctorReport>,
    time: Timestamp,
) -> NodeReport {
    let components = components.iter().map(|(component, known)| of(component, known)).collect();
    NodeReport { version: VERSION, node: node.to_owned(), time, components, steering, last_revert, doctor }
}

fn of(component: &Component, known: &Known) -> ComponentReport {
    let generation = |g: &Generation| GenerationReport {
        id: g.id.to_string(),
        made: g.made,
        good: known.disk.good.as_ref().is_some_and(|good| good.0 == g.id.to_string()),
        revision: g.source.revision.clone(),
    };
    ComponentReport {
        namespace: component.namespace.clone(),
        name: component.name.clone(),
        generations: known.generations.iter().map(generation).collect(),
        running: known.instances.iter().filter(|i| i.running).map(|i| i.origin.clone()).collect(),
        placed: known.disk.placed.as_ref().map(|id| id.0.clone()),
        last_event: known.last.clone(),
    }
}
