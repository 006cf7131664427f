//! The client against a container runtime of canned answers on a unix socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests are tests too")]

use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use cri::{ContainerChange, ContainerState, Cri, CriError, Filter, PodSelector, PodState};
use fakes::grpc::{Boxed, unary};
use k8s_cri::v1;
use names::label;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};

/// How often the sandbox `shared` was to be removed; another one does that meanwhile.
static REMOVALS: AtomicU32 = AtomicU32::new(0);

/// Two events, and the end of the stream.
struct Events;

impl ServerStreamingService<v1::GetEventsRequest> for Events {
    type Response = v1::ContainerEventResponse;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<Self::Response, Status>>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<v1::GetEventsRequest>) -> Self::Future {
        let event = |id: &str, change: v1::ContainerEventType| v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: change.into(),
            ..v1::ContainerEventResponse::default()
        };
        let events = vec![
            Ok(event("c3", v1::ContainerEventType::ContainerStoppedEvent)),
            Ok(event("c4", v1::ContainerEventType::ContainerStartedEvent)),
        ];
        std::future::ready(Ok(Response::new(tokio_stream::iter(events))))
    }
}

/// A runtime with one crash-looping pod, whose log is this file.
#[derive(Clone)]
struct Runtime(PathBuf);

#[derive(Clone)]
struct Images;

impl NamedService for Runtime {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

impl NamedService for Images {
    const NAME: &'static str = "runtime.v1.ImageService";
}

fn pod(id: &str, attempt: u32, state: v1::PodSandboxState) -> v1::PodSandbox {
    v1::PodSandbox {
        id: id.to_owned(),
        metadata: Some(v1::PodSandboxMetadata {
            name: "bootstrap-kube-apiserver-node1".to_owned(),
            uid: "u1".to_owned(),
            namespace: "kube-system".to_owned(),
            attempt,
        }),
        state: state.into(),
        created_at: 1_000_000_000 * i64::from(attempt + 1),
        ..v1::PodSandbox::default()
    }
}

fn metadata(attempt: u32) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: "kube-apiserver".to_owned(), attempt }
}

fn container(id: &str, attempt: u32) -> v1::Container {
    v1::Container { id: id.to_owned(), metadata: Some(metadata(attempt)), ..v1::Container::default() }
}

fn container_status(id: &str, log: &Path) -> Result<v1::ContainerStatusResponse, Status> {
    let status = match id {
        "c3" => v1::ContainerStatus {
            metadata: Some(metadata(3)),
            state: v1::ContainerState::ContainerRunning.into(),
            log_path: "/nonexistent/3.log".to_owned(),
            ..v1::ContainerStatus::default()
        },
        "c2" => v1::ContainerStatus {
            metadata: Some(metadata(2)),
            state: v1::ContainerState::ContainerExited.into(),
            exit_code: 1,
            reason: "Error".to_owned(),
            finished_at: 1_700_000_000_000_000_000,
            log_path: log.display().to_string(),
            ..v1::ContainerStatus::default()
        },
        _ => return Err(Status::not_found(format!("container \"{id}\": not found"))),
    };
    let info = [("info".to_owned(), r#"{"pid": 4711, "runtimeType": "io.containerd.runc.v2"}"#.to_owned())];
    Ok(v1::ContainerStatusResponse { status: Some(status), info: info.into() })
}

impl tower::Service<http::Request<Body>> for Runtime {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let log = self.0.clone();
        Box::pin(async move {
            let call = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match call.as_str() {
                "ListPodSandbox" => {
                    unary(request, |q: v1::ListPodSandboxRequest| {
                        let selector = q.filter.unwrap_or_default().label_selector;
                        assert_eq!(selector[label::POD_NAMESPACE], "kube-system");
                        let items = vec![
                            pod("s0", 0, v1::PodSandboxState::SandboxNotready),
                            pod("s1", 1, v1::PodSandboxState::SandboxReady),
                        ];
                        Ok(v1::ListPodSandboxResponse { items })
                    })
                    .await
                }
                "ListContainers" => {
                    unary(request, |q: v1::ListContainersRequest| {
                        assert_eq!(q.filter.unwrap_or_default().pod_sandbox_id, "s1");
                        let containers = vec![container("c2", 2), container("c3", 3), container("c1", 1)];
                        Ok(v1::ListContainersResponse { containers })
                    })
                    .await
                }
                "ContainerStatus" => {
                    unary(request, |q: v1::ContainerStatusRequest| container_status(&q.container_id, &log))
                        .await
                }
                "RemovePodSandbox" => {
                    unary(request, |asked: v1::RemovePodSandboxRequest| {
                        let by_another =
                            asked.pod_sandbox_id == "shared" && REMOVALS.fetch_add(1, Ordering::SeqCst) < 2;
                        let why = "failed to remove container: container is already in removing state";
                        let status =
                            if by_another { Status::unknown(why) } else { Status::not_found("gone") };
                        Err::<v1::RemovePodSandboxResponse, _>(status)
                    })
                    .await
                }
                "StopPodSandbox" => {
                    unary(request, |_: v1::StopPodSandboxRequest| {
                        Err::<v1::StopPodSandboxResponse, _>(Status::unknown("no such cgroup"))
                    })
                    .await
                }
                "GetContainerEvents" => {
                    let codec = tonic_prost::ProstCodec::<v1::ContainerEventResponse, _>::default();
                    tonic::server::Grpc::new(codec).server_streaming(Events, request).await
                }
                "Version" => {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                    Status::internal("too late").into_http()
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

impl tower::Service<http::Request<Body>> for Images {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(unary(request, |q: v1::ImageStatusRequest| {
                let name = q.image.unwrap_or_default().image;
                let image = (name == "here:1").then(v1::Image::default);
                Ok(v1::ImageStatusResponse { image, ..v1::ImageStatusResponse::default() })
            })
            .await)
        })
    }
}

/// The runtime on a socket in a directory of its own, which goes with the value.
async fn runtime() -> (tempfile::TempDir, Cri) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("2.log");
    let mut file = std::fs::File::create(&log).unwrap();
    writeln!(file, "2026-11-22T18:50:01Z stderr F Error: unknown flag: --nonsense").unwrap();
    let socket = dir.path().join("cri.sock");
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let server = tonic::transport::Server::builder().add_service(Runtime(log)).add_service(Images);
    tokio::spawn(server.serve_with_incoming(incoming));
    let cri = Cri::connect(&socket).await.unwrap();
    (dir, cri)
}

#[tokio::test]
async fn diagnoses_a_crash_loop_and_a_missing_image() {
    let (_dir, cri) = runtime().await;
    let selector = PodSelector::prefix("kube-system", "bootstrap-kube-apiserver");
    let images = ["here:1".to_owned(), "gone:2".to_owned()];
    let diagnosis = cri.diagnose(&selector, &images, 5).await.unwrap();
    assert_eq!(
        diagnosis.to_string(),
        "pod kube-system/bootstrap-kube-apiserver-node1: its sandbox runs\n\
         \x20 image gone:2 is not on this node\n\
         \x20 container kube-apiserver runs, 3 restarts\n\
         \x20   before that it exited with code 1\n\
         \x20   | Error: unknown flag: --nonsense"
    );
    assert!(diagnosis.crashed());
    let container = &diagnosis.containers[0];
    assert_eq!((container.status.state, container.status.pid), (ContainerState::Running, Some(4711)));
    let ended = container.previous.as_ref().unwrap().finished.unwrap();
    assert_eq!(ended.to_string(), "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn a_pod_that_is_not_there_is_said_to_be_so() {
    let (_dir, cri) = runtime().await;
    let diagnosis = cri.diagnose(&PodSelector::exact("kube-system", "etcd"), &[], 5).await.unwrap();
    assert_eq!(diagnosis.to_string(), "pod kube-system/etcd: the kubelet has not started it");
    assert!(!diagnosis.running());
}

#[tokio::test]
async fn lists_sandboxes() {
    let (_dir, cri) = runtime().await;
    let pods = cri.sandboxes(Filter::all().label(label::POD_NAMESPACE, "kube-system")).await.unwrap();
    assert_eq!(pods.iter().map(|p| p.state).collect::<Vec<_>>(), [PodState::NotReady, PodState::Ready]);
    assert_eq!(pods[1].created.unwrap().to_string(), "1970-01-01T00:00:02Z");
}

#[tokio::test]
async fn a_call_that_hangs_is_an_error() {
    let (dir, cri) = runtime().await;
    let error = cri.with_limit(Duration::from_millis(200)).version().await.unwrap_err();
    let socket = dir.path().join("cri.sock");
    assert_eq!(
        error.to_string(),
        format!("container runtime on {} did not answer Version within 0.2 s", socket.display())
    );
}

#[tokio::test]
async fn what_another_one_removes_is_waited_for() {
    let (_dir, cri) = runtime().await;
    cri.remove_pod("shared").await.unwrap();
    assert_eq!(REMOVALS.load(Ordering::SeqCst), 3, "two refusals, and then it was gone");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (_dir, cri) = runtime().await;
    cri.remove_pod("x").await.unwrap();
    let refused = cri.stop_pod("x").await.unwrap_err();
    assert!(
        matches!(&refused, CriError::Refused { message, .. } if message == "no such cgroup"),
        "{refused}"
    );
    let fake = cri.clone().with_limit(Duration::from_millis(200));
    let config = fake.runtime_config().await.unwrap_err();
    assert!(matches!(config, CriError::Timeout { call: "Version", .. }), "{config}");
    let status = cri.runtime_ready().await.unwrap_err();
    assert!(matches!(status, CriError::NoCri { call: "Status", .. }), "{status}");
    let container = cri.container_status("c9").await.unwrap_err();
    assert_eq!(container.to_string(), "ContainerStatus: container \"c9\": not found");
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cri.sock");
    let missing = Cri::connect(&socket).await.unwrap_err();
    assert!(matches!(missing, CriError::NotRunning { .. }), "{missing}");

    // A socket whose runtime died after we connected.
    let listener = UnixListener::bind(&socket).unwrap();
    let cri = Cri::connect(&socket).await.unwrap();
    drop(listener);
    let dead = cri.version().await.unwrap_err();
    assert!(matches!(dead, CriError::NotRunning { .. }), "{dead:?}");
}

#[tokio::test]
async fn news_of_containers_come_until_the_runtime_ends_them() {
    let (_dir, cri) = runtime().await;
    let mut events = cri.events().await.unwrap();
    let mut seen = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        seen.push((event.id, event.change));
    }
    let expected = [("c3", ContainerChange::Stopped), ("c4", ContainerChange::Started)];
    assert_eq!(seen, expected.map(|(id, change)| (id.to_owned(), change)));
}
