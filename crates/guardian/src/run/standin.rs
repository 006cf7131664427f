//! The guardian's part in a rollout of the apiserver, by hand and once. Where no guardian runs, nobody
//! opens the readiness gate of a new apiserver: the rollout waits, and the old one serves on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use api::{ApiError, Change, Client};
use cri::{ContainerState, Cri, CriError, Filter};
use names::object;
use tokio::time::{Instant, sleep};
use traffic::{Instance, Port, Seen};

use super::access::{Access, AccessError};
use super::cluster::Cluster;
use super::serving;
use super::steering::{Rank, instance};

/// How often the port is looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// The guardian's container, in its static pod and nowhere else.
const GUARDIAN: &str = "guardian";

/// Which node, and where everything is.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// The node's name.
    pub node_name: String,
    /// Credentials that may change the status of pods in kube-system.
    pub kubeconfig: PathBuf,
    /// Where this node's apiservers listen.
    pub api_port: u16,
    /// The container runtime's socket.
    pub runtime_socket: PathBuf,
    /// How long the rollout may take.
    pub limit: Duration,
}

/// The guardian's part was not done.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// There is one that does it.
    #[error("a guardian runs on {node} (container {container}): it opens the gates itself")]
    GuardianRuns {
        /// Where.
        node: String,
        /// Its container.
        container: String,
    },
    /// The API cannot be reached with that kubeconfig.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The container runtime does not say whose the apiservers are.
    #[error("the container runtime does not answer")]
    Runtime(#[from] CriError),
    /// It did not become ready.
    #[error("not ready within {} s: {waits}", limit.as_secs())]
    NotReady {
        /// The limit.
        limit: Duration,
        /// What was waited for last.
        waits: String,
    },
}

/// Steers connections on this node to the apiserver that is Ready, and opens the readiness gate of each that
/// is, until none waits and no other one is about to end. Returns the pods whose gate was opened; none when
/// nothing waited. What was steered stays so.
///
/// # Errors
/// [`StandInError`]; what was opened by then stays open.
pub async fn stand_in(options: &StandIn) -> Result<Vec<String>, StandInError> {
    let runtime = Cri::connect(&options.runtime_socket).await?;
    refuse_a_guardian(&runtime, &options.node_name).await?;
    let access = Access::read(&options.kubeconfig, options.api_port).await?;
    let mut port = Port::new(options.api_port, access.probe, runtime, None);
    let (began, mut opened) = (Instant::now(), Vec::new());
    loop {
        let waits = match round(&access.client, &options.node_name, &mut port, &mut opened).await {
            Ok(None) => return Ok(opened),
            Ok(Some(waits)) => waits,
            Err(error) => host::error::chain(&error),
        };
        if began.elapsed() > options.limit {
            return Err(StandInError::NotReady { limit: options.limit, waits });
        }
        sleep(PERIOD).await;
    }
}

async fn refuse_a_guardian(runtime: &Cri, node: &str) -> Result<(), StandInError> {
    let name = format!("{}-{node}", object::GUARDIAN);
    let pods = runtime.sandboxes(Filter::all()).await?;
    let ids: Vec<_> = pods.into_iter().filter(|pod| pod.name == name).map(|pod| pod.id).collect();
    let containers = runtime.containers(Filter::all()).await?;
    let runs = containers
        .into_iter()
        .find(|c| c.name == GUARDIAN && c.state == ContainerState::Running && ids.contains(&c.pod_id));
    match runs {
        Some(found) => Err(StandInError::GuardianRuns { node: node.to_owned(), container: found.id }),
        None => Ok(()),
    }
}

/// Looks, steers, opens. What is still waited for; none when the rollout is over on this node.
async fn round(
    client: &Client,
    node: &str,
    port: &mut Port,
    opened: &mut Vec<String>,
) -> Result<Option<String>, ApiError> {
    let path = format!("/api/v1/namespaces/{}/pods", object::KUBE_SYSTEM);
    let (pods, _) = api::list(client, &path, &format!("fieldSelector=spec.nodeName={node}")).await?;
    let mut cluster = Cluster::default();
    cluster.pods_changed(Change::All(pods));
    port.steered_round(&|seen: &Seen| worth(seen, &cluster)).await;
    let view = port.view();
    for gate in serving::to_change(&cluster, &view).into_iter().filter(|gate| gate.serving) {
        serving::change(client, &gate).await?;
        opened.push(gate.name);
    }
    let why = |uid: &str| {
        let seen = view.seen.iter().find(|seen| seen.owner.as_ref().is_some_and(|owner| owner.uid == uid));
        seen.map_or("it does not listen".to_owned(), |seen| seen.why.clone())
    };
    let mut gated = cluster.pods.values().filter(|pod| pod.gated && !pod.over);
    let waits = gated.find_map(|pod| match (pod.deleting, pod.ready) {
        (true, _) => Some(format!("{} is about to end", pod.name)),
        (false, false) => Some(format!("{}: {}", pod.name, why(&pod.uid))),
        (false, true) => None,
    });
    // Two that are Ready: the older one is told to end next.
    let ready = cluster.pods.values().filter(|pod| pod.gated && !pod.over).count();
    Ok(waits.or_else(|| (ready > 1).then(|| "the older one is to end".to_owned())))
}

/// By the age of its revision, as the guardian has it.
fn worth(seen: &Seen, cluster: &Cluster) -> Instance {
    let pod = seen.owner.as_ref().and_then(|owner| cluster.pods.get(&owner.uid));
    let ranks = seen.owner.iter().zip(pod).map(|(owner, pod)| {
        let rank = Rank { revision: cluster.revision_number(pod), draining: pod.deleting };
        (owner.container.clone(), rank)
    });
    instance(seen, &ranks.collect::<BTreeMap<_, _>>())
}
