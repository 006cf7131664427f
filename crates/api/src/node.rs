//! Labels of a node: they make it a control-plane node.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Client;
use serde_json::json;

use crate::call::Call;
use crate::error::ApiError;

/// Sets labels of a node; the others stay. `None` removes one.
pub async fn label_node(
    client: &Client,
    node: &str,
    labels: &BTreeMap<String, Option<String>>,
    limit: Duration,
) -> Result<(), ApiError> {
    let patch = json!({"metadata": {"labels": labels}});
    Call::merge(format!("/api/v1/nodes/{node}"), &patch).object(client, limit).await.map(drop)
}
