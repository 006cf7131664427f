//! The checkpoint that a pod should have now, and whether it is on disk: what the guardian writes, and what
//! `start` looks for before it relies on the guardian. Both build it by this very function, so that they
//! cannot differ in what they mean.

use std::collections::BTreeMap;
use std::path::Path;

use host::fs::FsError;
use jiff::Timestamp;
use serde_json::Value;

use crate::build::{Checkpoint, Inputs, build};
use crate::env::{Environment, needs_environment, parse_environment};
use crate::error::{BuildError, Problem, StoreError};
use crate::generation::Generation;
use crate::store::Store;
use crate::volumes::{VolumesError, read_volumes};

/// A container of the pod that runs, as the container runtime tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The container's name in the pod.
    pub name: String,
    /// The id of its image: noted for whoever looks, no part of the digest.
    pub image: String,
    /// Its first process, numbered as on the host; none when it has ended meanwhile.
    pub pid: Option<i32>,
}

/// What a pod should have.
#[derive(Debug)]
pub struct Expected {
    /// The checkpoint itself.
    pub checkpoint: Checkpoint,
    /// Since when its files say what they say; none when it has none.
    pub content_since: Option<Timestamp>,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ExpectedError {
    /// The pod's volumes cannot be read.
    #[error(transparent)]
    Volumes(#[from] VolumesError),
    /// What a container was started with cannot be read.
    #[error(transparent)]
    Environment(#[from] FsError),
    /// The pod can have none.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The checkpoint of a pod of the API (`pod`, with every field) whose containers run as `running` tells;
/// `host_root` is where the host's root directory is seen.
///
/// # Errors
/// [`ExpectedError`]: there is none, or something of the pod has ended or changed meanwhile.
pub fn expected(host_root: &Path, pod: &Value, running: &[Running]) -> Result<Expected, ExpectedError> {
    let needed = needs_environment(pod);
    let mut instance_env = BTreeMap::new();
    for container in running.iter().filter(|container| needed.contains(&container.name)) {
        if let Some(pid) = container.pid {
            instance_env.insert(container.name.clone(), environment(pid)?);
        }
    }
    let images = running.iter().map(|c| (c.name.clone(), c.image.clone())).collect();
    let volumes = read_volumes(host_root, Path::new(names::path::KUBELET), pod)?;
    let inputs = Inputs { pod, volumes: &volumes, instance_env: &instance_env, images: &images };
    Ok(Expected { checkpoint: build(&inputs)?, content_since: volumes.content_since })
}

/// Whoever asks sees the host's processes, by the numbers that the runtime tells.
fn environment(pid: i32) -> Result<Environment, FsError> {
    host::fs::read(Path::new(&format!("/proc/{pid}/environ"))).map(|environ| parse_environment(&environ))
}

/// Why what a pod should have is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum Lacking {
    /// Its component has no generation at all.
    #[error("the guardian has not made a checkpoint yet")]
    Any,
    /// All generations are of other revisions.
    #[error("the guardian has not made a checkpoint of what runs now")]
    Current,
    /// It is there, and a kubelet could not start it.
    #[error("its checkpoint cannot be used: {0}")]
    Damaged(Problem),
    /// Nobody knows.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The generation on disk that is this checkpoint, whole.
///
/// # Errors
/// [`Lacking`].
pub fn kept(store: &Store, wanted: &Checkpoint) -> Result<Generation, Lacking> {
    let mut generations = store.generations(&wanted.component)?;
    if generations.is_empty() {
        return Err(Lacking::Any);
    }
    let newest = generations.iter().rposition(|generation| generation.digest == wanted.digest);
    let generation = generations.swap_remove(newest.ok_or(Lacking::Current)?);
    match store.check(&generation).into_iter().next() {
        None => Ok(generation),
        Some(problem) => Err(Lacking::Damaged(problem)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(flag: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "kube-scheduler-1", "namespace": "kube-system", "uid": "u",
                "ownerReferences": [{"kind": "DaemonSet", "name": "kube-scheduler", "controller": true}]},
            "spec": {"hostNetwork": true, "nodeName": "n",
                "containers": [{"name": "main", "image": "i", "args": [flag]}]}})
    }

    fn running(pid: Option<u32>) -> Vec<Running> {
        let pid = pid.map(|pid| pid.try_into().unwrap());
        vec![Running { name: "main".to_owned(), image: "sha256:1".to_owned(), pid }]
    }

    fn of(pod: &Value, running: &[Running]) -> Result<Checkpoint, ExpectedError> {
        expected(Path::new("/"), pod, running).map(|expected| expected.checkpoint)
    }

    #[test]
    fn an_image_is_noted_and_changes_no_digest() {
        let (known, unknown) = (of(&pod("a"), &running(None)).unwrap(), of(&pod("a"), &[]).unwrap());
        assert_eq!(known.images["main"], "sha256:1");
        assert!(unknown.images.is_empty());
        assert_eq!(known.digest, unknown.digest);
        assert_ne!(of(&pod("b"), &[]).unwrap().digest, known.digest);
    }

    #[test]
    fn what_a_variable_says_is_read_from_the_process() {
        let mut pod = pod("a");
        let from = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        pod["spec"]["containers"][0]["env"] = json!([{"name": "PATH", "valueFrom": from}]);
        let made = of(&pod, &running(Some(std::process::id()))).unwrap();
        let variable = &made.pod["spec"]["containers"][0]["env"][0];
        assert_eq!(variable["value"], std::env::var("PATH").unwrap().replace('$', "$$"), "{variable}");
        // One that has ended has said nothing, and neither has one that nobody knows of.
        for unknown in [running(None), Vec::new()] {
            let error = of(&pod, &unknown).unwrap_err();
            assert!(
                matches!(&error, ExpectedError::Build(BuildError::NoEnvironment { container }) if container == "main"),
                "{error}"
            );
        }
        assert!(matches!(
            of(&pod, &running(Some(i32::MAX.cast_unsigned()))),
            Err(ExpectedError::Environment(_))
        ));
    }

    #[test]
    fn volumes_that_the_kubelet_has_not_made_are_no_empty_ones() {
        let mut pod = pod("a");
        pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}]);
        let nowhere = tempfile::tempdir().unwrap();
        let error = expected(nowhere.path(), &pod, &[]).unwrap_err();
        assert!(matches!(error, ExpectedError::Volumes(VolumesError::Missing { .. })), "{error}");
    }

    #[test]
    fn only_a_whole_checkpoint_of_what_runs_now_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (now, before) = (of(&pod("--v=2"), &[]).unwrap(), of(&pod("--v=1"), &[]).unwrap());
        assert!(matches!(kept(&store, &now), Err(Lacking::Any)));
        store.write(&before, Timestamp::now()).unwrap();
        assert!(matches!(kept(&store, &now), Err(Lacking::Current)));
        let generation = store.write(&now, Timestamp::now()).unwrap();
        assert_eq!(kept(&store, &now).unwrap(), generation);
        // Whichever is the newest.
        assert_eq!(kept(&store, &before).unwrap().digest, before.digest);
        host::fs::write(&generation.dir.join("pod.yaml"), b"kind: Pod\n", 0o600).unwrap();
        assert!(matches!(kept(&store, &now), Err(Lacking::Damaged(_))));
    }
}
