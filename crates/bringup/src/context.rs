//! What the steps of a bring-up share: each value is read once, here, and handed down. And the one way to wait.

use std::time::Duration;

use api::Client;
use cri::{Cri, Filter, Pod};
use tokio::time::{Instant, sleep};

use crate::addons::{self, Parts};
use crate::assets::Assets;
use crate::error::StartError;
use crate::event::{Reporter, Step};
use crate::options::{Options, POLL};
use crate::required::RequiredPod;
use crate::workloads::{self, Standing};

/// See the module.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a Options,
    pub(crate) assets: Assets,
    pub(crate) required: Vec<RequiredPod>,
    pub(crate) parts: Parts,
    pub(crate) runtime: Cri,
    pub(crate) client: Client,
    pub(crate) report: &'a Reporter<'a>,
}

/// What one look found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look<T> {
    /// What was waited for.
    There(T),
    /// What is missing.
    Missing(String),
}

/// That something was not there in time.
pub(crate) struct Late {
    /// How long it was waited for.
    pub(crate) after: Duration,
    /// What was missing last.
    pub(crate) missing: String,
}

/// How often is looked where a look is a request that changes little.
pub(crate) const SELDOM: Duration = Duration::from_millis(500);

/// Looks each `period` until it is there, or `patience` is over; `waiting` gets what is missing.
///
/// # Errors
/// Those of the look, which end the wait at once.
pub(crate) async fn poll<T>(
    patience: Duration,
    period: Duration,
    mut waiting: impl FnMut(String),
    mut look: impl AsyncFnMut() -> Result<Look<T>, StartError>,
) -> Result<Result<T, Late>, StartError> {
    let began = Instant::now();
    loop {
        let missing = match look().await? {
            Look::There(found) => return Ok(Ok(found)),
            Look::Missing(missing) => missing,
        };
        let after = began.elapsed();
        if after > patience {
            return Ok(Err(Late { after, missing }));
        }
        waiting(missing);
        sleep(period).await;
    }
}

impl<'a> Context<'a> {
    pub(crate) async fn new(options: &'a Options, report: &'a Reporter<'a>) -> Result<Self, StartError> {
        let assets = Assets::read(options)?;
        let runtime = options.surroundings.runtime(options.runtime_socket.clone()).await?;
        let client = assets.client(&*options.surroundings).await?;
        let workloads: Vec<_> = assets.objects.iter().map(|object| object.value.clone()).collect();
        let required: Vec<_> = options.required.iter().cloned().map(|r| r.placed(&workloads)).collect();
        let parts = addons::split(apply::plan(assets.objects.clone()), &required);
        Ok(Self { options, assets, required, parts, runtime, client, report })
    }

    /// Runs a step between its first and its last event; the step's result is its summary.
    pub(crate) async fn step(
        &self,
        step: Step,
        work: impl Future<Output = Result<String, StartError>>,
    ) -> Result<(), StartError> {
        self.report.started(step);
        let done = work.await?;
        self.report.done(step, done);
        Ok(())
    }

    /// Looks until it is there, and says meanwhile what is missing.
    ///
    /// # Errors
    /// Those of the look, which end the wait at once; [`StartError::NotReady`] after the time limit, with what
    /// `diagnose` makes of what was missing last.
    pub(crate) async fn until<T>(
        &self,
        step: Step,
        what: &str,
        look: impl AsyncFnMut() -> Result<Look<T>, StartError>,
        diagnose: impl AsyncFnOnce(&str) -> String,
    ) -> Result<T, StartError> {
        match self.poll(step, self.options.timeout, look).await? {
            Ok(found) => Ok(found),
            Err(Late { after, missing }) => {
                let diagnosis = diagnose(&missing).await;
                Err(StartError::NotReady { what: what.to_owned(), after, diagnosis })
            }
        }
    }

    /// The same for what is to go away: the look says what is left.
    ///
    /// # Errors
    /// Those of the look; [`StartError::LeftOver`] after the time limit.
    pub(crate) async fn until_gone(
        &self,
        step: Step,
        look: impl AsyncFnMut() -> Result<Look<()>, StartError>,
    ) -> Result<(), StartError> {
        let gone = self.poll(step, self.options.timeout, look).await?;
        gone.map_err(|Late { after, missing }| StartError::LeftOver { left: missing, after })
    }

    /// Looks until it is there, or `patience` is over.
    ///
    /// # Errors
    /// Those of the look, which end the wait at once.
    pub(crate) async fn poll<T>(
        &self,
        step: Step,
        patience: Duration,
        look: impl AsyncFnMut() -> Result<Look<T>, StartError>,
    ) -> Result<Result<T, Late>, StartError> {
        poll(patience, POLL, |missing| self.report.waiting(step, missing), look).await
    }

    /// How the required pods stand, each where it has to be.
    ///
    /// # Errors
    /// When the API or the runtime does not answer.
    pub(crate) async fn standings(&self) -> Result<Vec<Standing>, StartError> {
        workloads::look(&self.client, &self.runtime, &self.options.node_name, &self.required).await
    }

    /// The sandboxes of the temporary control plane on this node, running or not.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub(crate) async fn temporary_pods(&self) -> Result<Vec<Pod>, StartError> {
        let mut pods = self.runtime.sandboxes(Filter::all()).await?;
        pods.retain(|pod| self.assets.is_temporary(pod));
        pods.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
        Ok(pods)
    }
}
