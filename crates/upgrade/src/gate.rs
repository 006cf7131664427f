//! Waits until what was changed is ready by identity, and then stays so for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use cluster::KubernetesVersion;
use jiff::Timestamp;
use objects::{ObjectRef, readiness};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::error::UpgradeError;
use crate::event::Event;
use crate::part::{self, Part};
use crate::rollout::Verdict;
use crate::sight::Sight;

/// How often is looked.
const POLL: Duration = Duration::from_millis(500);
/// How long something must be broken until it counts: a moment of it may be the API that moves.
const BROKEN_FOR: Duration = Duration::from_secs(3);
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How to wait.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How long one step may take to become ready.
    pub timeout: Duration,
    /// How long it must stay ready, the very same containers.
    pub stable: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(5), stable: Duration::from_secs(10) }
    }
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// Ready: by these containers or facts.
    Ready(BTreeSet<String>),
    /// Ready by these, and something old has not ended yet.
    Ending(BTreeSet<String>, String),
    Waiting(String),
    Broken(String),
}

/// Waits for one thing.
pub(crate) struct Gate<'a> {
    pub(crate) sight: &'a Sight,
    pub(crate) patience: &'a Patience,
    pub(crate) report: &'a (dyn Fn(Event) + Send + Sync),
}

impl Gate<'_> {
    /// Waits for the workloads of a part. `version` is what the apiserver must say that it is.
    pub(crate) async fn part(
        &self,
        part: Part,
        objects: &[Value],
        version: Option<KubernetesVersion>,
    ) -> Result<(), UpgradeError> {
        let workloads: Vec<ObjectRef> =
            objects.iter().filter(|o| part::is_workload(o)).map(ObjectRef::of).collect();
        if workloads.is_empty() {
            return Ok(());
        }
        let began = Timestamp::now();
        self.wait(part.name(), async || self.look(part, &workloads, version, began).await).await
    }

    async fn look(
        &self,
        part: Part,
        workloads: &[ObjectRef],
        version: Option<KubernetesVersion>,
        began: Timestamp,
    ) -> Result<Found, UpgradeError> {
        let mut verdicts = Vec::new();
        for workload in workloads {
            verdicts.push((workload, self.sight.verdict(workload).await?));
        }
        // Before all of them are ready and alone an old one may answer.
        let mut all = match together(verdicts) {
            Found::Ready(all) => all,
            other => return Ok(other),
        };
        let missing = self.of_part(part, version, began, &mut all).await?;
        Ok(missing.map_or(Found::Ready(all), Found::Waiting))
    }

    /// What a part must have besides ready pods.
    async fn of_part(
        &self,
        part: Part,
        version: Option<KubernetesVersion>,
        began: Timestamp,
        all: &mut BTreeSet<String>,
    ) -> Result<Option<String>, UpgradeError> {
        if part == Part::Guardian {
            let guardians = self.sight.guardians().await?;
            let none = guardians.is_empty();
            all.extend(guardians);
            return Ok(none.then(|| "this node's guardian does not run".to_owned()));
        }
        if let (Part::KubeApiserver, Some(wanted)) = (part, version) {
            let answer = self.sight.api.get_once("/version").await?.unwrap_or_default();
            let says = answer["gitVersion"].as_str().unwrap_or_default().to_owned();
            return Ok((says.parse() != Ok(wanted)).then(|| format!("the API says that it is {says}")));
        }
        if let Some(name) = part.lease() {
            let lease = api::held_lease(self.sight.api.client(), name, LIMIT).await?;
            let renewed = lease.and_then(|lease| lease.renewed);
            return Ok(renewed.is_none_or(|at| at < began).then(|| "no replica leads".to_owned()));
        }
        Ok(None)
    }

    /// Waits for this node's kubelet to be Ready and of that version.
    pub(crate) async fn kubelet(&self, version: Option<KubernetesVersion>) -> Result<(), UpgradeError> {
        let began = Timestamp::now();
        let what = format!("node {}", self.sight.node);
        self.wait(&what, async || self.look_at_node(version, began).await).await
    }

    async fn look_at_node(
        &self,
        version: Option<KubernetesVersion>,
        began: Timestamp,
    ) -> Result<Found, UpgradeError> {
        if let Err(why) = node::preflight::kubelet_healthz(node::KUBELET_HEALTHZ).await {
            return Ok(Found::Waiting(why));
        }
        let name = &self.sight.node;
        let node = self.sight.api.get_once(&format!("/api/v1/nodes/{name}")).await?.unwrap_or_default();
        let says = node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap_or_default();
        if version.is_some_and(|wanted| says.parse() != Ok(wanted)) {
            return Ok(Found::Waiting(format!("its kubelet is {says}")));
        }
        // Ready may be a memory of the kubelet before: the new one has to have said that it lives.
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        let lease = self.sight.api.get_once(&lease).await?.unwrap_or_default();
        let renewed = lease["spec"]["renewTime"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        if renewed.is_none_or(|at| at < began) {
            return Ok(Found::Waiting("its kubelet has not told the API yet that it lives".to_owned()));
        }
        if readiness::is_ready(&node) {
            return Ok(Found::Ready(BTreeSet::from([says.to_owned()])));
        }
        Ok(Found::Waiting("it is not Ready".to_owned()))
    }

    async fn wait(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<Found, UpgradeError>,
    ) -> Result<(), UpgradeError> {
        let began = Instant::now();
        let (mut ready, mut broken) = (Ready::default(), None::<Instant>);
        loop {
            let mut complete = false;
            let mut broken_since = None;
            let why = match look().await {
                // What has become ready in time may be stable a little later.
                Ok(Found::Ready(now)) => {
                    complete = true;
                    if ready.since(now) >= self.patience.stable {
                        return Ok(());
                    }
                    format!("{what} to stay as it is for {} s", self.patience.stable.as_secs())
                }
                // What is new is tried for as long as the old ones take to end.
                Ok(Found::Ending(now, why)) => {
                    ready.since(now);
                    why
                }
                Ok(Found::Broken(why)) => {
                    ready = Ready::default();
                    let since = *broken.get_or_insert_with(Instant::now);
                    if since.elapsed() >= BROKEN_FOR {
                        let causes = self.sight.causes().await;
                        return Err(UpgradeError::Broken { what: what.to_owned(), why, causes });
                    }
                    broken_since = Some(since);
                    why
                }
                Ok(Found::Waiting(why)) => {
                    ready = Ready::default();
                    why
                }
                // The API may move just now: the next look finds the very same, or not.
                Err(error) => host::error::chain(&error),
            };
            broken = broken_since;
            if !complete && began.elapsed() > self.patience.timeout {
                let (what, after) = (what.to_owned(), began.elapsed());
                let causes = self.sight.causes().await;
                return Err(UpgradeError::NotReady { what, after, why, causes });
            }
            (self.report)(Event::Waiting { what: why });
            sleep(POLL).await;
        }
    }
}

/// What the verdicts on all workloads of a part make of it; none is that of one that is not there.
fn together(verdicts: Vec<(&ObjectRef, Option<Verdict>)>) -> Found {
    let (mut all, mut old) = (BTreeSet::new(), None);
    for (workload, verdict) in verdicts {
        match verdict {
            // It was applied a moment ago: whoever has deleted it does not put it back.
            None => return Found::Broken(format!("{workload} is not there: somebody has deleted it")),
            Some(Verdict::Waiting(why)) => return Found::Waiting(why),
            Some(Verdict::Broken(why)) => return Found::Broken(why),
            Some(Verdict::Ending(containers, why)) => {
                all.extend(containers);
                old = Some(why);
            }
            Some(Verdict::Settled(containers)) => all.extend(containers),
        }
    }
    match old {
        Some(why) => Found::Ending(all, why),
        None => Found::Ready(all),
    }
}

/// Since when the very same are ready.
#[derive(Debug, Default)]
struct Ready(Option<(Instant, BTreeSet<String>)>);

impl Ready {
    /// How long these have been ready, now that they are.
    fn since(&mut self, now: BTreeSet<String>) -> Duration {
        match &self.0 {
            Some((since, then)) if *then == now => since.elapsed(),
            _ => {
                self.0 = Some((Instant::now(), now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
