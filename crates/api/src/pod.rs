//! What is done to one very pod: a name says nothing about who has it by now, so each request carries the
//! pod's UID.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Client;
use crate::call::Call;
use crate::error::ApiError;

/// The pods of a node, in all namespaces.
///
/// # Errors
/// [`ApiError`] when the API does not answer, or refuses.
pub async fn pods_of_node(client: &Client, node: &str, limit: Duration) -> Result<Vec<Value>, ApiError> {
    let path = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}");
    let mut list = Call::get(path).object(client, limit).await?;
    Ok(match list["items"].take() {
        Value::Array(pods) => pods,
        _ => Vec::new(),
    })
}

/// Sets a condition of that very pod; the others stay. `why` is reason and message.
///
/// # Errors
/// [`ApiError`] when the API does not answer, or refuses; [`CONFLICT`](crate::CONFLICT) when it is another pod by now.
pub async fn set_condition(
    client: &Client,
    (namespace, name, uid): (&str, &str, &str),
    kind: &str,
    value: bool,
    (reason, message): (&str, &str),
    limit: Duration,
) -> Result<(), ApiError> {
    let status = if value { "True" } else { "False" };
    // metav1.Time has whole seconds.
    let time = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let condition = json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": time.to_string()});
    // Conditions are merged by their type.
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
    Call::strategic_merge(path, &patch).object(client, limit).await.map(drop)
}

/// Removes that very pod from the API, at once: for the image of one that has ended on its node.
///
/// # Errors
/// As [`set_condition`].
pub async fn delete_pod(
    client: &Client,
    (namespace, name, uid): (&str, &str, &str),
    limit: Duration,
) -> Result<(), ApiError> {
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        "preconditions": {"uid": uid}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    match Call::delete_with(path, &options).object(client, limit).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
