//! What the DaemonSet's pod does on each control-plane node: it fetches the control plane's keys where there are none yet,
//! puts the guardian's static pod on the node's disk and keeps it there. What it wrote outlives it, the DaemonSet and the
//! API. It asks the API as the node's kubelet: a node that has just got the label has no other identity.

mod files;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{ApiError, Call, ClientError, ClientOptions, Patient};
use names::path::KUBELET_KUBECONFIG;
use objects::pod;
use pki::NodeIdentity;
use tokio::signal::unix::{SignalKind, signal};

pub use files::{FilesError, PLACEHOLDER, put};

use crate::keys::{self, AskError, Asking, Keys};

/// How often is looked whether all is as it should be.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause before the API is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The container of the DaemonSet's pod.
const CONTAINER: &str = "installer";

/// From where to where. All are paths in the installer's pod.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The installer's own pod: its image becomes the guardian's.
    pub namespace: String,
    /// See `namespace`.
    pub pod_name: String,
    /// The node's name.
    pub node_name: String,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The ConfigMap's file.
    pub manifest_from: PathBuf,
    /// The host's static pod directory.
    pub static_pod_dir: PathBuf,
}

/// The installer could not begin.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The signal handler could not be set.
    #[error("cannot wait for SIGTERM")]
    Signals(#[source] io::Error),
}

/// What the installer waits for.
#[derive(Debug, thiserror::Error)]
enum Wait {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("pod {0} has no container {CONTAINER}")]
    NoContainer(String),
    #[error(transparent)]
    Keys(#[from] AskError),
    #[error("no guardian has answered {0} yet: keys are on another control-plane node that is up")]
    NoAnswer(String),
}

/// Installs and keeps installed until SIGTERM; removes nothing then.
///
/// # Errors
/// [`InstallError`] when it cannot begin. Later troubles are logged and tried again.
pub async fn install(options: InstallOptions) -> Result<(), InstallError> {
    let mut terminated = signal(SignalKind::terminate()).map_err(InstallError::Signals)?;
    tokio::select! {
        _ = terminated.recv() => {}
        () = keep(&options) => {}
    }
    Ok(())
}

async fn keep(options: &InstallOptions) {
    let mut told = Told::default();
    let image = loop {
        match prepare(options).await {
            Ok(image) => break image,
            Err(wait) => told.tell("the guardian is not installed yet", &wait),
        }
        tokio::time::sleep(PAUSE).await;
    };
    loop {
        match put(options, &image) {
            Ok(Some(path)) => tracing::info!(path = %path.display(), "written"),
            Ok(None) => {}
            Err(error) => told.tell("the guardian is not installed", &error),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Says each trouble once: the next look comes soon.
#[derive(Default)]
struct Told(String);

impl Told {
    fn tell(&mut self, what: &str, error: &dyn std::error::Error) {
        let error = host::error::chain(error);
        if error != self.0 {
            tracing::warn!(error, "{what}");
            self.0 = error;
        }
    }
}

/// The keys first: the kubelet starts the guardian as soon as its manifest is there. Returns the guardian's image.
async fn prepare(options: &InstallOptions) -> Result<String, Wait> {
    let (kubelet, defaults) = (Path::new(KUBELET_KUBECONFIG), ClientOptions::default());
    let api = Patient::new(api::client_from_kubeconfig(kubelet, &defaults).await?);
    let keys = Keys::new("/", "/");
    if !keys.are_there() {
        let node = NodeIdentity { name: options.node_name.clone(), addresses: options.addresses.clone() };
        match keys::ask(&api, &keys, &node).await? {
            Asking::Done => tracing::info!("the control plane's keys are on this node"),
            Asking::Waiting(request) => return Err(Wait::NoAnswer(request)),
        }
    }
    own_image(&api, options).await
}

/// A pod is not told of its own image otherwise.
async fn own_image(api: &Patient, options: &InstallOptions) -> Result<String, Wait> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", options.namespace, options.pod_name);
    let pod = api.send_once(&Call::get(path)).await?;
    let own = pod::app_containers(&pod).iter().find(|c| c["name"] == CONTAINER);
    let image = own.and_then(|c| c["image"].as_str()).map(str::to_owned);
    image.ok_or_else(|| Wait::NoContainer(options.pod_name.clone()))
}
