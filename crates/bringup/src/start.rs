//! The bring-up itself: observes, plans, and executes the plan's steps one after the other.

use std::time::{Duration, Instant};

use apply::ReadyzFailure;
use cri::Cri;
use jiff::Timestamp;
use kube::Client;
use serde::Serialize;

use crate::addons::{self, Parts};
use crate::assets::Assets;
use crate::error::StartError;
use crate::event::{Reporter, Step};
use crate::gap::{Gap, Sampler};
use crate::options::Options;
use crate::plan::{Observed, Plan, plan};
use crate::serving::Serving;
use crate::steering::{Side, Steering, View};
use crate::workloads::{self, PodIdentity, Standing};
use crate::{checkpointed, diagnosis, outdated, pivot, stage};

/// How often something is looked at that is waited for.
pub(crate) const POLL: Duration = Duration::from_millis(100);
/// How long one request to the API may take while it is waited for.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// A temporary component that ended this often will not come up by waiting.
const CRASHES: u32 = 3;

/// So many new connections find an unready one of two listeners, but for one time in a million.
const BLIND_PROBES: usize = 20;
/// Why nothing is steered where two apiservers cannot be up at once.
const NOT_SHARED: &str = "the temporary and the self-hosted apiserver do not both have \
                          --permit-port-sharing, so that the API was away while the port changed hands";

/// Said where nothing in the asset directory makes checkpoints.
const NO_GUARDIAN: &str =
    "no guardian is among the manifests: after a power cut this node needs another `start`";

/// How a bring-up ended well.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Whether anything was to be done.
    pub changed: bool,
    /// The API as a client of this node felt it, from its first answer to the end.
    pub gap: Option<Gap>,
    /// Why new connections could not be steered, where they could not.
    pub unsteered: Option<String>,
    /// The self-hosted pods of this node that fulfil the requirements.
    pub pods: Vec<PodIdentity>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// A client of this node's own API with the asset directory's credentials.
///
/// # Errors
/// When the asset directory cannot be read.
pub async fn client(options: &Options) -> Result<Client, StartError> {
    Assets::read(options)?.client().await
}

/// Everything that the steps share.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a Options,
    pub(crate) assets: Assets,
    parts: Parts,
    pub(crate) runtime: Cri,
    pub(crate) client: Client,
    pub(crate) report: &'a Reporter<'a>,
}

/// Says what [`start`] would do now.
///
/// # Errors
/// When the asset directory cannot be read or the container runtime does not answer.
pub async fn dry_run(options: &Options, report: &Reporter<'_>) -> Result<Plan, StartError> {
    let context = Context::new(options, report).await?;
    Ok(plan(&context.observe().await?))
}

/// Brings up the control plane of an asset directory on this host. Can be killed at any moment and
/// run again.
///
/// # Errors
/// [`StartError`]; the temporary control plane stays up then.
pub async fn start(options: &Options, report: &Reporter<'_>) -> Result<Summary, StartError> {
    let context = Context::new(options, report).await?;
    let plan = context.plan().await?;
    let mut summary = Summary { changed: false, gap: None, unsteered: None, pods: Vec::new(), elapsed_ms: 0 };
    if plan.has(Step::Stage) {
        context.bring_up(&mut summary).await?;
    }
    if plan.has(Step::Verify) {
        context.step(Step::Verify, pivot::verify(&context)).await?;
        summary.changed = true;
    }
    summary.pods = context.standings().await?.into_iter().filter_map(|s| s.pod).collect();
    summary.elapsed_ms = u64::try_from(report.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

impl<'a> Context<'a> {
    async fn new(options: &'a Options, report: &'a Reporter<'a>) -> Result<Self, StartError> {
        let assets = Assets::read(options)?;
        let runtime = Cri::connect(&options.runtime_socket).await?;
        let client = assets.client().await?;
        let parts = addons::split(apply::plan(assets.objects.clone()), &options.required);
        Ok(Self { options, assets, parts, runtime, client, report })
    }

    /// Runs a step between its first and its last event; the step's result is its summary.
    async fn step(
        &self,
        step: Step,
        work: impl Future<Output = Result<String, StartError>>,
    ) -> Result<(), StartError> {
        self.report.started(step);
        let done = work.await?;
        self.report.done(step, done);
        Ok(())
    }

    /// What is to be done once the guardian has brought back what it can.
    async fn plan(&self) -> Result<Plan, StartError> {
        let observed = self.observe().await?;
        if !plan(&observed).has(Step::Restore) {
            return Ok(plan(&observed));
        }
        let mut back = None;
        let restore = async {
            back = checkpointed::restore(self).await?;
            Ok(if back.is_some() { "the control plane is back" } else { "it did not come back" }.to_owned())
        };
        self.step(Step::Restore, restore).await?;
        let observed = match back {
            Some(observed) => observed,
            None => Observed { restorable: false, ..self.observe().await? },
        };
        Ok(plan(&observed))
    }

    pub(crate) async fn observe(&self) -> Result<Observed, StartError> {
        let look = |files: &[stage::HostFile]| -> Vec<_> {
            files.iter().map(|file| (file.path.clone(), stage::state(file))).collect()
        };
        let api_ready = apply::readyz(&self.client, REQUEST_LIMIT).await.is_ok();
        // What cannot be asked of an API that just goes away is not known: every step is run then.
        let standings = if api_ready { self.standings().await.unwrap_or_default() } else { Vec::new() };
        Ok(Observed {
            temporary_files: look(&self.assets.temporary_pods),
            lasting_files: look(&self.assets.lasting),
            temporary_pods: pivot::temporary_pods(self).await?.into_iter().map(|pod| pod.name).collect(),
            api_ready,
            standings,
            objects: self.parts.control_plane.steps.len(),
            addons: self.parts.addons.steps.len(),
            guardian: self.assets.guardian,
            restorable: checkpointed::restorable(self.options),
            copies: workloads::copies(&self.runtime, &self.options.required).await?,
            secrets: self.options.secrets_dir.exists(),
        })
    }

    pub(crate) async fn standings(&self) -> Result<Vec<Standing>, StartError> {
        let Options { node_name, required, .. } = self.options;
        workloads::look(&self.client, &self.runtime, node_name, required).await
    }

    async fn bring_up(&self, summary: &mut Summary) -> Result<(), StartError> {
        let mut staged = None;
        let stage = async {
            let written = self.stage()?;
            staged = (written > 0).then(Timestamp::now);
            if apply::readyz(&self.client, REQUEST_LIMIT).await.is_err() {
                outdated::replace(self).await?;
            }
            Ok(format!("{written} files written, all others were in place"))
        };
        self.step(Step::Stage, stage).await?;
        let probe = self.assets.probe().await?;
        let unsteered = (!self.assets.shares_port).then(|| NOT_SHARED.to_owned());
        let steering = Steering::start(self.assets.port, probe.clone(), self.runtime.clone(), unsteered);
        let sampler = Sampler::start(probe);
        let outcome = self.move_in(&steering, staged).await;
        summary.unsteered = steering.view().unsteered().map(str::to_owned);
        summary.gap = Some(sampler.finish().await);
        summary.changed = true;
        // On failure the program stays in place: the temporary apiserver keeps the traffic.
        outcome?;
        if self.assets.guardian {
            // The guardian steers from here on, with this very program: a second apiserver may begin to listen
            // at any time.
            drop(steering);
        } else if let Err(error) = steering.finish().await {
            tracing::warn!(%error, "the steering program stays attached");
        }
        Ok(())
    }

    async fn move_in(&self, steering: &Steering, staged: Option<Timestamp>) -> Result<(), StartError> {
        self.step(Step::Api, self.wait_for_api(staged)).await?;
        self.step(Step::Inject, self.inject()).await?;
        self.step(Step::Ready, self.wait_until_ready(steering)).await?;
        self.step(Step::Addons, self.apply_addons()).await?;
        if self.assets.guardian {
            self.step(Step::Checkpoint, checkpointed::wait(self)).await?;
        } else {
            self.report.note(Step::Addons, NO_GUARDIAN);
        }
        self.step(Step::Pivot, pivot::pivot(self, steering)).await
    }

    /// Returns how many files were written.
    fn stage(&self) -> Result<usize, StartError> {
        stage::make_data_dirs(&self.assets.data_dirs)?;
        let lasting = stage::place(&self.assets.lasting)?;
        let secrets = stage::place(&self.assets.secrets)?;
        let pods = stage::place(&self.assets.temporary_pods)?;
        Ok(lasting + secrets + pods)
    }

    /// `staged` is when something was last changed, if it was: crashes of before are history then.
    async fn wait_for_api(&self, staged: Option<Timestamp>) -> Result<String, StartError> {
        let began = Instant::now();
        loop {
            let waiting = match apply::readyz(&self.client, REQUEST_LIMIT).await {
                Ok(()) => return Ok("the API is ready".to_owned()),
                Err(ReadyzFailure::NoAnswer(error)) if error.untrusted() => {
                    return Err(StartError::Untrusted { port: self.assets.port, why: error.to_string() });
                }
                Err(failure) => failure.to_string(),
            };
            self.report.waiting(Step::Api, &waiting);
            let what = || format!("the API on port {}", self.assets.port);
            if began.elapsed() > self.options.timeout {
                let diagnosis = diagnosis::temporary(self, &waiting).await;
                return Err(StartError::NotReady { what: what(), after: began.elapsed(), diagnosis });
            }
            if let Some(pod) = diagnosis::crashing(self, CRASHES, staged).await {
                let diagnosis = diagnosis::temporary(self, &waiting).await;
                return Err(StartError::Crashing { what: pod, diagnosis });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn inject(&self) -> Result<String, StartError> {
        let labels = self.assets.node_labels();
        let (applied, labelled) = tokio::join!(self.apply(), self.label_node(&labels));
        labelled?;
        applied
    }

    /// One object that the API rejects does not keep the others out, add-ons included.
    async fn apply(&self) -> Result<String, StartError> {
        let mut report = self.apply_part(Step::Inject, &self.parts.control_plane).await;
        if report.complete() {
            return Ok(report.to_string());
        }
        report.outcomes.extend(self.apply_part(Step::Inject, &self.parts.addons).await.outcomes);
        Err(StartError::Rejected { report: Box::new(report) })
    }

    async fn apply_addons(&self) -> Result<String, StartError> {
        let report = self.apply_part(Step::Addons, &self.parts.addons).await;
        if report.complete() {
            return Ok(report.to_string());
        }
        Err(StartError::Rejected { report: Box::new(report) })
    }

    async fn apply_part(&self, step: Step, part: &apply::Plan) -> apply::Report {
        // Applying again costs nothing, waiting for an answer that was lost does: the apiserver asks
        // connections to move now and then.
        let options = apply::Options {
            deadline: self.options.timeout,
            request_timeout: REQUEST_LIMIT,
            ..apply::Options::default()
        };
        let mut on_event = |event: apply::ApplyEvent| {
            let waiting = event.waiting_for.map(|w| format!(", waiting for {}: {}", w.object, w.why));
            let waiting = waiting.unwrap_or_default();
            self.report.waiting(step, format!("{} of {}{waiting}", event.applied, event.total));
        };
        apply::apply(&self.client, part, &options, &mut on_event).await
    }

    /// The label by which the control plane's pods choose their node. The kubelet may not set it.
    async fn label_node(
        &self,
        labels: &std::collections::BTreeMap<String, Option<String>>,
    ) -> Result<(), StartError> {
        let began = Instant::now();
        while !labels.is_empty() {
            let node = &self.options.node_name;
            let Err(error) = apply::label_node(&self.client, node, labels, REQUEST_LIMIT).await else {
                break;
            };
            if began.elapsed() > self.options.timeout {
                let diagnosis = diagnosis::node(self, &error.to_string()).await;
                let what = format!("node {node}");
                return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis });
            }
            self.report.waiting(Step::Inject, format!("node {node} to register: {error}"));
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn wait_until_ready(&self, steering: &Steering) -> Result<String, StartError> {
        let began = Instant::now();
        let mut serving = Serving::default();
        loop {
            let view = steering.view();
            let missing = match self.standings().await {
                Ok(standings) => {
                    self.open_gates(&view, &standings, &mut serving).await;
                    self.what_is_missing(&view, &standings).await
                }
                // A request may fail, the wait goes on: only its end counts.
                Err(error) => Some(error.to_string()),
            };
            let Some(missing) = missing else {
                return Ok(format!("{} required pods are ready", self.options.required.len()));
            };
            if began.elapsed() > self.options.timeout {
                let diagnosis = diagnosis::self_hosted(self, &missing).await;
                let what = "the self-hosted control plane".to_owned();
                return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis });
            }
            self.report.waiting(Step::Ready, missing);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Tells of the self-hosted apiservers among the required pods which of them serve.
    async fn open_gates(&self, view: &View, standings: &[Standing], serving: &mut Serving) {
        for pod in standings.iter().filter_map(|s| s.pod.as_ref()) {
            let listens =
                view.of(Side::SelfHosted).any(|s| s.owner.as_ref().is_some_and(|o| o.uid == pod.uid));
            if !listens || serving.knows(pod) {
                continue;
            }
            let ready = match view.unsteered() {
                None => view.successor_ready(&[&pod.uid]),
                Some(_) => self.shared_port_missing().await.is_none(),
            };
            if ready {
                serving.tell(self, pod).await;
            }
        }
    }

    async fn what_is_missing(&self, view: &View, standings: &[Standing]) -> Option<String> {
        let mut waits_for_port = false;
        for standing in standings {
            if !self.assets.shares_port
                && let Some(pod) = &standing.pod
                && diagnosis::found_port_taken(self, pod).await
            {
                waits_for_port = true;
            } else if let Some(missing) = &standing.missing {
                return Some(format!("{}: {missing}", standing.required));
            }
        }
        if waits_for_port { None } else { self.successor_missing(view, standings).await }
    }

    /// What keeps the self-hosted apiserver from taking the traffic, asked of that very instance:
    /// the kubelet's probe on the shared port may have been answered by the temporary one.
    async fn successor_missing(&self, view: &View, standings: &[Standing]) -> Option<String> {
        let mut seen = view.of(Side::SelfHosted);
        let why = match (seen.next(), view.unsteered()) {
            (None, _) => "it does not listen yet".to_owned(),
            (Some(_), Some(_)) => return self.shared_port_missing().await,
            (Some(seen), None) => {
                let pods: Vec<_> =
                    standings.iter().filter_map(|s| Some(s.pod.as_ref()?.uid.as_str())).collect();
                if view.successor_ready(&pods) {
                    return None;
                }
                seen.why.clone()
            }
        };
        Some(format!("the self-hosted apiserver itself: {why}"))
    }

    /// Where no instance can be asked by itself: the kernel spreads new connections over all
    /// listeners, so that an unready one would show among so many.
    async fn shared_port_missing(&self) -> Option<String> {
        let probe = match self.assets.probe().await {
            Ok(probe) => probe,
            Err(error) => return Some(error.to_string()),
        };
        for _ in 0..BLIND_PROBES {
            if let Some(why) = probe.lacking(0).await {
                return Some(format!("an apiserver on the shared port: {why}"));
            }
        }
        None
    }
}
