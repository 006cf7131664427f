//! What the cluster tells a node of itself.

use std::time::Duration;

use api::{ApiError, Call, Client, FORBIDDEN};
use cluster::{ClusterConfig, KubernetesVersion};
use names::object::{KUBE_SYSTEM, NODE_CONFIG, NODE_CONFIG_KEY};
use serde_json::Value;

use crate::error::JoinError;

/// How long the API may take to answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// What a worker of the cluster is made of: a config in which all that counts on no worker has its default. Whoever may
/// write ConfigMaps of kube-system decides on it, who decides on every program of the control plane as well.
///
/// # Errors
/// [`JoinError::NoNodeConfig`], [`JoinError::NodeConfig`], [`JoinError::Api`].
pub async fn node_config(client: &Client) -> Result<ClusterConfig, JoinError> {
    let path = format!("/api/v1/namespaces/{KUBE_SYSTEM}/configmaps/{NODE_CONFIG}");
    let map = match Call::get(path).object(client, LIMIT).await {
        // Who has no right to it is told nothing of whether it is there; both come with one manifest.
        Err(error) if error.is_not_found() || error.status() == Some(FORBIDDEN) => {
            return Err(JoinError::NoNodeConfig);
        }
        map => map?,
    };
    let text = map["data"][NODE_CONFIG_KEY].as_str().ok_or(JoinError::NoNodeConfig)?;
    ClusterConfig::parse(&format!("ConfigMap {KUBE_SYSTEM}/{NODE_CONFIG}"), text)
        .map_err(JoinError::NodeConfig)
}

/// The version of the API server that answers; none when it is one that this kubestrap cannot read.
///
/// # Errors
/// When there is no answer.
pub async fn api_version(client: &Client) -> Result<Option<KubernetesVersion>, ApiError> {
    let told: Value = Call::get("/version").object(client, LIMIT).await?;
    Ok(told["gitVersion"].as_str().and_then(|version| version.parse().ok()))
}
