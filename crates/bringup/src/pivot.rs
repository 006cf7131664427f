//! The pivot: traffic first, then the temporary control plane goes, then leadership; and the check
//! that nothing of it is left.

use std::time::{Duration, Instant};

use cri::{ContainerState, Filter, Pod, PodState};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, Preconditions};

use crate::assets::Assets;
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::stage;
use crate::start::{Context, POLL, REQUEST_LIMIT};
use crate::steering::{Side, Steering};

/// How long the kubelet has for removing the API's images of pods that it ended.
const MIRROR_PATIENCE: Duration = Duration::from_secs(10);

/// Moves everything. Returns when the temporary control plane has ended.
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
    let began = Instant::now();
    loop {
        let left = temporary_pods(context).await?;
        if context.assets.shares_port {
            to_release = release(context, to_release, &left).await?;
        }
        if !left.iter().any(|pod| pod.state == PodState::Ready) {
            break;
        }
        give_up_late(context, began, &left)?;
        let names: Vec<_> = left.iter().map(|pod| pod.name.as_str()).collect();
        context.report.waiting(Step::Pivot, format!("{} to end", names.join(", ")));
        tokio::time::sleep(POLL).await;
    }
    wait_for_successor(context).await?;
    release(context, to_release, &[]).await?;
    Ok("traffic and leadership have moved".to_owned())
}

async fn wait_for_traffic(context: &Context<'_>, steering: &Steering) -> Result<(), StartError> {
    let began = Instant::now();
    loop {
        let view = steering.view();
        if view.unsteered().is_some() || !context.assets.shares_port || view.moved() {
            return Ok(());
        }
        if began.elapsed() > context.options.timeout {
            let why = view.of(Side::SelfHosted).map(|s| s.why.clone()).next();
            let diagnosis = why.unwrap_or_else(|| "it does not listen any more".to_owned());
            let what = "the self-hosted apiserver".to_owned();
            return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis });
        }
        context.report.waiting(Step::Pivot, "the self-hosted apiserver to take the traffic");
        tokio::time::sleep(POLL).await;
    }
}

/// Where the port is not shared, the self-hosted apiserver begins only now: with the kubelet's next
/// try, up to 40 s later.
async fn wait_for_successor(context: &Context<'_>) -> Result<(), StartError> {
    let began = Instant::now();
    while let Err(failure) = apply::readyz(&context.client, REQUEST_LIMIT).await {
        if began.elapsed() > context.options.timeout {
            let diagnosis = diagnosis::self_hosted(context, &failure.to_string()).await;
            let what = "the self-hosted apiserver".to_owned();
            return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis });
        }
        context.report.waiting(Step::Pivot, format!("the self-hosted apiserver: {failure}"));
        tokio::time::sleep(POLL).await;
    }
    Ok(())
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
        match apply::release_dead_lease(&context.client, name, started, REQUEST_LIMIT).await {
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

fn give_up_late(context: &Context<'_>, began: Instant, left: &[Pod]) -> Result<(), StartError> {
    if began.elapsed() <= context.options.timeout {
        return Ok(());
    }
    let names: Vec<_> = left.iter().map(|pod| format!("pod {}/{}", pod.namespace, pod.name)).collect();
    Err(StartError::LeftOver { left: names.join(", "), after: began.elapsed() })
}

/// The sandboxes of the temporary control plane on this node, running or not.
pub(crate) async fn temporary_pods(context: &Context<'_>) -> Result<Vec<Pod>, StartError> {
    let pods = context.runtime.sandboxes(Filter::all()).await?;
    let mut pods: Vec<_> = pods.into_iter().filter(|pod| context.assets.is_temporary(pod)).collect();
    pods.sort_by(|a, b| (&a.name, a.attempt).cmp(&(&b.name, b.attempt)));
    Ok(pods)
}

/// Waits until nothing of the temporary control plane is left, then removes its secrets.
pub(crate) async fn verify(context: &Context<'_>) -> Result<String, StartError> {
    let began = Instant::now();
    loop {
        let left = temporary_pods(context).await?;
        let ended: Vec<_> = left.iter().filter(|pod| pod.state == PodState::NotReady).collect();
        for pod in &ended {
            // The kubelet removes ended sandboxes of a pod that is gone within a minute; nothing
            // speaks against doing it now.
            context.runtime.remove_pod(&pod.id).await?;
        }
        if left.is_empty() {
            break;
        }
        give_up_late(context, began, &left)?;
        context.report.waiting(Step::Verify, format!("{} temporary pods to be removed", left.len()));
        tokio::time::sleep(POLL).await;
    }
    host::fs::remove_dir_all(&context.options.secrets_dir)?;
    mirrors_are_gone(context, began).await?;
    only_self_hosted_listens(context, began).await?;
    Ok("only the self-hosted control plane is left".to_owned())
}

/// The API's images of the temporary pods go too. The kubelet removes them a moment after the pods;
/// one that it forgot (a kubelet that was restarted meanwhile has no memory of them) is removed here.
async fn mirrors_are_gone(context: &Context<'_>, began: Instant) -> Result<(), StartError> {
    let patience = Instant::now();
    for (namespace, name) in context.assets.temporary_names() {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(context.client.clone(), &namespace);
        while let Some(pod) = pods.get_opt(&name).await? {
            if patience.elapsed() > MIRROR_PATIENCE {
                // Only this very object: a name says nothing about who made it meanwhile.
                let uid = pod.metadata.uid.clone();
                let preconditions = Some(Preconditions { uid, ..Preconditions::default() });
                let now = DeleteParams { preconditions, ..DeleteParams::default().grace_period(0) };
                pods.delete(&name, &now).await?;
            }
            let left = format!("the API's image of pod {namespace}/{name}");
            if began.elapsed() > context.options.timeout {
                return Err(StartError::LeftOver { left, after: began.elapsed() });
            }
            context.report.waiting(Step::Verify, format!("{left} to be removed"));
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

async fn only_self_hosted_listens(context: &Context<'_>, began: Instant) -> Result<(), StartError> {
    loop {
        let missing = match context.standings().await {
            Ok(standings) => standings
                .into_iter()
                .find_map(|s| s.missing.map(|missing| format!("{}: {missing}", s.required))),
            Err(error) => Some(error.to_string()),
        };
        let Some(missing) = missing else { return Ok(()) };
        if began.elapsed() > context.options.timeout {
            let what = "the self-hosted control plane alone".to_owned();
            return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis: missing });
        }
        context.report.waiting(Step::Verify, missing);
        tokio::time::sleep(POLL).await;
    }
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
