//! Leases of schedulers and controller-managers: one whose holder died on this node is given back, and one
//! that is renewed from another node shows that somebody serves there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::{ApiError, Client, HeldLease};
use cri::ContainerState;
use jiff::Timestamp;

use super::snapshot::PodSeen;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(2);
/// How often a lease is looked at while it may have to be given back, in milliseconds; and while it
/// settles nothing.
const PERIOD_MS: u64 = 500;
const IDLE_PERIOD_MS: u64 = 10_000;
/// A holder that renewed its lease so long ago may be dead. Held ones are renewed each 2 s.
const FRESH_MS: u64 = 40_000;

/// Who runs on this node and could hold a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidates {
    containers: BTreeSet<String>,
    first_started: Timestamp,
}

/// Containers that are named as the lease: that is how the control plane's are called.
fn candidates(pods: &[PodSeen], lease: &str) -> Option<Candidates> {
    let all = pods.iter().flat_map(|pod| &pod.containers);
    let running: Vec<_> = all.filter(|c| c.name == lease && c.state == ContainerState::Running).collect();
    // One whose start is not known may be the holder.
    let started: Option<Vec<_>> = running.iter().map(|c| c.created).collect();
    let first_started = started?.into_iter().min()?;
    Some(Candidates { containers: running.iter().map(|c| c.id.clone()).collect(), first_started })
}

#[derive(Debug, Default)]
struct Known {
    /// Nothing has to be given back while these run.
    settled: Option<BTreeSet<String>>,
    asked_ms: Option<u64>,
    asking: bool,
    /// Holder and time of the last renewal that was seen on another node, and when it was seen to change.
    elsewhere: Option<(String, Option<Timestamp>)>,
    renewed_ms: Option<u64>,
}

/// A lease to look at now.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) lease: &'static str,
    pub(crate) candidates: Option<Candidates>,
    /// Names of this node, as holders write them.
    pub(crate) hosts: BTreeSet<String>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) lease: &'static str,
    pub(crate) result: Result<Outcome, ApiError>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing has to be given back while these run.
    Settled(BTreeSet<String>),
    /// Held on another node.
    Elsewhere { holder: String, renewed: Option<Timestamp> },
    /// Nobody of this node runs and could take it.
    Idle,
}

/// All leases of the control plane.
#[derive(Debug)]
pub(crate) struct Leadership {
    hosts: BTreeSet<String>,
    known: BTreeMap<&'static str, Known>,
}

impl Leadership {
    /// `hosts` are the names by which holders on this node may call it.
    pub(crate) fn new(hosts: BTreeSet<String>) -> Self {
        Self { hosts, known: names::component::LEADER_ELECTED.map(|lease| (lease, Known::default())).into() }
    }

    /// What is to be asked now.
    pub(crate) fn questions(&mut self, pods: &[PodSeen], now_ms: u64) -> Vec<Question> {
        let mut questions = Vec::new();
        for (lease, known) in &mut self.known {
            let candidates = candidates(pods, lease);
            let settled = candidates.as_ref().is_none_or(|c| known.settled.as_ref() == Some(&c.containers));
            if settled && candidates.is_some() {
                continue;
            }
            let period = if settled { IDLE_PERIOD_MS } else { PERIOD_MS };
            let due = known.asked_ms.is_none_or(|asked| now_ms.saturating_sub(asked) >= period);
            if due && !known.asking {
                known.asking = true;
                known.asked_ms = Some(now_ms);
                questions.push(Question { lease, candidates, hosts: self.hosts.clone() });
            }
        }
        questions
    }

    /// Whether something is asked for often just now.
    pub(crate) fn unsettled(&self) -> bool {
        self.known.values().any(|known| known.asking)
    }

    pub(crate) fn answered(&mut self, answer: Answer, now_ms: u64) {
        let Some(known) = self.known.get_mut(answer.lease) else { return };
        known.asking = false;
        match answer.result {
            Ok(Outcome::Settled(containers)) => known.settled = Some(containers),
            Ok(Outcome::Elsewhere { holder, renewed }) => {
                let new = Some((holder, renewed));
                // The first look proves nothing: a change does.
                if known.elsewhere.is_some() && known.elsewhere != new {
                    known.renewed_ms = Some(now_ms);
                }
                known.elsewhere = new;
            }
            Ok(Outcome::Idle) => {}
            Err(error) => tracing::debug!(lease = answer.lease, %error, "cannot see who leads"),
        }
    }

    /// Whether the component of this name was seen to lead on another node just now.
    pub(crate) fn leads_elsewhere(&self, component: &str, now_ms: u64) -> bool {
        let known = self.known.get(component);
        known.and_then(|k| k.renewed_ms).is_some_and(|at| now_ms.saturating_sub(at) <= FRESH_MS)
    }
}

/// Looks at a lease, and gives it back when its holder is dead.
pub(crate) async fn ask(client: &Client, question: Question) -> Answer {
    let lease = question.lease;
    Answer { lease, result: outcome(client, question).await }
}

async fn outcome(client: &Client, question: Question) -> Result<Outcome, ApiError> {
    let held = api::held_lease(client, question.lease, LIMIT).await?;
    let settled = |candidates: Option<Candidates>| match candidates {
        Some(candidates) => Outcome::Settled(candidates.containers),
        None => Outcome::Idle,
    };
    let Some(held) = held else { return Ok(settled(question.candidates)) };
    if !question.hosts.contains(held.host()) {
        return Ok(match question.candidates {
            Some(candidates) => Outcome::Settled(candidates.containers),
            None => Outcome::Elsewhere { holder: held.holder.clone(), renewed: held.renewed },
        });
    }
    if !question.candidates.as_ref().is_some_and(|candidates| is_dead(&held, candidates)) {
        return Ok(settled(question.candidates));
    }
    let holder = held.holder.clone();
    if held.release(client, LIMIT).await? {
        tracing::info!(lease = question.lease, holder, "the lease of a dead holder is given back");
    }
    Ok(settled(question.candidates))
}

/// It became the holder before any of those that run now was started.
fn is_dead(held: &HeldLease, candidates: &Candidates) -> bool {
    held.older_than(candidates.first_started)
}

#[cfg(test)]
#[path = "leadership_tests.rs"]
mod tests;
