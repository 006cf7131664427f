//! Why a pod of this node does not do its work, as far as the container runtime knows: the newest
//! sandbox, what each container does or how it ended, the end of its log, and images that are missing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::client::{Cri, Filter};
use crate::error::CriError;
use crate::log::{LogLine, telling_tail};
use crate::model::{Container, ContainerState, ContainerStatus, Pod, PodState};

/// How much of a long log line is shown, in characters from its beginning and from its end; the value
/// has all of it. Go's errors have the cause at the end.
const SHOWN_CHARS: (usize, usize) = (150, 250);

/// Which pod of this node is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodSelector {
    namespace: String,
    name: String,
    prefix: bool,
}

impl PodSelector {
    /// The pod of exactly this name.
    pub fn exact(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), prefix: false }
    }

    /// The newest pod whose name begins like this: a controller's or a static pod has a suffix.
    pub fn prefix(namespace: &str, prefix: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: prefix.to_owned(), prefix: true }
    }

    /// Whether this pod is one of those meant.
    pub fn matches(&self, pod: &Pod) -> bool {
        pod.namespace == self.namespace
            && if self.prefix { pod.name.starts_with(&self.name) } else { pod.name == self.name }
    }
}

impl fmt::Display for PodSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.prefix { "*" } else { "" };
        write!(f, "{}/{}{star}", self.namespace, self.name)
    }
}

/// One container of the pod: the newest of its name, and how the one before ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerDiagnosis {
    /// The newest container of this name.
    pub status: ContainerStatus,
    /// The one before it, when that one exited: in a crash loop it has the reason.
    pub previous: Option<ContainerStatus>,
    /// How often it was started again in this sandbox.
    pub restarts: u32,
    /// The end of the newest container's log, or of the one before when the newest wrote nothing; with
    /// the last line that names an error.
    pub log: Vec<LogLine>,
}

/// What the container runtime knows of a pod that should run here. `Display` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodDiagnosis {
    /// Which pod was asked for.
    pub selector: PodSelector,
    /// Its newest sandbox; none when the kubelet has not made one.
    pub pod: Option<Pod>,
    /// Its containers, by name.
    pub containers: Vec<ContainerDiagnosis>,
    /// Those of the images asked for that are not on this node.
    pub missing_images: Vec<String>,
}

impl PodDiagnosis {
    /// Whether every container there is runs, in a sandbox that is there too. It says nothing about probes.
    pub fn running(&self) -> bool {
        self.pod.as_ref().is_some_and(|p| p.state == PodState::Ready)
            && !self.containers.is_empty()
            && self.containers.iter().all(|c| c.status.state == ContainerState::Running)
    }

    /// Whether a container exited with an error, now or before its newest start.
    pub fn crashed(&self) -> bool {
        let failed = |s: &ContainerStatus| s.state == ContainerState::Exited && s.exit_code != 0;
        self.containers.iter().any(|c| failed(&c.status) || c.previous.as_ref().is_some_and(failed))
    }
}

impl Cri {
    /// Looks at a pod. `images` are those that it needs, as its manifest names them: the runtime
    /// does not know of a container that could not be made, so a missing image shows only by asking.
    pub async fn diagnose(
        &self,
        selector: &PodSelector,
        images: &[String],
        log_lines: usize,
    ) -> Result<PodDiagnosis, CriError> {
        let filter = Filter::all().label(names::label::POD_NAMESPACE, &selector.namespace);
        let pods = self.sandboxes(filter).await?;
        let pod = newest(pods.into_iter().filter(|p| selector.matches(p)).collect());
        let containers = match &pod {
            Some(pod) => self.diagnose_containers(pod, log_lines).await?,
            None => Vec::new(),
        };
        let mut missing_images = Vec::new();
        for image in images {
            if !self.image_present(image).await? {
                missing_images.push(image.clone());
            }
        }
        Ok(PodDiagnosis { selector: selector.clone(), pod, containers, missing_images })
    }

    async fn diagnose_containers(
        &self,
        pod: &Pod,
        log_lines: usize,
    ) -> Result<Vec<ContainerDiagnosis>, CriError> {
        let containers = self.containers(Filter::all().pod_id(&pod.id)).await?;
        let mut diagnoses = Vec::new();
        for attempts in by_name(containers).into_values() {
            let mut attempts = attempts.into_iter();
            let Some(status) = self.status_of(attempts.next()).await? else { continue };
            let previous = self.status_of(attempts.next()).await?;
            let previous = previous.filter(|p| p.state == ContainerState::Exited);
            // No log at all is normal: the container may not have come that far.
            let mut log = telling_tail(&status.log_path, log_lines).unwrap_or_default();
            if let (true, Some(previous)) = (log.is_empty(), &previous) {
                log = telling_tail(&previous.log_path, log_lines).unwrap_or_default();
            }
            diagnoses.push(ContainerDiagnosis { restarts: status.attempt, status, previous, log });
        }
        Ok(diagnoses)
    }

    /// The container's status, or none when it is gone by now: the kubelet removes old ones.
    async fn status_of(&self, container: Option<Container>) -> Result<Option<ContainerStatus>, CriError> {
        let Some(container) = container else { return Ok(None) };
        match self.container_status(&container.id).await {
            Ok(status) => Ok(Some(status)),
            Err(CriError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The sandbox made last. One that runs comes before one that does not.
fn newest(pods: Vec<Pod>) -> Option<Pod> {
    pods.into_iter().max_by_key(|p| (p.state == PodState::Ready, p.created, p.attempt))
}

/// The containers of a sandbox by name, newest first.
fn by_name(containers: Vec<Container>) -> BTreeMap<String, Vec<Container>> {
    let mut names: BTreeMap<String, Vec<Container>> = BTreeMap::new();
    for container in containers {
        names.entry(container.name.clone()).or_default().push(container);
    }
    for attempts in names.values_mut() {
        attempts.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created)));
    }
    names
}

/// A container's state in words.
fn describe(status: &ContainerStatus, restarts: u32) -> String {
    let state = match status.state {
        ContainerState::Created => "was created and not started".to_owned(),
        ContainerState::Running => "runs".to_owned(),
        ContainerState::Exited => format!("exited with code {}", status.exit_code),
        ContainerState::Unknown => "is in an unknown state".to_owned(),
    };
    let reason = match status.reason.as_str() {
        // These say no more than the exit code.
        "" | "Completed" | "Error" => String::new(),
        reason => format!(" ({reason})"),
    };
    let restarts = match restarts {
        0 => String::new(),
        1 => ", 1 restart".to_owned(),
        n => format!(", {n} restarts"),
    };
    format!("{state}{reason}{restarts}")
}

impl fmt::Display for PodDiagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            None => write!(f, "pod {}: the kubelet has not started it", self.selector)?,
            Some(pod) => {
                let state = match pod.state {
                    PodState::Ready => "its sandbox runs",
                    PodState::NotReady => "its sandbox ended",
                };
                write!(f, "pod {}/{}: {state}", pod.namespace, pod.name)?;
                if self.containers.is_empty() {
                    f.write_str(", no container was created in it")?;
                }
            }
        }
        for image in &self.missing_images {
            write!(f, "\n  image {image} is not on this node")?;
        }
        for container in &self.containers {
            write!(f, "{container}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ContainerDiagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  container {} {}", self.status.name, describe(&self.status, self.restarts))?;
        message(f, &self.status)?;
        if let Some(previous) = &self.previous {
            write!(f, "\n    before that it {}", describe(previous, 0))?;
            message(f, previous)?;
        }
        for line in &self.log {
            write!(f, "\n    | {}", shorten(&line.text))?;
        }
        Ok(())
    }
}

/// Without its middle, when it is long.
fn shorten(text: &str) -> String {
    let (head, tail) = SHOWN_CHARS;
    let length = text.chars().count();
    if length <= head + tail {
        return text.to_owned();
    }
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start} … {end}")
}

fn message(f: &mut fmt::Formatter<'_>, status: &ContainerStatus) -> fmt::Result {
    match status.message.trim() {
        "" => Ok(()),
        text => write!(f, ": {}", text.replace('\n', "\n    ")),
    }
}
