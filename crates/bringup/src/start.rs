//! The bring-up itself: observes, plans, and executes the plan's steps one after the other.

use std::collections::BTreeSet;
use std::path::Path;

use api::Client;
use host::place::{make_dirs, place};
use jiff::Timestamp;
use names::path::ETCD_MEMBER_ID;
use objects::pod;
use serde::Serialize;

use crate::assets::Assets;
use crate::context::Context;
use crate::error::StartError;
use crate::event::{Reporter, Step};
use crate::gap::Gap;
use crate::observe::{observe, restorable};
use crate::options::{Options, REQUEST_LIMIT};
use crate::plan::{Observed, Plan, plan};
use crate::steering::Steering;
use crate::surroundings::Watch;
use crate::workloads::PodIdentity;
use crate::{
    answer, belongs, checkpointed, inject, outdated, pivot, ready, registered, rights, signed, stage, verify,
};

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
    Assets::read(options)?.client(&*options.surroundings).await
}

/// Says what [`start`] would do now.
///
/// # Errors
/// When the asset directory cannot be read or is another cluster's, or the container runtime does not answer.
pub async fn dry_run(options: &Options, report: &Reporter<'_>) -> Result<Plan, StartError> {
    belongs::check(options)?;
    Ok(plan(&observe(&Context::new(options, report).await?).await?))
}

/// Brings up the control plane of an asset directory on this host. Can be killed at any moment and
/// run again.
///
/// # Errors
/// [`StartError`]; the temporary control plane stays up then.
pub async fn start(options: &Options, report: &Reporter<'_>) -> Result<Summary, StartError> {
    belongs::check(options)?;
    run(&Context::new(options, report).await?).await
}

async fn watch(context: &Context<'_>) -> Result<Watch, StartError> {
    let probe = context.assets.probe().await?;
    let unsteered = (!context.assets.shares_port).then(|| NOT_SHARED.to_owned());
    let (port, runtime) = (context.assets.port, context.runtime.clone());
    Ok(context.options.surroundings.watch(port, probe, runtime, unsteered))
}

async fn run(context: &Context<'_>) -> Result<Summary, StartError> {
    let mut summary = Summary { changed: false, gap: None, unsteered: None, pods: Vec::new(), elapsed_ms: 0 };
    let plan = what_is_to_do(context, &mut summary).await?;
    if plan.has(Step::Stage) {
        can_be_made(context).await?;
        bring_up(context, &mut summary).await?;
    }
    if plan.has(Step::Register) {
        context.step(Step::Register, registered::register(context)).await?;
        summary.changed = true;
    }
    if plan.has(Step::Verify) {
        context.step(Step::Verify, verify::verify(context)).await?;
        summary.changed = true;
    }
    summary.pods = context.standings().await?.into_iter().filter_map(|s| s.pod).collect();
    summary.elapsed_ms = u64::try_from(context.report.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(summary)
}

/// What is to be done once rights are there and the guardian has brought back what it can.
async fn what_is_to_do(context: &Context<'_>, summary: &mut Summary) -> Result<Plan, StartError> {
    let on_node = |path: &Path| context.options.on_node(path);
    if let Some(problem) = etcd::data::standing(&on_node(Path::new(ETCD_MEMBER_ID)), &on_node).problem() {
        return Err(StartError::Data { problem });
    }
    let observed = with_rights(context, observe(context).await?, summary).await?;
    let first = plan(&observed);
    if !first.has(Step::Restore) {
        return Ok(first);
    }
    let mut back = None;
    let restore = async {
        back = checkpointed::restore(context).await?;
        Ok(if back.is_some() { "the control plane is back" } else { "it did not come back" }.to_owned())
    };
    context.step(Step::Restore, restore).await?;
    Ok(plan(&match back {
        Some(observed) => with_rights(context, observed, summary).await?,
        None => Observed { restorable: false, ..observe(context).await? },
    }))
}

/// Puts back what rights are gone: without them nothing else can be judged, and is looked at anew afterwards.
async fn with_rights(
    context: &Context<'_>,
    observed: Observed,
    summary: &mut Summary,
) -> Result<Observed, StartError> {
    if !plan(&observed).has(Step::Rights) {
        return Ok(observed);
    }
    context.step(Step::Rights, rights::put_back(context, &observed.rights_gone)).await?;
    summary.changed = true;
    observe(context).await
}

/// Refuses what no pod could be made of: with this plugin images of this node are of no use without their registry.
async fn can_be_made(context: &Context<'_>) -> Result<(), StartError> {
    let objects = || context.assets.objects.iter().map(|object| &object.value);
    if !pod::always_pulls(objects()) {
        return Ok(());
    }
    let images: BTreeSet<String> = objects().flat_map(pod::images).collect();
    let images = context.runtime.unpullable(images).await;
    if images.is_empty() { Ok(()) } else { Err(StartError::Unpullable { images }) }
}

async fn bring_up(context: &Context<'_>, summary: &mut Summary) -> Result<(), StartError> {
    let mut staged = None;
    let stage = async {
        let written = stage_all(&context.assets)?;
        staged = (written > 0).then(Timestamp::now);
        if api::readyz(&context.client, REQUEST_LIMIT).await.is_err() {
            outdated::replace(context).await?;
        }
        Ok(format!("{written} files written, all others were in place"))
    };
    context.step(Step::Stage, stage).await?;
    let Watch { steering, sampler } = watch(context).await?;
    let outcome = move_in(context, &steering, staged).await;
    summary.unsteered = steering.view().unsteered().map(str::to_owned);
    if let Some(sampler) = sampler {
        summary.gap = Some(sampler.finish().await);
    }
    summary.changed = true;
    // On failure the program stays in place: the temporary apiserver keeps the traffic.
    outcome?;
    if context.assets.guardian {
        // The guardian steers from here on, with this very program: a second apiserver may begin to listen
        // at any time.
        drop(steering);
    } else if let Err(error) = steering.finish().await {
        tracing::warn!(%error, "the steering program stays attached");
    }
    Ok(())
}

/// Waits for the temporary control plane's API. One that serves is the only API there is, and stays for the next `start`,
/// whatever comes of this one. One that never did, on a node that has copies of its own, is no way back to an API: it would
/// come up at each boot beside what brings those back.
async fn wait_for_api(context: &Context<'_>, staged: Option<Timestamp>) -> Result<(), StartError> {
    let Err(error) = context.step(Step::Api, answer::wait(context, staged)).await else { return Ok(()) };
    if restorable(context.options) {
        let files: Vec<_> = context.assets.temporary_pods.iter().map(|file| file.path.clone()).collect();
        match stage::remove(&files) {
            Ok(true) => context
                .report
                .note(Step::Api, "the temporary control plane never served, and was taken away again"),
            Ok(false) => {}
            // Why it did not serve is what counts.
            Err(error) => tracing::warn!(%error, "the temporary control plane stays"),
        }
    }
    Err(error)
}

/// Returns how many files were written.
fn stage_all(assets: &Assets) -> Result<usize, StartError> {
    make_dirs(&assets.data_dirs)?;
    let mut written = 0;
    for files in [&assets.lasting, &assets.secrets, &assets.temporary_pods] {
        written += place(files)?.len();
    }
    Ok(written)
}

async fn move_in(
    context: &Context<'_>,
    steering: &Steering,
    staged: Option<Timestamp>,
) -> Result<(), StartError> {
    wait_for_api(context, staged).await?;
    context.step(Step::Inject, inject::control_plane(context)).await?;
    context.step(Step::Ready, ready::wait(context, steering)).await?;
    context.step(Step::Addons, inject::addons(context)).await?;
    if context.assets.guardian {
        let ready_for_the_pivot = async {
            let told = checkpointed::wait(context).await?;
            signed::wait(context).await.map(|()| told)
        };
        context.step(Step::Checkpoint, ready_for_the_pivot).await?;
    } else {
        context.report.note(Step::Addons, NO_GUARDIAN);
    }
    context.step(Step::Pivot, pivot::pivot(context, steering)).await
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
