//! Static pods of an earlier start whose files have changed since. A kubelet lets go of no pod while
//! it has not heard from the API, so it would run the old ones for ever, and the API that it waits
//! for would never come: a mended config would mend nothing. A restarted kubelet knows only the
//! files that are there; what the old ones left in the runtime is removed here.

use std::path::Path;

use cri::{Filter, Pod, PodState};
use jiff::Timestamp;

use crate::assets::KnownPod;
use crate::context::Context;
use crate::error::StartError;
use crate::event::Step;

/// Puts the new pods in the place of the old ones. Only for when no API answers: otherwise the
/// kubelet does it by itself.
///
/// # Errors
/// When the kubelet cannot be restarted, or the runtime does not answer.
pub(crate) async fn replace(context: &Context<'_>) -> Result<(), StartError> {
    let outdated = find(context).await?;
    if outdated.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = outdated.iter().map(|pod| pod.name.as_str()).collect();
    let what = format!("the kubelet is restarted: it keeps what has changed: {}", names.join(", "));
    context.report.note(Step::Stage, what);
    context.options.surroundings.restart_kubelet().map_err(StartError::Kubelet)?;
    for pod in &outdated {
        context.runtime.stop_pod(&pod.id).await?;
        context.runtime.remove_pod(&pod.id).await?;
    }
    Ok(())
}

/// Running sandboxes that are older than their pod's file, or than the secrets that it reads.
async fn find(context: &Context<'_>) -> Result<Vec<Pod>, StartError> {
    let secrets = context.assets.secrets.iter().filter_map(|file| changed(&file.path)).max();
    let mut outdated = Vec::new();
    for pod in context.runtime.sandboxes(Filter::all()).await? {
        let Some(known) = context.assets.known(&pod).filter(|_| pod.state == PodState::Ready) else {
            continue;
        };
        if pod.created.is_some_and(|created| Some(created) < wanted(context, known, secrets)) {
            outdated.push(pod);
        }
    }
    Ok(outdated)
}

/// When what a pod is made of was last changed.
fn wanted(context: &Context<'_>, known: &KnownPod, secrets: Option<Timestamp>) -> Option<Timestamp> {
    let file = changed(&context.options.manifest_dir.join(&known.file));
    if known.temporary { file.max(secrets) } else { file }
}

fn changed(path: &Path) -> Option<Timestamp> {
    std::fs::metadata(path).ok()?.modified().ok()?.try_into().ok()
}
