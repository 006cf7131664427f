//! The calls: each with a time limit and an error that names the socket and the call.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};
use tower::service_fn;

use crate::error::CriError;
use crate::model::{CgroupDriver, Container, ContainerStatus, Image, Pod, RuntimeStatus, Version};

/// How long a call that only reads may take. The kubelet allows 2 minutes; who waits at a terminal
/// should learn sooner that the runtime hangs.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// How long a call may take that ends processes or deletes files.
const CHANGE_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether somebody else has removed what is to be removed.
const BEING_REMOVED_POLL: Duration = Duration::from_millis(100);
/// Answers can be long on a node with many containers; gRPC's default of 4 MiB is too little there.
const ANSWER_LIMIT: usize = 16 << 20;

/// Which pods or containers to list. Empty: all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those with all these labels.
    pub labels: BTreeMap<String, String>,
    /// Only the containers of this sandbox; of no use when pods are listed.
    pub pod_id: Option<String>,
}

impl Filter {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Adds a label that must be there with this value.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Only the containers of this sandbox.
    pub fn pod_id(mut self, id: &str) -> Self {
        self.pod_id = Some(id.to_owned());
        self
    }

    fn selector(self) -> HashMap<String, String> {
        self.labels.into_iter().collect()
    }
}

/// A connection to the container runtime. Cheap to clone; it connects again by itself when the
/// runtime was restarted.
#[derive(Debug, Clone)]
pub struct Cri {
    channel: Channel,
    socket: PathBuf,
    read_limit: Duration,
}

impl Cri {
    /// Connects to the runtime's socket. That nobody listens there is found out here.
    pub async fn connect(socket: &Path) -> Result<Self, CriError> {
        UnixStream::connect(socket).await.map_err(|source| CriError::from_io(socket, source))?;
        let path = socket.to_owned();
        let connector = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        Ok(Self::over(connector, socket))
    }

    /// Asks whoever is at the other end of these connections; `name` is what messages call it.
    pub fn over<C, I>(connector: C, name: &Path) -> Self
    where
        C: tower::Service<Uri, Response = TokioIo<I>, Error = io::Error, Future: Send> + Send + 'static,
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The address is a formality: the connector knows where to go.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel, socket: name.to_owned(), read_limit: READ_LIMIT }
    }

    /// The same connection with another limit for calls that only read.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.read_limit = limit;
        self
    }

    /// The socket that this talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The runtime's name and version.
    pub async fn version(&self) -> Result<Version, CriError> {
        let request = v1::VersionRequest { version: "v1".to_owned() };
        let answer = self.read("Version", self.runtime().version(request)).await?;
        Ok(answer.into())
    }

    /// Whether the runtime says that it can start pods.
    pub async fn runtime_ready(&self) -> Result<RuntimeStatus, CriError> {
        let request = v1::StatusRequest { verbose: false };
        let answer = self.read("Status", self.runtime().status(request)).await?;
        Ok(answer.status.unwrap_or_default().into())
    }

    /// How the runtime makes cgroups, which the kubelet takes over; none when the runtime cannot say,
    /// as containerd before 2.0. The kubelet wants an answer from 1.37 on.
    pub async fn runtime_config(&self) -> Result<Option<CgroupDriver>, CriError> {
        let request = v1::RuntimeConfigRequest {};
        match self.read("RuntimeConfig", self.runtime().runtime_config(request)).await {
            Ok(answer) => Ok(answer.linux.map(Into::into)),
            // It lacks this call, or all of CRI: one that every runtime has tells which.
            Err(CriError::NoCri { .. }) => self.version().await.map(|_| None),
            Err(error) => Err(error),
        }
    }

    /// The sandboxes, running or not.
    pub async fn sandboxes(&self, filter: Filter) -> Result<Vec<Pod>, CriError> {
        let filter = v1::PodSandboxFilter { label_selector: filter.selector(), ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let answer = self.read("ListPodSandbox", self.runtime().list_pod_sandbox(request)).await?;
        Ok(answer.items.into_iter().map(Into::into).collect())
    }

    /// The containers, running or not.
    pub async fn containers(&self, filter: Filter) -> Result<Vec<Container>, CriError> {
        let filter = v1::ContainerFilter {
            pod_sandbox_id: filter.pod_id.clone().unwrap_or_default(),
            label_selector: filter.selector(),
            ..Default::default()
        };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let answer = self.read("ListContainers", self.runtime().list_containers(request)).await?;
        Ok(answer.containers.into_iter().map(Into::into).collect())
    }

    /// Everything about one container.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.read("ContainerStatus", self.runtime().container_status(request)).await?;
        let pid = pid(&answer.info);
        Ok(ContainerStatus::new(answer.status.unwrap_or_default(), pid))
    }

    /// Whether the node has this image (a name with tag or digest, or an id).
    pub async fn image_present(&self, name: &str) -> Result<bool, CriError> {
        let image = v1::ImageSpec { image: name.to_owned(), ..Default::default() };
        let request = v1::ImageStatusRequest { image: Some(image), verbose: false };
        let answer = self.read("ImageStatus", self.images_service().image_status(request)).await?;
        Ok(answer.image.is_some())
    }

    /// All images of the node.
    pub async fn images(&self) -> Result<Vec<Image>, CriError> {
        let request = v1::ListImagesRequest { filter: None };
        let answer = self.read("ListImages", self.images_service().list_images(request)).await?;
        Ok(answer.images.into_iter().map(Into::into).collect())
    }

    /// Has the runtime fetch an image from its registry, as the kubelet does for a pod that always pulls.
    ///
    /// # Errors
    /// When it cannot be had, or not within a minute.
    pub async fn pull_image(&self, name: &str) -> Result<(), CriError> {
        let image = v1::ImageSpec { image: name.to_owned(), ..Default::default() };
        let request = v1::PullImageRequest { image: Some(image), ..Default::default() };
        self.change("PullImage", self.images_service().pull_image(request)).await.map(drop)
    }

    /// Those of some images that no registry gives, each with the reason.
    pub async fn unpullable(&self, images: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
        let mut unpullable = Vec::new();
        for image in images {
            if let Err(error) = self.pull_image(&image).await {
                unpullable.push((image, host::error::chain(&error)));
            }
        }
        unpullable
    }

    /// Removes an image; one that is not there is no error.
    pub async fn remove_image(&self, name: &str) -> Result<(), CriError> {
        let image = v1::ImageSpec { image: name.to_owned(), ..Default::default() };
        let request = v1::RemoveImageRequest { image: Some(image) };
        gone_is_fine(self.change("RemoveImage", self.images_service().remove_image(request)).await)
    }

    /// Stops a sandbox at once, with all its containers; one that is not there is no error.
    pub async fn stop_pod(&self, id: &str) -> Result<(), CriError> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        gone_is_fine(self.change("StopPodSandbox", self.runtime().stop_pod_sandbox(request)).await)
    }

    /// Removes a sandbox with all its containers, running or not; one that is not there is no error. It waits for the
    /// kubelet where that removes one of the containers just now.
    pub async fn remove_pod(&self, id: &str) -> Result<(), CriError> {
        let began = Instant::now();
        loop {
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
            let removed = self.change("RemovePodSandbox", self.runtime().remove_pod_sandbox(request)).await;
            match gone_is_fine(removed) {
                Err(error) if is_being_removed(&error) && began.elapsed() < CHANGE_LIMIT => {
                    sleep(BEING_REMOVED_POLL).await;
                }
                done => return done,
            }
        }
    }

    /// Asks a container to end and kills it when it has not after `grace`; one that is not there is
    /// no error.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let mut runtime = self.runtime();
        let answer = runtime.stop_container(request);
        gone_is_fine(self.call("StopContainer", CHANGE_LIMIT + grace, answer).await)
    }

    pub(crate) fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    fn images_service(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    /// What a status means that came later than a call's answer.
    pub(crate) fn failed(&self, call: &'static str, status: &Status) -> CriError {
        CriError::from_status(&self.socket, call, self.read_limit, status)
    }

    pub(crate) async fn read<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CriError> {
        self.call(call, self.read_limit, answer).await
    }

    async fn change<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CriError> {
        self.call(call, CHANGE_LIMIT, answer).await
    }

    async fn call<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CriError> {
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CriError::from_status(&self.socket, call, limit, &status)),
            Err(_) => Err(CriError::Timeout { socket: self.socket.clone(), call, limit }),
        }
    }
}

/// The process id out of the verbose part of a container's status: JSON under the key `info`, in
/// containerd and CRI-O alike. 0 means that it does not run.
fn pid(info: &HashMap<String, String>) -> Option<i32> {
    let info: serde_json::Value = serde_json::from_str(info.get("info")?).ok()?;
    let pid = i32::try_from(info.get("pid")?.as_i64()?).ok()?;
    (pid > 0).then_some(pid)
}

/// Whether somebody else removes it: containerd refuses to do so twice at once, without a code of its own for it
/// (`setContainerRemoving` in internal/cri/server/container_remove.go).
fn is_being_removed(error: &CriError) -> bool {
    matches!(error, CriError::Refused { message, .. } if message.contains("already in removing state"))
}

fn gone_is_fine<T>(result: Result<T, CriError>) -> Result<(), CriError> {
    match result {
        Ok(_) | Err(CriError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
