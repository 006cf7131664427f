//! What a checkpoint of each running pod would be, now: made anew only when the pod or the files of its
//! volumes have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::{Checkpoint, Component, Running};
use cri::{ContainerState, Cri};
use serde_json::Value;

use super::cluster::{ApiPod, Cluster};
use super::parents::Parentage;
use super::snapshot::{PodSeen, milliseconds};
use crate::machine;

/// What the kubelet makes of volumes whose content is copied.
const PLUGINS: [&str; 3] = ["kubernetes.io~configmap", "kubernetes.io~projected", "kubernetes.io~secret"];

/// Of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) digest: machine::Digest,
    pub(crate) content_since_ms: u64,
}

#[derive(Debug)]
struct Known {
    /// What it was made of: the pod's version, its containers and where the volumes' links led.
    key: String,
    made: Result<Made, String>,
}

/// A pod has no checkpoint, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unmakeable(String);

impl Unmakeable {
    fn because(error: &dyn std::error::Error) -> Self {
        Self(host::error::chain(error))
    }
}

/// By the UID of the pod.
#[derive(Debug)]
pub(crate) struct Digests {
    host_root: Arc<Path>,
    known: BTreeMap<String, Known>,
    /// What has been told.
    problems: BTreeSet<(Component, String)>,
}

impl Digests {
    pub(crate) fn new(host_root: &Path) -> Self {
        Self { host_root: host_root.into(), known: BTreeMap::new(), problems: BTreeSet::new() }
    }

    pub(crate) fn of(&self, uid: &str) -> Option<&Made> {
        self.known.get(uid)?.made.as_ref().ok()
    }

    /// Looks at all pods that want a checkpoint and that the parent of their component made. Returns what keeps one from
    /// having one, each thing once.
    pub(crate) async fn update(
        &mut self,
        pods: &[PodSeen],
        cluster: &Cluster,
        parentage: &(dyn Fn(&ApiPod) -> Parentage + Sync),
        runtime: &Cri,
    ) -> Vec<(Component, String)> {
        let mut before = std::mem::take(&mut self.known);
        let mut problems = Vec::new();
        for pod in pods {
            let Some(api) = cluster.pods.get(&pod.uid) else { continue };
            let Some(object) = &api.object else { continue };
            let containers: Vec<_> = pod.containers.iter().map(|c| &c.id).collect();
            let key = format!("{} {:?} {containers:?}", api.version, self.content(&pod.uid));
            let old = before.remove(&pod.uid);
            let made = match (parentage(api), old) {
                (Parentage::Foreign, _) => {
                    Err(format!("pod {} says that {} made it, which did not", api.name, api.component))
                }
                (_, Some(old)) if old.key == key => old.made,
                // It is asked.
                (Parentage::Unknown, None) => continue,
                _ => self.made(object, pod, runtime).await.map_err(|error| error.to_string()),
            };
            if let Err(problem) = &made
                && self.problems.insert((api.component.clone(), problem.clone()))
            {
                problems.push((api.component.clone(), problem.clone()));
            }
            self.known.insert(pod.uid.clone(), Known { key, made });
        }
        problems
    }

    async fn made(&self, object: &Value, pod: &PodSeen, runtime: &Cri) -> Result<Made, Unmakeable> {
        let (checkpoint, content_since_ms) = build(Arc::clone(&self.host_root), object, pod, runtime).await?;
        Ok(Made { digest: machine::Digest(checkpoint.digest.to_string()), content_since_ms })
    }

    /// Where the links lead by which the kubelet replaces what is in volumes.
    fn content(&self, uid: &str) -> Vec<PathBuf> {
        let below = names::path::below_root(names::path::KUBELET);
        let volumes = self.host_root.join(below).join("pods").join(uid).join("volumes");
        let dirs =
            PLUGINS.iter().flat_map(|plugin| host::fs::list(&volumes.join(plugin)).unwrap_or_default());
        dirs.filter_map(|dir| fs::read_link(dir.join("..data")).ok()).collect()
    }
}

/// The checkpoint of a pod as it runs now, and since when its files say what they say, in milliseconds from
/// the epoch.
pub(crate) async fn build(
    host_root: Arc<Path>,
    object: &Value,
    pod: &PodSeen,
    runtime: &Cri,
) -> Result<(Checkpoint, u64), Unmakeable> {
    let mut running = Vec::new();
    for container in pod.containers.iter().filter(|c| c.state == ContainerState::Running) {
        let status = runtime.container_status(&container.id).await.map_err(|e| Unmakeable::because(&e))?;
        running.push(Running { name: container.name.clone(), image: status.image_ref, pid: status.pid });
    }
    let expected = checkpoint::expected(&host_root, object, &running).map_err(|e| Unmakeable::because(&e))?;
    Ok((expected.checkpoint, expected.content_since.map_or(0, milliseconds)))
}
