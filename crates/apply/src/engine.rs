//! The passes: every object that is not in yet is tried once in each, in the order of the ranks,
//! until all are in, or what is left cannot get in, or time is up.

use std::sync::Arc;
use std::time::Duration;

use api::{Call, Class, Client, Discovery};
use http::StatusCode;
use objects::{ObjectRef, condition};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::classify::Failure;
use crate::event::{ApplyEvent, Waiting};
use crate::plan::{Plan, Rank, Step};
use crate::report::{Action, Outcome, Rejection, Report};

/// The pause after the first pass that left something; it doubles with each that brings nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two passes.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a definition is looked at until it is Established, and the pause between: 5 s in all.
/// It takes the API server some 100 ms.
const ESTABLISHED_TRIES: u32 = 100;
const ESTABLISHED_PAUSE: Duration = Duration::from_millis(50);

/// How to apply.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long to try in all.
    pub deadline: Duration,
    /// How long what a young cluster mends by itself (a missing namespace, role or kind) may take,
    /// counted from the last object that got in. Then it is a failure.
    pub settle: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How many requests at the same time.
    pub parallel: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(2),
            settle: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            parallel: 16,
        }
    }
}

/// Applies a plan's objects. Never fails as a whole: the report has every object.
pub async fn apply(
    client: &Client,
    plan: &Plan,
    options: &Options,
    on_event: &mut (dyn FnMut(ApplyEvent) + Send),
) -> Report {
    let now = Instant::now();
    let mut run = Run {
        client,
        options,
        on_event,
        items: plan.steps.iter().map(Item::new).collect(),
        refused: plan.refused.len(),
        discovery: Discovery::default(),
        baseline: Baseline::Unasked,
        deadline: now + options.deadline,
        progress: now,
    };
    run.passes().await;
    let outcomes = run.items.into_iter().map(Item::outcome);
    Report { outcomes: outcomes.chain(plan.refused.iter().cloned()).collect() }
}

/// One object on its way.
struct Item {
    step: Arc<Step>,
    state: State,
}

enum State {
    /// Not in yet; what came of the last try, and when that first happened.
    Pending(Option<(Failure, Instant)>),
    Applied(Action),
    Failed(Rejection),
}

impl Item {
    fn new(step: &Step) -> Self {
        Self { step: Arc::new(step.clone()), state: State::Pending(None) }
    }

    fn pending(&self) -> bool {
        matches!(self.state, State::Pending(_))
    }

    fn outcome(self) -> Outcome {
        let Step { object, source, .. } = Arc::unwrap_or_clone(self.step);
        match self.state {
            State::Applied(action) => Outcome::applied(object, source, action),
            State::Failed(error) => Outcome::refused(object, source, error),
            State::Pending(last) => {
                let error = last.map_or_else(
                    || Rejection::local("NotTried", "time was up before it was its turn".to_owned()),
                    |(failure, _)| failure.rejection,
                );
                Outcome::refused(object, source, error)
            }
        }
    }
}

/// The cluster's resource version before anything was applied: what is not newer afterwards did not
/// change. (They are comparable: KEP-5504; within one etcd they always were.)
#[derive(Clone, Copy)]
enum Baseline {
    Unasked,
    Unknown,
    Known(u64),
}

struct Run<'a> {
    client: &'a Client,
    options: &'a Options,
    on_event: &'a mut (dyn FnMut(ApplyEvent) + Send),
    items: Vec<Item>,
    refused: usize,
    discovery: Discovery,
    baseline: Baseline,
    deadline: Instant,
    /// When an object last got in.
    progress: Instant,
}

impl Run<'_> {
    async fn passes(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.progress;
            self.pass().await;
            self.give_up_on_unsettled();
            let Some(waiting) = self.waiting() else { return self.report(None) };
            if Instant::now() >= self.deadline {
                return;
            }
            tracing::debug!(object = %waiting.object, why = %waiting.why, "some objects are not in yet");
            self.report(Some(waiting));
            pause = if self.progress > before { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            sleep_until((Instant::now() + pause).min(self.deadline)).await;
        }
    }

    /// Tries everything once that is not in, rank by rank. Ends early when nobody answers.
    async fn pass(&mut self) {
        if let Err(failure) = self.ask_baseline().await {
            for index in 0..self.items.len() {
                if self.items[index].pending() {
                    self.settle(index, Err(failure.clone()));
                }
            }
            return;
        }
        for rank in Rank::ALL {
            let pending = |item: &&Item| item.pending() && item.step.rank == rank;
            let objects = self.items.iter().filter(pending).map(|item| &item.step.object);
            self.discovery.load(self.client, self.limit(), objects).await;
            if self.rank(rank).await.is_err() {
                return;
            }
        }
    }

    /// Tries everything of one rank that is not in, some at the same time.
    async fn rank(&mut self, rank: Rank) -> Result<(), Unreachable> {
        let todo: Vec<usize> = (0..self.items.len())
            .filter(|&i| self.items[i].pending() && self.items[i].step.rank == rank)
            .collect();
        let mut todo = todo.into_iter();
        let mut running = JoinSet::new();
        let mut reachable = Ok(());
        loop {
            while reachable.is_ok() && running.len() < self.options.parallel.max(1) {
                let Some(index) = todo.next() else { break };
                match self.discovery.path(&self.items[index].step.object) {
                    Ok(path) => _ = running.spawn(self.attempt(index, path)),
                    Err(error) => self.settle(index, Err(error.into())),
                }
            }
            let Some(finished) = running.join_next().await else { return reachable };
            // A task ends otherwise only by a panic, and then the object stays pending.
            let Ok((index, result)) = finished else { continue };
            if result.as_ref().is_err_and(|f| f.class == Class::Unreachable) {
                reachable = Err(Unreachable);
            }
            let applied = result.is_ok();
            self.settle(index, result);
            if applied {
                self.report(None);
            }
        }
    }

    /// The request for one object, as a task of its own.
    fn attempt(
        &self,
        index: usize,
        path: String,
    ) -> impl Future<Output = (usize, Result<Action, Failure>)> + Send + 'static {
        let client = self.client.clone();
        let step = Arc::clone(&self.items[index].step);
        let (limit, baseline) = (self.limit(), self.baseline);
        async move { (index, attempt(&client, &step, &path, limit, baseline).await) }
    }

    /// Notes what came of a try.
    fn settle(&mut self, index: usize, result: Result<Action, Failure>) {
        let now = Instant::now();
        let item = &mut self.items[index];
        let since = match &item.state {
            State::Pending(Some((failure, since))) if failure.class == Class::Settling => *since,
            _ => now,
        };
        item.state = match result {
            Ok(action) => {
                self.progress = now;
                State::Applied(action)
            }
            Err(failure) if failure.class == Class::Final => State::Failed(failure.rejection),
            Err(failure) => State::Pending(Some((failure, since))),
        };
    }

    /// What should have mended by now will not.
    fn give_up_on_unsettled(&mut self) {
        let now = Instant::now();
        for item in &mut self.items {
            let State::Pending(Some((failure, since))) = &item.state else { continue };
            let waited = now - (*since).max(self.progress);
            if failure.class == Class::Settling && waited >= self.options.settle {
                item.state = State::Failed(Rejection { transient: false, ..failure.rejection.clone() });
            }
        }
    }

    async fn ask_baseline(&mut self) -> Result<(), Failure> {
        if !matches!(self.baseline, Baseline::Unasked) || self.items.is_empty() {
            return Ok(());
        }
        let answer = Call::get("/api/v1/namespaces?limit=1").object(self.client, self.limit()).await;
        self.baseline = match answer.map_err(Failure::from) {
            Ok(list) => resource_version(&list).map_or(Baseline::Unknown, Baseline::Known),
            Err(failure) if matches!(failure.class, Class::Unreachable | Class::Transient) => {
                return Err(failure);
            }
            Err(_) => Baseline::Unknown,
        };
        Ok(())
    }

    /// How long the next request may take.
    fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.options.request_timeout.min(left.max(Duration::from_millis(1)))
    }

    fn waiting(&self) -> Option<Waiting> {
        let item = self.items.iter().find(|item| item.pending())?;
        let why = match &item.state {
            State::Pending(Some((failure, _))) => failure.rejection.message.clone(),
            _ => "an answer of the API server".to_owned(),
        };
        Some(Waiting { object: item.step.object.clone(), why })
    }

    fn report(&mut self, waiting_for: Option<Waiting>) {
        let count = |f: fn(&State) -> bool| self.items.iter().filter(|item| f(&item.state)).count();
        let event = ApplyEvent {
            applied: count(|s| matches!(s, State::Applied(_))),
            failed: count(|s| matches!(s, State::Failed(_))) + self.refused,
            total: self.items.len() + self.refused,
            waiting_for,
        };
        (self.on_event)(event);
    }
}

/// Nobody answered: the rest of the pass would fare no better.
struct Unreachable;

/// Applies one object; a definition counts as applied once its kind is served.
async fn attempt(
    client: &Client,
    step: &Step,
    path: &str,
    limit: Duration,
    baseline: Baseline,
) -> Result<Action, Failure> {
    let (status, mut object) = Call::apply(path, &step.value).json(client, limit).await?;
    let version = resource_version(&object);
    let action = match (status, baseline, version) {
        (StatusCode::CREATED, _, _) => Action::Created,
        (_, Baseline::Known(before), Some(version)) if version <= before => Action::Unchanged,
        _ => Action::Configured,
    };
    if step.rank == Rank::Definitions {
        for _ in 0..ESTABLISHED_TRIES {
            if condition(&object, names::condition::ESTABLISHED) == Some(true) {
                return Ok(action);
            }
            sleep(ESTABLISHED_PAUSE).await;
            object = Call::get(path).object(client, limit).await?;
        }
        return Err(not_established(&step.object, &object));
    }
    Ok(action)
}

fn resource_version(value: &Value) -> Option<u64> {
    value.pointer("/metadata/resourceVersion")?.as_str()?.parse().ok()
}

fn not_established(definition: &ObjectRef, object: &Value) -> Failure {
    let conditions = objects::items(&object["status"]["conditions"]);
    let names = conditions.iter().find(|c| c["type"] == names::condition::NAMES_ACCEPTED);
    let why = match names {
        Some(names) if names["status"] == "False" => objects::text(&names["message"]),
        _ => "the API server has not served it yet",
    };
    let message = format!("{definition} is not Established: {why}");
    Failure::new(Class::Settling, Rejection::local("NotEstablished", message))
}
