//! Labels of a node: they make it a control-plane node.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use kube::Client;
use serde_json::json;

use crate::error::ApiError;
use crate::request::Call;

/// Sets labels of a node; the others stay. `None` removes one.
pub async fn label_node(
    client: &Client,
    node: &str,
    labels: &BTreeMap<String, Option<String>>,
    limit: Duration,
) -> Result<(), ApiError> {
    let patch = json!({"metadata": {"labels": labels}});
    let call = Call {
        method: Method::PATCH,
        path: format!("/api/v1/nodes/{node}"),
        content_type: "application/merge-patch+json",
        body: patch.to_string().into_bytes(),
    };
    call.json(client, limit).await.map(|_| ())
}
