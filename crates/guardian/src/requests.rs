//! CertificateSigningRequests: what they say, and how one is decided.

use api::{ApiError, Call, Patient};
pub(crate) use join::requests::{APPROVED, DENIED, FAILED, REQUESTS, condition, decoded, subject};
use names::user;
use serde_json::{Value, json};

/// Who decided, as a condition says it.
const REASON: &str = "KubestrapGuardian";

/// Whether nobody has said yes or no to a request yet.
pub(crate) fn is_undecided(request: &Value) -> bool {
    [APPROVED, DENIED, FAILED].iter().all(|kind| condition(request, kind).is_none())
}

/// The node whose kubelet asks, as the API wrote it down, or why it is none's.
pub(crate) fn kubelet(request: &Value) -> Result<&str, String> {
    let spec = &request["spec"];
    let asks = objects::text(&spec["username"]);
    let of_nodes = objects::items(&spec["groups"]).iter().any(|group| group == user::NODES);
    let node = asks.strip_prefix(user::NODE_PREFIX).filter(|node| of_nodes && !node.is_empty());
    node.ok_or_else(|| format!("{asks} is no kubelet"))
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

/// A request among other objects of the API, for the tests of those who decide.
#[cfg(test)]
pub(crate) mod fixture {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use fakes::cluster::{Cluster, Objects};
    use pki::CsrSubject;

    use super::*;

    const NAME: &str = "csr-x";

    /// A request that somebody makes.
    pub(crate) fn request(signer: &str, subject: &CsrSubject, user: &str, groups: &Value) -> Value {
        let (_, csr) = pki::new_csr(subject, cluster::KeyAlgorithm::EcdsaP256).unwrap();
        json!({"metadata": {"name": NAME, "uid": "1", "resourceVersion": "1"}, "spec": {
            "signerName": signer, "username": user, "groups": groups, "request": BASE64.encode(csr)}})
    }

    /// What becomes of it: the kind and the message of its condition, and what who decides returns.
    pub(crate) async fn decided<T>(
        request: &Value,
        others: Objects,
        decide: impl AsyncFnOnce(&Patient, &Value) -> Result<T, ApiError>,
    ) -> (String, String, T) {
        let path = format!("{REQUESTS}/{NAME}");
        let api = Cluster::new(others.into_iter().chain([(path.clone(), request.clone())]).collect());
        let returned = decide(&Patient::new(api.client()), request).await.unwrap();
        let after = api.objects()[&path].clone();
        let condition = &after["status"]["conditions"][0];
        let text = |name: &str| objects::text(&condition[name]).to_owned();
        (text("type"), text("message"), returned)
    }
}
