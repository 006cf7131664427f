//! Whether this node comes back, and whether it would: on its disk is a valid checkpoint of exactly what now runs as each
//! required pod. Nobody is believed: the checkpoint that the pod should have is built here, too, and one of
//! the same digest must be there, whole.

use std::time::Duration;

use checkpoint::{Running, Store};
use cri::{ContainerState, Filter};
use serde_json::Value;

use crate::context::{Context, Look};
use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::observe::{closer, glance};
use crate::options::{Options, REQUEST_LIMIT};
use crate::plan::Observed;
use crate::workloads::PodIdentity;

/// How long the guardian has to bring the control plane back; it takes some ten seconds.
const RESTORE_PATIENCE: Duration = Duration::from_mins(1);

/// Waits until the guardian has brought the control plane back, and returns what was seen then; `None`
/// when it had the time for it.
pub(crate) async fn restore(context: &Context<'_>) -> Result<Option<Observed>, StartError> {
    let patience = RESTORE_PATIENCE.min(context.options.timeout);
    let look = async || {
        let observed = glance(context).await?;
        let missing = || "the guardian to bring the control plane back".to_owned();
        Ok(if observed.self_hosted() { Look::There(observed) } else { Look::Missing(missing()) })
    };
    Ok(match context.poll(Step::Restore, patience, look).await? {
        Ok(observed) => Some(closer(context, observed).await),
        Err(_) => None,
    })
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
        let running = running(context, &pod).await?;
        if let Err(missing) = has_checkpoint(context.options, &pod, &running) {
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

/// The containers of the pod that run.
async fn running(context: &Context<'_>, pod: &Value) -> Result<Vec<Running>, StartError> {
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let mut running = Vec::new();
    for container in context.runtime.containers(Filter::all().label(names::label::POD_UID, uid)).await? {
        if container.state == ContainerState::Running {
            let status = context.runtime.container_status(&container.id).await?;
            running.push(Running { name: container.name, image: status.image_ref, pid: status.pid });
        }
    }
    Ok(running)
}

/// Looks for a whole generation of what runs as this pod.
fn has_checkpoint(options: &Options, pod: &Value, running: &[Running]) -> Result<(), String> {
    let dir = &options.checkpoint_dir;
    let wanted =
        checkpoint::expected(&options.root, pod, running).map_err(|error| host::error::chain(&error))?;
    let kept = checkpoint::kept(&Store::view(dir, dir), &wanted.checkpoint);
    kept.map(drop).map_err(|error| host::error::chain(&error))
}

#[cfg(test)]
mod tests {

    use std::path::Path;

    use checkpoint::Checkpoint;
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
        checkpoint::expected(Path::new("/"), pod, &[]).unwrap().checkpoint
    }

    #[test]
    fn what_is_missing_is_told_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let (now, before) = (pod("--v=2"), pod("--v=1"));
        let mut options = Options::new("assets".into(), "n".to_owned());
        options.checkpoint_dir = dir.path().to_owned();
        let look = || has_checkpoint(&options, &now, &[]);
        assert_eq!(look().unwrap_err(), "the guardian has not made a checkpoint yet");
        let store = Store::open(dir.path()).unwrap();
        store.write(&built(&before), jiff::Timestamp::now()).unwrap();
        assert_eq!(look().unwrap_err(), "the guardian has not made a checkpoint of what runs now");
        store.write(&built(&now), jiff::Timestamp::now()).unwrap();
        assert_eq!(look(), Ok(()));
    }
}
