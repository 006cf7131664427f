//! A guardian answers a node that asks for the control plane's keys: only to a kubelet, only for its own node, only if an
//! administrator has given that node the label, and so that nobody but that node can read it.

use api::{ApiError, Patient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use names::{label, object, path};
use pki::SealError;
use serde_json::{Value, json};

use super::disk::{Keys, KeysError};
use crate::requests::{self, APPROVED, DENIED, FAILED, condition, decide, decoded, put};

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Seal(#[from] SealError),
    /// This guardian has no certificate to answer with.
    #[error("{} has no client certificate inside", path::GUARDIAN_CREDENTIALS)]
    NoIdentity,
}

/// Whether a request is one that somebody has to answer yet.
fn is_open(request: &Value) -> bool {
    request["spec"]["signerName"] == object::CONTROL_PLANE_KEYS_SIGNER
        && decoded(&request["status"]["certificate"]).is_none()
        && [DENIED, FAILED].iter().all(|kind| condition(request, kind).is_none())
}

/// Answers a request, or says no to it, for everybody to read. Another guardian may have done so first.
pub(crate) async fn answer(api: &Patient, keys: &Keys, request: &Value) -> Result<(), AnswerError> {
    if !is_open(request) {
        return Ok(());
    }
    match judged(api, request).await? {
        Ok(node) => {
            let certificate = seal(keys, request)?;
            let approved = decide(api, request, APPROVED, "an administrator gave the node the label").await?;
            let Some(mut approved) = approved else { return Ok(()) };
            approved["status"]["certificate"] = json!(BASE64.encode(certificate));
            if put(api, &approved, "status").await?.is_some() {
                tracing::info!(
                    node,
                    "the control plane's keys were sealed for a node that has got the label"
                );
            }
        }
        Err(why) => {
            if decide(api, request, DENIED, &why).await?.is_some() {
                let name = objects::name(request);
                tracing::warn!(name, why, "a request for the control plane's keys was denied");
            }
        }
    }
    Ok(())
}

/// The node that asks, or why it gets nothing.
async fn judged(api: &Patient, request: &Value) -> Result<Result<String, String>, ApiError> {
    let node = match requests::kubelet(request).and_then(|node| Ok((node, requests::subject(request)?))) {
        Ok((node, subject)) if subject.common_name == node => node,
        Ok((_, subject)) => {
            let asks = objects::text(&request["spec"]["username"]);
            return Ok(Err(format!("{asks} asks for another node's: {}", subject.common_name)));
        }
        Err(why) => return Ok(Err(why)),
    };
    let Some(found) = requests::node(api, node).await? else {
        return Ok(Err(format!("there is no node {node}")));
    };
    if found["metadata"]["labels"].get(label::CONTROL_PLANE_NODE).is_none() {
        return Ok(Err(format!("node {node} has no label {}", label::CONTROL_PLANE_NODE)));
    }
    Ok(Ok(node.to_owned()))
}

fn seal(keys: &Keys, request: &Value) -> Result<String, AnswerError> {
    let tree = keys.read()?;
    let signer = assets::guardian_identity(&tree).ok_or(AnswerError::NoIdentity)?;
    let csr = decoded(&request["spec"]["request"]).unwrap_or_default();
    Ok(pki::seal(&csr, &signer, tree.shared().to_text().as_bytes(), Timestamp::now())?)
}
