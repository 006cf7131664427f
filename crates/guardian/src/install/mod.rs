//! What the DaemonSet's pod does on each control-plane node: it puts the guardian's credentials and static pod on
//! the node's disk and keeps them there. What it wrote outlives it, the DaemonSet and the API.

mod files;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use api::{ApiError, Call, ClientError, ClientOptions};
use objects::pod;
use tokio::signal::unix::{SignalKind, signal};

pub use files::{FilesError, PLACEHOLDER, put, take_away};

/// How often is looked whether all is as it should be.
const PERIOD: Duration = Duration::from_secs(2);
/// Pause before the API is asked again.
const PAUSE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);
/// The container of the DaemonSet's pod.
const CONTAINER: &str = "installer";

/// From where to where. All are paths in the installer's pod.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The installer's own pod: its image becomes the guardian's.
    pub namespace: String,
    /// See `namespace`.
    pub pod_name: String,
    /// The Secret's volume.
    pub credentials_from: PathBuf,
    /// The ConfigMap's file.
    pub manifest_from: PathBuf,
    /// The host's directory for the credentials.
    pub credentials_to: PathBuf,
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

/// The image of the installer's own pod is not known.
#[derive(Debug, thiserror::Error)]
enum ImageError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("pod {0} has no container {CONTAINER}")]
    NoContainer(String),
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
    let image = loop {
        match own_image(options).await {
            Ok(image) => break image,
            Err(error) => {
                let error = host::error::chain(&error);
                tracing::info!(error, "waiting for the API to tell of this pod's image");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let mut failed = String::new();
    loop {
        match put(options, &image) {
            Ok(written) => {
                for path in written {
                    tracing::info!(path = %path.display(), "written");
                }
                failed.clear();
            }
            Err(error) => {
                let error = host::error::chain(&error);
                // Once: the next look comes soon.
                if error != failed {
                    tracing::warn!(error, "the guardian is not installed");
                    failed = error;
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A pod is not told of its own image otherwise.
async fn own_image(options: &InstallOptions) -> Result<String, ImageError> {
    let kubeconfig = options.credentials_from.join("kubeconfig");
    let client = api::client_from_kubeconfig(&kubeconfig, &ClientOptions::default()).await?;
    let path = format!("/api/v1/namespaces/{}/pods/{}", options.namespace, options.pod_name);
    let pod = Call::get(path).object(&client, LIMIT).await?;
    let own = pod::app_containers(&pod).iter().find(|c| c["name"] == CONTAINER);
    let image = own.and_then(|c| c["image"].as_str()).map(str::to_owned);
    image.ok_or_else(|| ImageError::NoContainer(options.pod_name.clone()))
}
