//! Whether this node comes back, and whether it would: on its disk is a valid checkpoint of exactly what now runs as each
//! required pod. Nobody is believed: the checkpoint that the pod should have is built here, too, and one of
//! the same digest must be there, whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use checkpoint::{Component, Environment, Inputs, Store};
use cri::{ContainerState, Filter};
use serde_json::Value;

use crate::context::{Context, Look};
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::observe::observe;
use crate::options::REQUEST_LIMIT;
use crate::plan::Observed;
use crate::workloads::PodIdentity;

/// Where the kubelet's paths and those of processes begin: `start` runs on the host itself.
const HOST_ROOT: &str = "/";

/// How long the guardian has to bring the control plane back; it takes some ten seconds.
const RESTORE_PATIENCE: Duration = Duration::from_mins(1);

/// Waits until the guardian has brought the control plane back, and returns what was seen then; `None`
/// when it had the time for it.
pub(crate) async fn restore(context: &Context<'_>) -> Result<Option<Observed>, StartError> {
    let patience = RESTORE_PATIENCE.min(context.options.timeout);
    let look = async || {
        let observed = observe(context).await?;
        let missing = || "the guardian to bring the control plane back".to_owned();
        Ok(if observed.self_hosted() { Look::There(observed) } else { Look::Missing(missing()) })
    };
    Ok(context.poll(Step::Restore, patience, look).await?.ok())
}

/// Returns when every required pod that asks for a checkpoint has one.
pub(crate) async fn wait(context: &Context<'_>) -> Result<String, StartError> {
    let look = async || {
        Ok(match look(context).await {
            Ok((None, found)) => Look::There(found),
            Ok((Some(missing), _)) => Look::Missing(missing),
            // A request may fail, the wait goes on: only its end counts.
            Err(error) => Look::Missing(error.to_string()),
        })
    };
    let diagnose = async |missing: &str| diagnosis::guardian(context, missing).await;
    let found =
        context.until(Step::Checkpoint, "the checkpoint of every required pod", look, diagnose).await?;
    Ok(format!("{found} checkpoints are on this node's disk"))
}

/// The first thing that is missing, and how many checkpoints were found before.
async fn look(context: &Context<'_>) -> Result<(Option<String>, usize), StartError> {
    let mut found = 0;
    for standing in context.standings().await? {
        let Some(identity) = standing.pod.filter(|_| standing.missing.is_none()) else {
            let missing = standing.missing.unwrap_or_else(|| "it has no pod".to_owned());
            return Ok((Some(format!("{}: {missing}", standing.required)), found));
        };
        // One on another node is for that node's guardian.
        if identity.node != context.options.node_name {
            continue;
        }
        let Some(pod) = read_pod(context, &identity).await? else {
            return Ok((Some(format!("{}: its pod was replaced", standing.required)), found));
        };
        if !checkpoint::wants_checkpoint(&pod) {
            continue;
        }
        let environments = environments(context, &pod).await?;
        if let Err(missing) = has_checkpoint(&context.options.checkpoint_dir, &pod, &environments) {
            return Ok((Some(format!("{}: {missing}", standing.required)), found));
        }
        found += 1;
    }
    Ok((None, found))
}

/// The pod as the API has it, with every field; `None` when another one has its name by now.
async fn read_pod(context: &Context<'_>, identity: &PodIdentity) -> Result<Option<Value>, StartError> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", identity.namespace, identity.name);
    match api::Call::get(path).object(&context.client, REQUEST_LIMIT).await {
        Ok(pod) => Ok(Some(pod).filter(|pod| objects::uid(pod) == identity.uid)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the first processes of the containers were started with, for those whose variables come from
/// Secrets or ConfigMaps.
async fn environments(
    context: &Context<'_>,
    pod: &Value,
) -> Result<BTreeMap<String, Environment>, StartError> {
    let needed = checkpoint::needs_environment(pod);
    let mut environments = BTreeMap::new();
    if needed.is_empty() {
        return Ok(environments);
    }
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    for container in context.runtime.containers(Filter::all().label(names::label::POD_UID, uid)).await? {
        if container.state != ContainerState::Running || !needed.contains(&container.name) {
            continue;
        }
        if let Some(pid) = context.runtime.container_status(&container.id).await?.pid {
            let environ = host::fs::read(Path::new(&format!("/proc/{pid}/environ")))?;
            environments.insert(container.name, checkpoint::parse_environment(&environ));
        }
    }
    Ok(environments)
}

/// Looks for a whole generation of what runs as this pod.
fn has_checkpoint(
    dir: &Path,
    pod: &Value,
    environments: &BTreeMap<String, Environment>,
) -> Result<(), String> {
    let kubelet = Path::new(names::path::KUBELET);
    let volumes = checkpoint::read_volumes(Path::new(HOST_ROOT), kubelet, pod)
        .map_err(|error| host::error::chain(&error))?;
    let inputs = Inputs { pod, volumes: &volumes, instance_env: environments, images: &BTreeMap::new() };
    let wanted = checkpoint::build(&inputs).map_err(|error| host::error::chain(&error))?;
    generation_of(dir, &wanted.component, &wanted.digest)
}

fn generation_of(dir: &Path, component: &Component, digest: &checkpoint::Digest) -> Result<(), String> {
    let store = Store::view(dir, dir);
    let generations = store.generations(component).map_err(|error| host::error::chain(&error))?;
    let Some(generation) = generations.iter().rev().find(|generation| generation.digest == *digest) else {
        return Err(if generations.is_empty() {
            "the guardian has not made a checkpoint yet".to_owned()
        } else {
            "the guardian has not made a checkpoint of what runs now".to_owned()
        });
    };
    match store.check(generation).first() {
        None => Ok(()),
        Some(problem) => Err(format!("its checkpoint cannot be used: {problem}")),
    }
}

#[cfg(test)]
mod tests {
    use checkpoint::{Checkpoint, Volumes};
    use serde_json::json;

    use super::*;

    fn pod(flag: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kube-scheduler-1", "namespace": "kube-system", "uid": "u",
                "ownerReferences": [{"kind": "DaemonSet", "name": "kube-scheduler", "controller": true}]},
            "spec": {"hostNetwork": true, "nodeName": "n",
                "containers": [{"name": "kube-scheduler", "image": "i", "args": [flag]}]}})
    }

    fn built(pod: &Value) -> Checkpoint {
        let (volumes, none) = (Volumes::default(), BTreeMap::new());
        let images = BTreeMap::new();
        checkpoint::build(&Inputs { pod, volumes: &volumes, instance_env: &none, images: &images }).unwrap()
    }

    #[test]
    fn only_a_whole_checkpoint_of_what_runs_now_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (now, before) = (pod("--v=2"), pod("--v=1"));
        let look = || has_checkpoint(dir.path(), &now, &BTreeMap::new());
        assert_eq!(look().unwrap_err(), "the guardian has not made a checkpoint yet");
        let store = Store::open(dir.path()).unwrap();
        store.write(&built(&before), jiff::Timestamp::now()).unwrap();
        assert_eq!(look().unwrap_err(), "the guardian has not made a checkpoint of what runs now");
        let generation = store.write(&built(&now), jiff::Timestamp::now()).unwrap();
        assert_eq!(look(), Ok(()));
        host::fs::write(&generation.dir.join("pod.yaml"), b"kind: Pod\n", 0o600).unwrap();
        assert!(look().unwrap_err().starts_with("its checkpoint cannot be used: "));
    }
}
