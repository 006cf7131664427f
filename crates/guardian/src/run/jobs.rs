//! What the guardian asks of the API beside its watches: each a task of its own with a limit, so that a slow
//! API holds nothing up.

use std::collections::BTreeSet;

use api::{ApiError, Client};
use checkpoint::Component;
use doctor::Diagnosis;
use tokio::task::JoinSet;

use super::events::{self, Telling};
use super::leadership::{self, Question};
use super::parents::{self, Maker, Parent};
use super::peers::{self, Renewals};
use super::publish::{self, Publication};
use super::serving::{self, Gate};

/// What came of a job.
pub(crate) enum Done {
    Parent(Component, Result<Parent, ApiError>),
    Lease(leadership::Answer),
    Peers(Result<Renewals, ApiError>),
    Gate(Gate, Result<(), ApiError>),
    Event(Telling, Result<(), ApiError>),
    Published(Publication, Result<(), ApiError>),
    Diagnosed(Diagnosis),
}

/// Those that run.
#[derive(Default)]
pub(crate) struct Jobs(JoinSet<Done>);

impl Jobs {
    pub(crate) fn parent(
        &mut self,
        client: Client,
        component: Component,
        kind: &'static str,
        claimed: BTreeSet<Maker>,
    ) {
        self.0.spawn(async move {
            let answer = parents::look(&client, &component, kind, claimed).await;
            Done::Parent(component, answer)
        });
    }

    pub(crate) fn lease(&mut self, client: Client, question: Question) {
        self.0.spawn(async move { Done::Lease(leadership::ask(&client, question).await) });
    }

    pub(crate) fn peers(&mut self, client: Client, hosts: BTreeSet<String>) {
        self.0.spawn(async move { Done::Peers(peers::look(&client, &hosts).await) });
    }

    pub(crate) fn gate(&mut self, client: Client, gate: Gate) {
        self.0.spawn(async move {
            let result = serving::change(&client, &gate).await;
            Done::Gate(gate, result)
        });
    }

    pub(crate) fn event(&mut self, client: Client, telling: Telling) {
        self.0.spawn(async move {
            let result = events::send(&client, &telling).await;
            Done::Event(telling, result)
        });
    }

    pub(crate) fn publish(&mut self, client: Client, publication: Publication) {
        self.0.spawn(async move {
            let result = publish::send(&client, &publication).await;
            Done::Published(publication, result)
        });
    }

    pub(crate) fn diagnose(&mut self, options: doctor::Options) {
        self.0
            .spawn(async move { Done::Diagnosed(doctor::diagnose(&options, jiff::Timestamp::now()).await) });
    }

    /// The next one that is done; waits for ever when none runs.
    pub(crate) async fn next(&mut self) -> Done {
        loop {
            match self.0.join_next().await {
                Some(Ok(done)) => return done,
                // A job that panicked is one that never answered.
                Some(Err(error)) => tracing::warn!(%error, "a job did not end"),
                None => std::future::pending().await,
            }
        }
    }
}
