//! The steps `inject` and `addons`: the manifests go into the cluster, and the node gets the label by which the
//! control plane's pods choose it.

use std::collections::BTreeMap;

use crate::context::{Context, Look};
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::options::REQUEST_LIMIT;

/// Applies the control plane's part and labels the node, both at the same time.
///
/// # Errors
/// [`StartError::Rejected`] with what became of each object.
pub(crate) async fn control_plane(context: &Context<'_>) -> Result<String, StartError> {
    let (applied, labelled) = tokio::join!(first_part(context), label_as_wanted(context));
    labelled?;
    applied
}

/// Applies what the control plane does not wait for.
///
/// # Errors
/// As [`control_plane`].
pub(crate) async fn addons(context: &Context<'_>) -> Result<String, StartError> {
    summary(context, part(context, Step::Addons, &context.parts.addons).await).await
}

/// One object that the API rejects does not keep the others out, add-ons included.
async fn first_part(context: &Context<'_>) -> Result<String, StartError> {
    let mut report = part(context, Step::Inject, &context.parts.control_plane).await;
    if !report.complete() {
        report.outcomes.extend(part(context, Step::Inject, &context.parts.addons).await.outcomes);
    }
    summary(context, report).await
}

/// What became of it, in a line.
///
/// # Errors
/// [`StartError::Rejected`].
pub(crate) async fn summary(context: &Context<'_>, report: apply::Report) -> Result<String, StartError> {
    if report.complete() {
        return Ok(report.to_string());
    }
    let in_the_way = diagnosis::in_the_way(context).await;
    Err(StartError::Rejected { report: Box::new(report), in_the_way })
}

/// Applies these.
pub(crate) async fn part(context: &Context<'_>, step: Step, part: &apply::Plan) -> apply::Report {
    // Applying again costs nothing, waiting for an answer that was lost does: the apiserver asks
    // connections to move now and then.
    let options = apply::Options {
        deadline: context.options.timeout,
        request_timeout: REQUEST_LIMIT,
        ..apply::Options::default()
    };
    let mut on_event = |event: apply::ApplyEvent| {
        let waiting = event.waiting_for.map(|w| format!(", waiting for {}: {}", w.object, w.why));
        let waiting = waiting.unwrap_or_default();
        context.report.waiting(step, format!("{} of {}{waiting}", event.applied, event.total));
    };
    apply::apply(&context.client, part, &options, &mut on_event).await
}

/// A node of an asset directory that asks for no label needs none.
async fn label_as_wanted(context: &Context<'_>) -> Result<(), StartError> {
    let labels = context.assets.node_labels();
    if labels.is_empty() { Ok(()) } else { label_node(context, Step::Inject, &labels).await }
}

/// Gives this node these labels once it has registered: the kubelet may not set them.
///
/// # Errors
/// [`StartError::NotReady`] after the time limit.
pub(crate) async fn label_node(
    context: &Context<'_>,
    step: Step,
    labels: &BTreeMap<String, Option<String>>,
) -> Result<(), StartError> {
    let node = &context.options.node_name;
    let look = async || match api::label_node(&context.client, node, labels, REQUEST_LIMIT).await {
        Ok(()) => Ok(Look::There(())),
        Err(error) => Ok(Look::Missing(format!("node {node} to register: {error}"))),
    };
    let diagnose = async |missing: &str| diagnosis::node(context, missing).await;
    context.until(step, &format!("node {node}"), look, diagnose).await
}
