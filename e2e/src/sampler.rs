//! Is the API there? Asked ten times a second, each time on a new connection, by a client on
//! another machine of the sandboxes' network: what is measured is what a user would have noticed.
//! A question that hangs does not hold the next one up.
//!
//! Two questions each time: a write, which takes the whole way to etcd's disk and the audit log, and /readyz. An instance
//! that was told to end says `[-]shutdown` there from that moment on, and serves all the same until
//! it ends: when nothing else is red, that is no failure.
//!
//! No two questions that are under way write the same object. An apiserver that finds an object changed since it read it
//! reads it and tries again, without end (`GuaranteedUpdate` of `k8s.io/apiserver/pkg/storage/etcd3`), so on a busy machine
//! writers of one object would hold each other up for seconds while everybody else is served.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::json;

use crate::background::{Background, lock};
use crate::ceiling::{BACK, Ceiling};
use crate::exchange::{CONFIG_MAPS, PATIENCE, fresh, get, inside, ms, request};
use crate::identity::Identity;
use crate::node::Node;

/// How often is asked.
const EVERY: Duration = Duration::from_millis(100);

/// How many questions can be under way, and how many objects are written in turn.
const AT_ONCE: u128 = PATIENCE.as_millis() / EVERY.as_millis() + 1;

/// In a soak, the longest time between two answers where no sample may fail.
const PAUSE: Duration = Duration::from_secs(3);

/// How long the API may be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Not at all: no sample fails.
    Seamless,
    /// It comes back; in a soak it is away for no longer than this at a time.
    Gap(Duration),
    /// As long as it takes: the power is off.
    Off,
}

/// One question. Times are since the sampler began.
#[derive(Debug, Clone)]
struct Sample {
    asked: Duration,
    /// None while it is under way.
    answer: Option<(Duration, Result<(), String>)>,
}

/// What was seen in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Samples that began in it.
    pub samples: usize,
    /// Those that failed: when, in milliseconds since the phase began, and why.
    pub failures: Vec<String>,
    /// The longest time between two answers of which a part lies in it.
    pub longest_gap: Duration,
}

impl Phase {
    fn of(samples: &[Sample], from: Duration, to: Duration) -> Self {
        let mut answered: Vec<Duration> = samples
            .iter()
            .filter_map(|s| s.answer.as_ref().filter(|(_, result)| result.is_ok()).map(|(at, _)| *at))
            .filter(|at| *at <= to)
            .collect();
        answered.sort_unstable();
        // Before the first answer and after the last one nobody answered either.
        let ends = answered.iter().copied().chain([to]);
        let starts = std::iter::once(Duration::ZERO).chain(answered.iter().copied());
        let gaps = starts.zip(ends).filter(|(start, end)| *start <= to && *end >= from);
        let within = samples.iter().filter(|s| (from..to).contains(&s.asked));
        let failures = within.clone().filter_map(|s| match &s.answer {
            Some((_, Err(error))) => Some(format!("{} ms: {error}", ms(s.asked.saturating_sub(from)))),
            _ => None,
        });
        Self {
            samples: within.clone().count(),
            failures: failures.collect(),
            longest_gap: gaps.map(|(start, end)| end.saturating_sub(start)).max().unwrap_or_default(),
        }
    }

    /// Whether the API was away for no longer than that. Only a soak, which has a quiet machine, goes by how long.
    ///
    /// # Errors
    /// With the first failures when it was.
    pub fn keeps(&self, limit: Limit, soak: bool) -> Result<()> {
        let shown: Vec<_> = self.failures.iter().take(10).collect();
        match limit {
            Limit::Seamless => {
                ensure!(self.failures.is_empty(), "{self}, and none may fail: {shown:#?}");
                ensure!(!soak || self.longest_gap < PAUSE, "{self}");
            }
            Limit::Gap(most) => {
                ensure!(!soak || self.longest_gap <= most, "{self}, at most {most:?}: {shown:#?}");
            }
            Limit::Off => {}
        }
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} samples failed, longest API gap {} ms",
            self.failures.len(),
            self.samples,
            ms(self.longest_gap)
        )
    }
}

/// Asks until it is dropped.
pub struct Sampler {
    began: Instant,
    soak: bool,
    samples: Arc<Mutex<Vec<Sample>>>,
    /// Held for its end.
    _asking: Background<()>,
}

impl Sampler {
    /// Begins to ask a node's API, and waits for the first answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(node: &Node) -> Result<Self> {
        let (identity, netns) = node.client()?;
        let sampler = Self::begin(identity, netns, node.inputs().soak);
        sampler.answers_since(sampler.began, BACK)?;
        Ok(sampler)
    }

    fn begin(identity: Identity, netns: PathBuf, soak: bool) -> Self {
        let (began, samples) = (Instant::now(), Arc::default());
        let samples2 = Arc::clone(&samples);
        let asking =
            Background::spawn(move |stop| inside(&netns, ask(Arc::new(identity), began, samples2, stop)));
        Self { began, soak, samples, _asking: asking }
    }

    /// Does something, prints what was seen meanwhile, and checks it.
    ///
    /// # Errors
    /// When the work fails, or the API was away for longer than the limit.
    pub fn during<T>(&self, what: &str, limit: Limit, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let result = work();
        let phase = self.phase(began, Instant::now(), limit)?;
        eprintln!("{what}: {phase}, {:.1} s", began.elapsed().as_secs_f32());
        let value = result.with_context(|| format!("{what} ({phase})"))?;
        phase.keeps(limit, self.soak).with_context(|| what.to_owned())?;
        if matches!(limit, Limit::Gap(_)) {
            self.answers_since(Instant::now(), BACK)?;
        }
        Ok(value)
    }

    /// What was seen between two moments. Where an answer counts, it waits for those that are under way.
    fn phase(&self, from: Instant, to: Instant, limit: Limit) -> Result<Phase> {
        let (from, to) = (from - self.began, to - self.began);
        let patience = Instant::now() + PATIENCE * 2;
        loop {
            let samples = self.samples();
            let counts = limit != Limit::Off;
            let under_way = counts && samples.iter().any(|s| s.asked < to && s.answer.is_none());
            if !under_way || Instant::now() > patience {
                if under_way {
                    return Err(Ceiling::new("the last question's answer", PATIENCE * 2, "none").into());
                }
                let phase = Phase::of(&samples, from, to);
                ensure!(phase.samples > 0 || to < from + EVERY * 2, "the sampler asked nothing");
                return Ok(phase);
            }
            drop(samples);
            std::thread::sleep(EVERY / 2);
        }
    }

    /// Waits for the answer to a question that was asked after a moment; how long after it the
    /// answer came.
    ///
    /// # Errors
    /// A [`Ceiling`] with the last failure when there was none.
    pub fn answers_since(&self, moment: Instant, limit: Duration) -> Result<Duration> {
        let since = moment - self.began;
        loop {
            let samples = self.samples();
            let after = || samples.iter().filter(|s| s.asked >= since).filter_map(|s| s.answer.as_ref());
            if let Some(at) = after().filter(|(_, result)| result.is_ok()).map(|(at, _)| *at).min() {
                return Ok(at.saturating_sub(since));
            }
            if moment.elapsed() > limit {
                let last = after().filter_map(|(_, result)| result.as_ref().err()).next_back();
                return Err(Ceiling::new("an answer of the API", limit, format_args!("{last:?}")).into());
            }
            drop(samples);
            std::thread::sleep(EVERY / 4);
        }
    }

    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        lock(&self.samples)
    }
}

async fn ask(
    identity: Arc<Identity>,
    began: Instant,
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut clock = tokio::time::interval(EVERY);
    // A machine that paused has not been asked meanwhile: no questions in a heap afterwards.
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut under_way = tokio::task::JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        let number = {
            let mut samples = lock(&samples);
            samples.push(Sample { asked: began.elapsed(), answer: None });
            samples.len() - 1
        };
        let (identity, samples) = (Arc::clone(&identity), Arc::clone(&samples));
        under_way.spawn(async move {
            let result = serves(&identity, number as u128 % AT_ONCE).await;
            let at = began.elapsed();
            let mut samples = lock(&samples);
            if let Some(sample) = samples.get_mut(number) {
                sample.answer = Some((at, result));
            }
        });
        while under_way.try_join_next().is_some() {}
    }
    Ok(())
}

async fn serves(identity: &Identity, object: u128) -> Result<(), String> {
    let (written, ready) =
        tokio::join!(fresh(identity, write(&format!("sampler-{object}"))), fresh(identity, get("/readyz")));
    written.map_err(|error| format!("a write: {error:#}"))?;
    match ready {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = format!("/readyz: {error:#}");
            if only_ends(&error) { Ok(()) } else { Err(error) }
        }
    }
}

/// Puts the time into a ConfigMap: an apply that changes nothing would be no write to etcd.
fn write(name: &str) -> Request<Full<Bytes>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"now": now}});
    let path = format!("{CONFIG_MAPS}/{name}?fieldManager=sampler&force=true");
    request(Method::PATCH, &path, "application/apply-patch+yaml", object.to_string())
}

/// Whether all that /readyz finds wrong is that the instance was told to end.
fn only_ends(error: &str) -> bool {
    error.matches("[-]").count() == 1 && error.contains("[-]shutdown failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples at these milliseconds; those that failed are named.
    fn samples(at: &[u64], failed: &[u64]) -> Vec<Sample> {
        let sample = |&at: &u64| {
            let result = if failed.contains(&at) { Err("refused".to_owned()) } else { Ok(()) };
            let asked = Duration::from_millis(at);
            Sample { asked, answer: Some((asked + Duration::from_millis(5), result)) }
        };
        at.iter().map(sample).collect()
    }

    fn phase(samples: &[Sample], from: u64, to: u64) -> Phase {
        Phase::of(samples, Duration::from_millis(from), Duration::from_millis(to))
    }

    #[test]
    fn a_gap_lies_between_two_answers_and_counts_in_each_phase_that_it_touches() {
        let all = samples(&[0, 100, 200, 300, 400, 500, 600], &[200, 300]);
        let first = phase(&all, 0, 250);
        assert_eq!((first.samples, first.failures.len()), (3, 1));
        assert_eq!(first.failures[0], "200 ms: refused");
        assert_eq!(phase(&all, 0, 450).longest_gap, Duration::from_millis(300));
        assert_eq!(phase(&all, 250, 610).longest_gap, Duration::from_millis(300));
        assert_eq!(phase(&all, 450, 610).longest_gap, Duration::from_millis(100));
        assert!(phase(&all, 450, 610).keeps(Limit::Seamless, true).is_ok());
        assert!(phase(&all, 0, 610).keeps(Limit::Seamless, false).is_err());
        let most = Limit::Gap(Duration::from_millis(299));
        assert!(phase(&all, 0, 610).keeps(most, true).is_err());
        assert!(phase(&all, 0, 610).keeps(most, false).is_ok());
    }

    #[test]
    fn an_instance_that_was_told_to_end_serves_and_one_that_starts_does_not() {
        assert!(only_ends("/readyz: 500 Internal Server Error: [-]shutdown failed: reason withheld"));
        assert!(!only_ends("/readyz: 500: [-]etcd failed: reason withheld, [-]shutdown failed: x"));
        assert!(!only_ends("/readyz: 500: [-]poststarthook/rbac/bootstrap-roles failed: not finished"));
        assert!(!only_ends("/readyz: connect: Connection refused"));
    }

    #[test]
    fn an_api_that_is_not_back_at_the_end_is_a_gap() {
        let all = samples(&[0, 100, 200, 300], &[200, 300]);
        assert_eq!(phase(&all, 0, 2000).longest_gap, Duration::from_millis(1895));
        let never = samples(&[0, 100], &[0, 100]);
        assert_eq!(phase(&never, 0, 200).longest_gap, Duration::from_millis(200));
    }
}
