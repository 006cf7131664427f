//! The step `register`: this node is in the API, with the labels by which the control plane's pods choose it.
//!
//! A kubelet registers once, when it starts, and asks no more when that is done (`registrationCompleted` in
//! pkg/kubelet/kubelet_node_status.go): whose Node object somebody deletes after that has none until it is started again.
//! What is left of the node then are its static pods, by which the guardian serves.

use crate::context::Context;
use crate::error::StartError;
use crate::event::Step;
use crate::inject;
use crate::node_object::{NodeObject, standing};
use crate::options::REQUEST_LIMIT;

/// Asks for this node. An API that does not tell is no reason to change anything.
pub(crate) async fn look(context: &Context<'_>) -> NodeObject {
    match api::Call::get(path(context)).object(&context.client, REQUEST_LIMIT).await {
        Ok(node) => standing(&node, &context.assets.node_labels()),
        Err(error) if error.is_not_found() => NodeObject::Gone,
        Err(_) => NodeObject::Whole,
    }
}

fn path(context: &Context<'_>) -> String {
    format!("/api/v1/nodes/{}", context.options.node_name)
}

/// Brings the node back into the API, as it was.
///
/// # Errors
/// [`StartError::Restart`] when the kubelet cannot be started again; [`StartError::NotReady`] after the time limit.
pub(crate) async fn register(context: &Context<'_>) -> Result<String, StartError> {
    let mut labels = context.assets.node_labels();
    match look(context).await {
        NodeObject::Gone => context.options.surroundings.restart_kubelet().map_err(StartError::Restart)?,
        NodeObject::Unlabelled(lost) => labels.retain(|label, _| lost.contains(label)),
        NodeObject::Whole => {}
    }
    inject::label_node(context, Step::Register, &labels).await?;
    Ok(format!("node {} is in the API, with its labels", context.options.node_name))
}
