//! The step `ready`: the self-hosted control plane of this node is ready, each pod by its identity, and its
//! apiserver by a probe of that very instance.

use crate::assets::Assets;
use crate::context::{Context, Look};
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::serving::Serving;
use crate::steering::{Side, Steering, View};
use crate::workloads::Standing;

/// So many new connections find an unready one of two listeners, but for one time in a million.
const BLIND_PROBES: usize = 20;

/// Returns when it is ready.
///
/// # Errors
/// [`StartError::NotReady`] after the time limit; what fails in between is asked for again.
pub(crate) async fn wait(context: &Context<'_>, steering: &Steering) -> Result<String, StartError> {
    let mut serving = Serving::default();
    let look = async || {
        let view = steering.view();
        let missing = match context.standings().await {
            Ok(standings) => {
                open_gates(context, &view, &standings, &mut serving).await;
                what_is_missing(context, &view, &standings).await
            }
            // A request may fail, the wait goes on: only its end counts.
            Err(error) => Some(error.to_string()),
        };
        Ok(missing.map_or(Look::There(()), Look::Missing))
    };
    let diagnose = async |missing: &str| diagnosis::self_hosted(context, missing).await;
    context.until(Step::Ready, "the self-hosted control plane", look, diagnose).await?;
    Ok(format!("{} required pods are ready", context.required.len()))
}

/// Tells of the self-hosted apiservers among the required pods which of them serve.
async fn open_gates(context: &Context<'_>, view: &View, standings: &[Standing], serving: &mut Serving) {
    for pod in standings.iter().filter_map(|s| s.pod.as_ref()) {
        let listens = view.of(Side::SelfHosted).any(|s| s.owner.as_ref().is_some_and(|o| o.uid == pod.uid));
        if !listens || serving.knows(pod) {
            continue;
        }
        let ready = match view.unsteered() {
            None => view.successor_ready(&[&pod.uid]),
            Some(_) => shared_port_missing(&context.assets).await.is_none(),
        };
        if ready {
            serving.tell(&context.client, pod).await;
        }
    }
}

async fn what_is_missing(context: &Context<'_>, view: &View, standings: &[Standing]) -> Option<String> {
    let mut waits_for_port = false;
    for standing in standings {
        if !context.assets.shares_port
            && let Some(pod) = &standing.pod
            && diagnosis::found_port_taken(context, pod).await
        {
            waits_for_port = true;
        } else if let Some(missing) = &standing.missing {
            return Some(format!("{}: {missing}", standing.required));
        }
    }
    if waits_for_port { None } else { successor_missing(context, view, standings).await }
}

/// What keeps the self-hosted apiserver from taking the traffic, asked of that very instance:
/// the kubelet's probe on the shared port may have been answered by the temporary one.
async fn successor_missing(context: &Context<'_>, view: &View, standings: &[Standing]) -> Option<String> {
    let mut seen = view.of(Side::SelfHosted);
    let why = match (seen.next(), view.unsteered()) {
        (None, _) => "it does not listen yet".to_owned(),
        (Some(_), Some(_)) => return shared_port_missing(&context.assets).await,
        (Some(seen), None) => {
            let pods: Vec<_> = standings.iter().filter_map(|s| Some(s.pod.as_ref()?.uid.as_str())).collect();
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
async fn shared_port_missing(assets: &Assets) -> Option<String> {
    let probe = match assets.probe().await {
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
