//! CertificateSigningRequests: what they say, and how one is decided.

use api::{ApiError, Call, Patient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// All of them, as a list of the API's.
pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
// Conditions of one (staging/src/k8s.io/api/certificates/v1/types.go).
pub(crate) const DENIED: &str = "Denied";
pub(crate) const APPROVED: &str = "Approved";
pub(crate) const FAILED: &str = "Failed";
/// Who decided, as a condition says it.
const REASON: &str = "KubestrapGuardian";

/// The message of a condition that a request has.
pub(crate) fn condition<'a>(request: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = objects::items(&request["status"]["conditions"]);
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(objects::text(&found["message"]))
}

/// A field of bytes as text; none when it is empty.
pub(crate) fn decoded(field: &Value) -> Option<String> {
    let bytes = BASE64.decode(field.as_str()?).ok().filter(|bytes| !bytes.is_empty())?;
    String::from_utf8(bytes).ok()
}

/// The node of that name; none when there is none.
pub(crate) async fn node(api: &Patient, name: &str) -> Result<Option<Value>, ApiError> {
    api.get_once(&format!("/api/v1/nodes/{name}")).await
}

/// Says yes or no; none when another guardian was faster.
pub(crate) async fn decide(
    api: &Patient,
    request: &Value,
    kind: &str,
    why: &str,
) -> Result<Option<Value>, ApiError> {
    if condition(request, kind).is_some() {
        return Ok(Some(request.clone()));
    }
    let mut decided = request.clone();
    let condition = json!({"type": kind, "status": "True", "reason": REASON, "message": why});
    match decided["status"]["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(condition),
        None => decided["status"] = json!({"conditions": [condition]}),
    }
    put(api, &decided, "approval").await
}

/// Writes a part of a request; none when it is another one by now.
pub(crate) async fn put(api: &Patient, request: &Value, part: &str) -> Result<Option<Value>, ApiError> {
    let path = format!("{REQUESTS}/{}/{part}", objects::name(request));
    match api.send_once(&Call::put(path, request)).await {
        Err(error) if error.status() == Some(api::CONFLICT) || error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}
