//! The step `verify`: nothing of the temporary control plane is left, and the self-hosted one stands alone.

use cri::PodState;
use tokio::time::Instant;

use crate::context::{Context, Look};
use crate::error::StartError;
use crate::event::Step;
use crate::options::REQUEST_LIMIT;

/// How long the kubelet has for removing the API's images of pods that it ended.
const MIRROR_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Waits until nothing of the temporary control plane is left, then removes its secrets.
///
/// # Errors
/// [`StartError::LeftOver`] and [`StartError::NotReady`] after the time limit.
pub(crate) async fn verify(context: &Context<'_>) -> Result<String, StartError> {
    context.until_gone(Step::Verify, async || sandboxes(context).await).await?;
    host::fs::remove_dir_all(&context.options.secrets_dir)?;
    let began = Instant::now();
    for (namespace, name) in context.assets.temporary_names() {
        context.until_gone(Step::Verify, async || mirror(context, &namespace, &name, began).await).await?;
    }
    let what = "the self-hosted control plane alone";
    let diagnose = async |missing: &str| missing.to_owned();
    context.until(Step::Verify, what, async || stands_alone(context).await, diagnose).await?;
    Ok("only the self-hosted control plane is left".to_owned())
}

async fn sandboxes(context: &Context<'_>) -> Result<Look<()>, StartError> {
    let left = context.temporary_pods().await?;
    for pod in left.iter().filter(|pod| pod.state == PodState::NotReady) {
        // The kubelet removes ended sandboxes of a pod that is gone within a minute; nothing
        // speaks against doing it now.
        context.runtime.remove_pod(&pod.id).await?;
    }
    if left.is_empty() {
        return Ok(Look::There(()));
    }
    let names: Vec<_> = left.iter().map(|pod| format!("pod {}/{}", pod.namespace, pod.name)).collect();
    Ok(Look::Missing(format!("{} to be removed", names.join(", "))))
}

/// The API's images of the temporary pods go too. The kubelet removes them a moment after the pods;
/// one that it forgot (a kubelet that was restarted meanwhile has no memory of them) is removed here.
async fn mirror(
    context: &Context<'_>,
    namespace: &str,
    name: &str,
    began: Instant,
) -> Result<Look<()>, StartError> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let pod = match api::Call::get(path).object(&context.client, REQUEST_LIMIT).await {
        Ok(pod) => pod,
        Err(error) if error.is_not_found() => return Ok(Look::There(())),
        Err(error) => return Err(error.into()),
    };
    if began.elapsed() > MIRROR_PATIENCE {
        // Only this very object: a name says nothing about who made it meanwhile.
        api::delete_pod(&context.client, (namespace, name, objects::uid(&pod)), REQUEST_LIMIT).await?;
    }
    Ok(Look::Missing(format!("the API's image of pod {namespace}/{name} to be removed")))
}

async fn stands_alone(context: &Context<'_>) -> Result<Look<()>, StartError> {
    let missing = match context.standings().await {
        Ok(standings) => {
            standings.into_iter().find_map(|s| s.missing.map(|missing| format!("{}: {missing}", s.required)))
        }
        Err(error) => Some(error.to_string()),
    };
    Ok(missing.map_or(Look::There(()), Look::Missing))
}
