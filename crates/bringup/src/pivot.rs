//! The step `pivot`: traffic first, then the temporary control plane goes, then leadership.

use cri::{ContainerState, Filter, Pod, PodState};
use jiff::Timestamp;

use crate::assets::Assets;
use crate::context::{Context, Look};
use crate::error::StartError;
use crate::event::Step;
use crate::options::REQUEST_LIMIT;
use crate::steering::{Side, Steering};
use crate::{diagnosis, stage};

/// The apiserver that gets everything.
const SUCCESSOR: &str = "the self-hosted apiserver";

/// Moves everything. Returns when the temporary control plane has ended.
///
/// # Errors
/// [`StartError::NotReady`] when nobody takes the traffic in time, [`StartError::LeftOver`] when the temporary
/// control plane does not end.
pub(crate) async fn pivot(context: &Context<'_>, steering: &Steering) -> Result<String, StartError> {
    steering.pivot();
    wait_for_traffic(context, steering).await?;
    if steering.view().unsteered().is_none() {
        context.report.note(Step::Pivot, "new connections go to the self-hosted apiserver");
    }
    // From here on the kubelet ends the temporary pods, each with its own grace: the apiserver
    // serves its kept connections on while it drains.
    let paths: Vec<_> = context.assets.temporary_pods.iter().map(|file| file.path.clone()).collect();
    stage::remove(&paths)?;
    let mut to_release = names::component::LEADER_ELECTED.to_vec();
    let look = async || {
        let left = context.temporary_pods().await?;
        if context.assets.shares_port {
            to_release = release(context, std::mem::take(&mut to_release), &left).await?;
        }
        Ok(still_running(&left))
    };
    context.until_gone(Step::Pivot, look).await?;
    wait_for_successor(context).await?;
    release(context, to_release, &[]).await?;
    Ok("traffic and leadership have moved".to_owned())
}

fn still_running(left: &[Pod]) -> Look<()> {
    if !left.iter().any(|pod| pod.state == PodState::Ready) {
        return Look::There(());
    }
    let names: Vec<_> = left.iter().map(|pod| format!("pod {}/{}", pod.namespace, pod.name)).collect();
    Look::Missing(format!("{} to end", names.join(", ")))
}

async fn wait_for_traffic(context: &Context<'_>, steering: &Steering) -> Result<(), StartError> {
    let look = async || {
        let view = steering.view();
        let moved = view.unsteered().is_some() || !context.assets.shares_port || view.moved();
        let missing = || format!("{SUCCESSOR} to take the traffic");
        Ok(if moved { Look::There(()) } else { Look::Missing(missing()) })
    };
    let diagnose = async |_: &str| {
        let why = steering.view().of(Side::SelfHosted).map(|s| s.why.clone()).next();
        why.unwrap_or_else(|| "it does not listen any more".to_owned())
    };
    context.until(Step::Pivot, SUCCESSOR, look, diagnose).await
}

/// Where the port is not shared, the self-hosted apiserver begins only now: with the kubelet's next
/// try, up to 40 s later.
async fn wait_for_successor(context: &Context<'_>) -> Result<(), StartError> {
    let look = async || match api::readyz(&context.client, REQUEST_LIMIT).await {
        Ok(()) => Ok(Look::There(())),
        Err(failure) => Ok(Look::Missing(format!("{SUCCESSOR}: {failure}"))),
    };
    let diagnose = async |missing: &str| diagnosis::self_hosted(context, missing).await;
    context.until(Step::Pivot, SUCCESSOR, look, diagnose).await
}

/// Gives back the leases whose temporary holder has ended; returns those still to be given back.
async fn release<'n>(
    context: &Context<'_>,
    names: Vec<&'n str>,
    left: &[Pod],
) -> Result<Vec<&'n str>, StartError> {
    let (ended, later) = ended(&context.assets, names, left);
    for name in ended {
        let Some(started) = first_candidate(context, name).await? else {
            // Nobody is there to take it.
            continue;
        };
        // The API moves in these seconds; a lease that is not given back runs out by itself.
        match api::release_dead_lease(&context.client, name, started, REQUEST_LIMIT).await {
            Ok(true) => context.report.note(Step::Pivot, format!("the lease of {name} is handed over")),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, name, "the lease is not handed over and has to run out"),
        }
    }
    Ok(later)
}

/// The leases of those who have ended, and of those who run still.
fn ended<'n>(assets: &Assets, names: Vec<&'n str>, left: &[Pod]) -> (Vec<&'n str>, Vec<&'n str>) {
    let runs =
        |name: &str| left.iter().any(|pod| pod.state == PodState::Ready && assets.is_component(pod, name));
    names.into_iter().partition(|name| !runs(name))
}

/// When the first of the self-hosted candidates for a lease was started.
async fn first_candidate(context: &Context<'_>, name: &str) -> Result<Option<Timestamp>, StartError> {
    let containers = context.runtime.containers(Filter::all()).await?;
    let running = containers
        .iter()
        .filter(|c| c.state == ContainerState::Running && context.assets.runs(&c.name, name));
    Ok(running.filter_map(|c| c.created).min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(name: &str, state: PodState) -> Pod {
        Pod {
            id: name.to_owned(),
            namespace: "kube-system".to_owned(),
            name: format!("bootstrap-{name}-n"),
            uid: name.to_owned(),
            attempt: 0,
            state,
            labels: [].into(),
            annotations: [].into(),
            created: None,
        }
    }

    #[test]
    fn a_lease_is_handed_over_when_its_temporary_holder_has_ended() {
        let (manager, scheduler) = ("kube-controller-manager", "kube-scheduler");
        let assets = Assets::of_temporary_pods("n", &["kube-apiserver", manager, scheduler]);
        let of = |left: &[Pod]| ended(&assets, vec![manager, scheduler], left);
        let serving = sandbox("kube-apiserver", PodState::Ready);
        let runs = |name: &str| sandbox(name, PodState::Ready);
        assert_eq!(
            of(&[serving.clone(), runs(manager), runs(scheduler)]),
            (vec![], vec![manager, scheduler])
        );
        let half = [serving.clone(), runs(manager), sandbox(scheduler, PodState::NotReady)];
        assert_eq!(of(&half), (vec![scheduler], vec![manager]));
        assert_eq!(of(&[serving]), (vec![manager, scheduler], vec![]));
    }
}
