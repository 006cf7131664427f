//! Whether this node comes back, and whether it would: on its disk is a valid checkpoint of exactly what now runs as each
//! required pod. Nobody is believed: the checkpoint that the pod should have is built here, too, and one of
//! the same digest must be there, whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use checkpoint::{Component, Environment, Inputs, Store};
use cri::{ContainerState, Filter};
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::diagnosis;
use crate::error::StartError;
use crate::event::Step;
use crate::options::Options;
use crate::plan::Observed;
use crate::start::Context;
use crate::workloads::PodIdentity;

/// How often is looked: each look reads every checkpoint.
const PERIOD: Duration = Duration::from_millis(250);
/// Where the kubelet's paths and those of processes begin: `start` runs on the host itself.
const HOST_ROOT: &str = "/";

/// How long the guardian has to bring the control plane back; it takes some ten seconds.
const RESTORE_PATIENCE: Duration = Duration::from_mins(1);

/// Whether the guardian and something that it could start are on this node's disk.
pub(crate) fn restorable(options: &Options) -> bool {
    let guardian = options.manifest_dir.join(names::path::GUARDIAN_FILE);
    let store = Store::view(&options.checkpoint_dir, &options.checkpoint_dir);
    let has_one = |component: &Component| store.generations(component).is_ok_and(|all| !all.is_empty());
    guardian.exists() && store.components().is_ok_and(|components| components.iter().any(has_one))
}

/// Waits until the guardian has brought the control plane back, and returns what was seen then; `None`
/// when it had the time for it.
pub(crate) async fn restore(context: &Context<'_>) -> Result<Option<Observed>, StartError> {
    let began = Instant::now();
    while began.elapsed() < RESTORE_PATIENCE.min(context.options.timeout) {
        let observed = context.observe().await?;
        if observed.self_hosted() {
            return Ok(Some(observed));
        }
        context.report.waiting(Step::Restore, "the guardian to bring the control plane back");
        tokio::time::sleep(PERIOD).await;
    }
    Ok(None)
}

/// Returns when every required pod that asks for a checkpoint has one.
pub(crate) async fn wait(context: &Context<'_>) -> Result<String, StartError> {
    let began = Instant::now();
    loop {
        let missing = match look(context).await {
            Ok((None, found)) => return Ok(format!("{found} checkpoints are on this node's disk")),
            Ok((Some(missing), _)) => missing,
            // A request may fail, the wait goes on: only its end counts.
            Err(error) => error.to_string(),
        };
        if began.elapsed() > context.options.timeout {
            let diagnosis = diagnosis::guardian(context, &missing).await;
            let what = "the checkpoint of every required pod".to_owned();
            return Err(StartError::NotReady { what, after: began.elapsed(), diagnosis });
        }
        context.report.waiting(Step::Checkpoint, missing);
        tokio::time::sleep(PERIOD).await;
    }
}

/// The first thing that is missing, and how many checkpoints were found before.
async fn look(context: &Context<'_>) -> Result<(Option<String>, usize), StartError> {
    let mut found = 0;
    for standing in context.standings().await? {
        let Some(identity) = standing.pod.filter(|_| standing.missing.is_none()) else {
            let missing = standing.missing.unwrap_or_else(|| "it has no pod".to_owned());
            return Ok((Some(format!("{}: {missing}", standing.required)), found));
        };
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
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let pods: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &identity.namespace, &resource);
    let pod = pods.get_opt(&identity.name).await?;
    let pod = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&identity.uid));
    Ok(pod.and_then(|pod| serde_json::to_value(pod).ok()))
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

    #[test]
    fn a_node_may_come_back_when_it_has_both_the_guardian_and_a_checkpoint() {
        let (dir, manifests) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut options = Options::new("assets".into(), "n".into());
        options.checkpoint_dir = dir.path().to_owned();
        options.manifest_dir = manifests.path().to_owned();
        host::fs::write(&manifests.path().join("kubestrap-guardian.yaml"), b"kind: Pod\n", 0o600).unwrap();
        assert!(!restorable(&options));
        let store = Store::open(dir.path()).unwrap();
        store.write(&built(&pod("--v=2")), jiff::Timestamp::now()).unwrap();
        assert!(restorable(&options));
        host::fs::remove_file(&manifests.path().join("kubestrap-guardian.yaml")).unwrap();
        assert!(!restorable(&options));
    }
}
