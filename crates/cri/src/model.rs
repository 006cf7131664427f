//! What the runtime knows of pods, containers and images, in kubestrap's own small types: the
//! generated ones stay inside this crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use k8s_cri::v1;
use serde::Serialize;

/// The runtime and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The runtime's name, such as `containerd`.
    pub runtime: String,
    /// Its version, such as `v2.4.2`.
    pub version: String,
    /// The CRI version that it speaks, such as `v1`.
    pub api: String,
}

/// One of the runtime's conditions that is not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// `RuntimeReady` or `NetworkReady`.
    pub name: String,
    /// Whether it is met.
    pub met: bool,
    /// Why not, as one word.
    pub reason: String,
    /// Why not, as a sentence.
    pub message: String,
}

/// Whether the runtime can start pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeStatus {
    /// All conditions that it reports.
    pub conditions: Vec<Condition>,
}

impl RuntimeStatus {
    /// Host-network pods can be started.
    pub fn runtime_ready(&self) -> bool {
        self.conditions.iter().any(|c| c.name == "RuntimeReady" && c.met)
    }
}

/// Who makes the cgroups of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd does.
    Systemd,
    /// The runtime itself does.
    Cgroupfs,
}

/// A sandbox's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// It runs.
    Ready,
    /// It ended, or was stopped.
    NotReady,
}

/// A pod's sandbox. A pod whose sandbox died gets a new one, with the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pod {
    /// The sandbox's id.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name; a static pod's ends in the node's name.
    pub name: String,
    /// The pod's UID; for a static pod the hash of its file.
    pub uid: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Whether it runs.
    pub state: PodState,
    /// The pod's labels and the kubelet's own.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations and the kubelet's own.
    pub annotations: BTreeMap<String, String>,
    /// When the sandbox was made.
    pub created: Option<Timestamp>,
}

/// A container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, and not started yet.
    Created,
    /// It runs.
    Running,
    /// It ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

/// A container. One that is restarted is a new container with the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The container's id.
    pub id: String,
    /// The id of its sandbox.
    pub pod_id: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name the sandbox had before.
    pub attempt: u32,
    /// Its state.
    pub state: ContainerState,
    /// The image as the pod names it.
    pub image: String,
    /// The kubelet's labels (see [`names::label`]).
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Everything about one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerStatus {
    /// The container's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// How many containers of this name the sandbox had before.
    pub attempt: u32,
    /// Its state.
    pub state: ContainerState,
    /// Its exit code; of use once it exited.
    pub exit_code: i32,
    /// Why it is so, as one word, such as `OOMKilled` or `StartError`.
    pub reason: String,
    /// Why it is so, as a sentence.
    pub message: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// The image as the pod names it.
    pub image: String,
    /// The image's digest or id.
    pub image_ref: String,
    /// Its log file.
    pub log_path: PathBuf,
    /// The process id of its init, in the runtime's pid namespace; none when it does not run.
    pub pid: Option<i32>,
    /// The kubelet's labels (see [`names::label`]).
    pub labels: BTreeMap<String, String>,
}

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// The digest of its configuration.
    pub id: String,
    /// Its names with a tag.
    pub tags: Vec<String>,
    /// Its names with a digest.
    pub digests: Vec<String>,
    /// Its size in bytes, compressed.
    pub size: u64,
    /// Whether the kubelet leaves it alone when it frees space.
    pub pinned: bool,
}

/// CRI's times: nanoseconds since the epoch, 0 for never.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()).flatten()
}

fn container_state(value: i32) -> ContainerState {
    match v1::ContainerState::try_from(value) {
        Ok(v1::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(v1::ContainerState::ContainerRunning) => ContainerState::Running,
        Ok(v1::ContainerState::ContainerExited) => ContainerState::Exited,
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => ContainerState::Unknown,
    }
}

/// The name by which the pod asked for an image; the runtime's own name where that is not kept.
fn image_name(spec: Option<v1::ImageSpec>) -> String {
    let spec = spec.unwrap_or_default();
    if spec.user_specified_image.is_empty() { spec.image } else { spec.user_specified_image }
}

impl From<v1::VersionResponse> for Version {
    fn from(version: v1::VersionResponse) -> Self {
        Self {
            runtime: version.runtime_name,
            version: version.runtime_version,
            api: version.runtime_api_version,
        }
    }
}

impl From<v1::RuntimeStatus> for RuntimeStatus {
    fn from(status: v1::RuntimeStatus) -> Self {
        let conditions = status.conditions.into_iter().map(|c| Condition {
            name: c.r#type,
            met: c.status,
            reason: c.reason,
            message: c.message,
        });
        Self { conditions: conditions.collect() }
    }
}

impl From<v1::LinuxRuntimeConfiguration> for CgroupDriver {
    fn from(config: v1::LinuxRuntimeConfiguration) -> Self {
        match config.cgroup_driver() {
            v1::CgroupDriver::Systemd => Self::Systemd,
            v1::CgroupDriver::Cgroupfs => Self::Cgroupfs,
        }
    }
}

impl From<v1::PodSandbox> for Pod {
    fn from(sandbox: v1::PodSandbox) -> Self {
        let metadata = sandbox.metadata.unwrap_or_default();
        let ready = sandbox.state == v1::PodSandboxState::SandboxReady as i32;
        Self {
            id: sandbox.id,
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            attempt: metadata.attempt,
            state: if ready { PodState::Ready } else { PodState::NotReady },
            labels: sandbox.labels.into_iter().collect(),
            annotations: sandbox.annotations.into_iter().collect(),
            created: time(sandbox.created_at),
        }
    }
}

impl From<v1::Container> for Container {
    fn from(container: v1::Container) -> Self {
        let metadata = container.metadata.unwrap_or_default();
        Self {
            id: container.id,
            pod_id: container.pod_sandbox_id,
            name: metadata.name,
            attempt: metadata.attempt,
            state: container_state(container.state),
            image: image_name(container.image),
            labels: container.labels.into_iter().collect(),
            created: time(container.created_at),
        }
    }
}

impl ContainerStatus {
    /// From the status and the verbose part of the answer, which alone has the process id
    /// (containerd and CRI-O put JSON under the key `info`).
    pub(crate) fn new(status: v1::ContainerStatus, pid: Option<i32>) -> Self {
        let metadata = status.metadata.unwrap_or_default();
        Self {
            id: status.id,
            name: metadata.name,
            attempt: metadata.attempt,
            state: container_state(status.state),
            exit_code: status.exit_code,
            reason: status.reason,
            message: status.message,
            created: time(status.created_at),
            started: time(status.started_at),
            finished: time(status.finished_at),
            image: image_name(status.image),
            image_ref: status.image_ref,
            log_path: PathBuf::from(status.log_path),
            pid,
            labels: status.labels.into_iter().collect(),
        }
    }
}

impl From<v1::Image> for Image {
    fn from(image: v1::Image) -> Self {
        Self {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
            size: image.size,
            pinned: image.pinned,
        }
    }
}
