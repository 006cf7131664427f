//! A container runtime that keeps what it is told: sandboxes and containers, without a process behind them. It
//! speaks CRI v1 over a connection in memory, so that a test may stop the clock.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use tokio::io::DuplexStream;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;

use crate::grpc::{Boxed, unary};

/// A pod in the runtime, with one container.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// The sandbox's id, and its container's.
    pub id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// Labels of the pod.
    pub labels: Vec<(String, String)>,
    /// Annotations of the pod.
    pub annotations: Vec<(String, String)>,
    /// Whether it runs.
    pub running: bool,
    /// How often its container was started again after an error.
    pub crashes: u32,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
}

impl Sandbox {
    /// A pod of `kube-system` that runs, with a container of that name.
    pub fn running(name: &str, container: &str) -> Self {
        Self {
            id: name.to_owned(),
            namespace: names::object::KUBE_SYSTEM.to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            container: container.to_owned(),
            labels: Vec::new(),
            annotations: Vec::new(),
            running: true,
            crashes: 0,
            created: 1,
        }
    }
}

/// See the module. It has every image but those that it was told to lack.
#[derive(Debug, Clone, Default)]
pub struct Runtime {
    sandboxes: Arc<Mutex<Vec<Sandbox>>>,
    lacked: Arc<Mutex<BTreeSet<String>>>,
}

impl Runtime {
    /// What it has now; to be looked at and changed.
    pub fn sandboxes(&self) -> MutexGuard<'_, Vec<Sandbox>> {
        self.sandboxes.lock().expect("no test panicked in here")
    }

    /// From now on it does not have this image.
    pub fn lack_image(&self, image: &str) {
        self.lacked.lock().expect("no test panicked in here").insert(image.to_owned());
    }

    /// Connects to it.
    pub fn connector(
        &self,
    ) -> impl tower::Service<
        Uri,
        Response = TokioIo<DuplexStream>,
        Error = io::Error,
        Future = std::future::Ready<io::Result<TokioIo<DuplexStream>>>,
    > + Clone
    + Send
    + 'static {
        let runtime = self.clone();
        tower::service_fn(move |_: Uri| {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let server = tonic::transport::Server::builder()
                .add_service(RuntimeService(runtime.clone()))
                .add_service(ImageService(runtime.clone()));
            let once = tokio_stream::once(Ok::<_, io::Error>(theirs));
            tokio::spawn(server.serve_with_incoming(once));
            std::future::ready(Ok(TokioIo::new(ours)))
        })
    }
}

#[derive(Clone)]
struct RuntimeService(Runtime);

#[derive(Clone)]
struct ImageService(Runtime);

impl NamedService for RuntimeService {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl NamedService for ImageService {
    const NAME: &'static str = "runtime.v1.ImageService";
}

impl tower::Service<http::Request<Body>> for RuntimeService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let runtime = self.0.clone();
        Box::pin(async move {
            let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match call.as_str() {
                "Version" => unary(request, |_: v1::VersionRequest| Ok(version())).await,
                "ListPodSandbox" => unary(request, |asked| Ok(runtime.list_sandboxes(asked))).await,
                "ListContainers" => unary(request, |asked| Ok(runtime.list_containers(asked))).await,
                "ContainerStatus" => unary(request, |asked| runtime.container_status(&asked)).await,
                "StopPodSandbox" => {
                    unary(request, |asked: v1::StopPodSandboxRequest| {
                        runtime.each(&asked.pod_sandbox_id, |sandbox| sandbox.running = false);
                        Ok(v1::StopPodSandboxResponse {})
                    })
                    .await
                }
                "RemovePodSandbox" => {
                    unary(request, |asked: v1::RemovePodSandboxRequest| {
                        runtime.sandboxes().retain(|sandbox| sandbox.id != asked.pod_sandbox_id);
                        Ok(v1::RemovePodSandboxResponse {})
                    })
                    .await
                }
                _ => Status::unimplemented(call).into_http(),
            })
        })
    }
}

impl Runtime {
    fn each(&self, id: &str, change: impl Fn(&mut Sandbox)) {
        self.sandboxes().iter_mut().filter(|sandbox| sandbox.id == id).for_each(change);
    }

    fn list_sandboxes(&self, asked: v1::ListPodSandboxRequest) -> v1::ListPodSandboxResponse {
        let wanted = asked.filter.unwrap_or_default().label_selector;
        let sandboxes = self.sandboxes();
        let fits =
            |sandbox: &&Sandbox| wanted.iter().all(|(key, value)| labels(sandbox).get(key) == Some(value));
        let items = sandboxes.iter().filter(fits).map(|sandbox| v1::PodSandbox {
            id: sandbox.id.clone(),
            metadata: Some(v1::PodSandboxMetadata {
                name: sandbox.name.clone(),
                uid: sandbox.uid.clone(),
                namespace: sandbox.namespace.clone(),
                attempt: 0,
            }),
            state: if sandbox.running {
                v1::PodSandboxState::SandboxReady.into()
            } else {
                v1::PodSandboxState::SandboxNotready.into()
            },
            created_at: sandbox.created,
            labels: labels(sandbox),
            annotations: sandbox.annotations.iter().cloned().collect(),
            ..v1::PodSandbox::default()
        });
        v1::ListPodSandboxResponse { items: items.collect() }
    }

    fn list_containers(&self, asked: v1::ListContainersRequest) -> v1::ListContainersResponse {
        let filter = asked.filter.unwrap_or_default();
        let sandboxes = self.sandboxes();
        let fits = |sandbox: &&Sandbox| {
            (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == sandbox.id)
                && filter.label_selector.iter().all(|(key, value)| labels(sandbox).get(key) == Some(value))
        };
        let containers = sandboxes.iter().filter(fits).map(|sandbox| v1::Container {
            id: container_id(sandbox),
            pod_sandbox_id: sandbox.id.clone(),
            metadata: Some(metadata(sandbox)),
            state: state(sandbox),
            created_at: sandbox.created,
            labels: labels(sandbox),
            ..v1::Container::default()
        });
        v1::ListContainersResponse { containers: containers.collect() }
    }

    fn image_status(&self, asked: v1::ImageStatusRequest) -> v1::ImageStatusResponse {
        let name = asked.image.unwrap_or_default().image;
        let is_lacked = self.lacked.lock().expect("no test panicked in here").contains(&name);
        let image = (!is_lacked).then(v1::Image::default);
        v1::ImageStatusResponse { image, ..v1::ImageStatusResponse::default() }
    }

    /// No registry has what it was told to lack.
    fn pull_image(&self, asked: v1::PullImageRequest) -> Result<v1::PullImageResponse, Status> {
        let name = asked.image.unwrap_or_default().image;
        if self.lacked.lock().expect("no test panicked in here").contains(&name) {
            return Err(Status::not_found(format!("{name}: not found")));
        }
        Ok(v1::PullImageResponse { image_ref: name })
    }

    fn container_status(
        &self,
        asked: &v1::ContainerStatusRequest,
    ) -> Result<v1::ContainerStatusResponse, Status> {
        let sandboxes = self.sandboxes();
        let found = sandboxes.iter().find(|sandbox| container_id(sandbox) == asked.container_id);
        let sandbox = found.ok_or_else(|| Status::not_found(asked.container_id.clone()))?;
        let status = v1::ContainerStatus {
            id: container_id(sandbox),
            metadata: Some(metadata(sandbox)),
            state: state(sandbox),
            created_at: sandbox.created,
            exit_code: i32::from(sandbox.crashes > 0),
            ..v1::ContainerStatus::default()
        };
        Ok(v1::ContainerStatusResponse { status: Some(status), ..v1::ContainerStatusResponse::default() })
    }
}

fn version() -> v1::VersionResponse {
    v1::VersionResponse {
        version: "0.1.0".to_owned(),
        runtime_name: "containerd".to_owned(),
        runtime_version: "v2.0.0".to_owned(),
        runtime_api_version: "v1".to_owned(),
    }
}

/// The id of a sandbox's container.
pub fn container_id(sandbox: &Sandbox) -> String {
    format!("{}-c{}", sandbox.id, sandbox.crashes)
}

fn labels(sandbox: &Sandbox) -> std::collections::HashMap<String, String> {
    let own = [
        (names::label::POD_NAMESPACE, &sandbox.namespace),
        (names::label::POD_NAME, &sandbox.name),
        (names::label::POD_UID, &sandbox.uid),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.clone()));
    sandbox.labels.iter().cloned().chain(own).collect()
}

fn metadata(sandbox: &Sandbox) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: sandbox.container.clone(), attempt: sandbox.crashes }
}

fn state(sandbox: &Sandbox) -> i32 {
    if sandbox.running && sandbox.crashes == 0 {
        v1::ContainerState::ContainerRunning.into()
    } else {
        v1::ContainerState::ContainerExited.into()
    }
}

impl tower::Service<http::Request<Body>> for ImageService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let runtime = self.0.clone();
        let pulls = request.uri().path().ends_with("/PullImage");
        Box::pin(async move {
            Ok(if pulls {
                unary(request, |asked| runtime.pull_image(asked)).await
            } else {
                unary(request, |asked| Ok(runtime.image_status(asked))).await
            })
        })
    }
}
