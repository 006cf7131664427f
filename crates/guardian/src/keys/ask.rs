//! A node that has got the label asks for the control plane's keys: by a request of a signer of ours, as its kubelet, whose
//! certificate proves which node it is. The API itself writes down who asked.

use api::{ApiError, Call, Patient};
use assets::AssetTree;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use names::object;
use pki::{KeyRequest, NodeIdentity, PkiError, SealError};
use serde_json::{Value, json};

use super::disk::{Keys, KeysError};
use crate::requests::{DENIED, REQUESTS, condition, decoded};

/// Why there are no keys yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The answer is not one that this node asked for.
    #[error("the answer to {request}")]
    Answer {
        request: String,
        #[source]
        source: SealError,
    },
    /// What was sealed is no set of keys.
    #[error("what was sent in answer to {0} is no set of keys")]
    Odd(String),
    /// A guardian said no. The request is forgotten, and the next try makes another one.
    #[error("{request} was denied: {why}")]
    Denied { request: String, why: String },
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Nobody has answered this request yet.
    Waiting(String),
    /// All are on the disk.
    Done,
}

/// Asks, or looks whether there is an answer. Can be killed at any moment and called again.
pub(crate) async fn ask(api: &Patient, keys: &Keys, node: &NodeIdentity) -> Result<Asking, AskError> {
    let request = request(keys, &node.name)?;
    let name = format!("kubestrap-{}-{}", node.name, request.id);
    let path = format!("{REQUESTS}/{name}");
    let found = match api.get_once(&path).await? {
        Some(found) => found,
        None => api.send_once(&Call::post(REQUESTS, &signing_request(&name, &request))).await?,
    };
    if let Some(why) = condition(&found, DENIED) {
        keys.forget_request()?;
        return Err(AskError::Denied { request: name, why: why.to_owned() });
    }
    let Some(certificate) = decoded(&found["status"]["certificate"]) else {
        return Ok(Asking::Waiting(name));
    };
    let opened = pki::open(&certificate, &request.key_pem, &node.name, &keys.ca()?, Timestamp::now());
    let opened = opened.map_err(|source| AskError::Answer { request: name.clone(), source })?;
    let shared = AssetTree::from_text(&opened).ok_or_else(|| AskError::Odd(name))?;
    keys.put(&shared, node, Timestamp::now())?;
    keys.forget_request()?;
    Ok(Asking::Done)
}

/// The request that was begun, or a new one. Its key is on the disk before anybody hears of it.
fn request(keys: &Keys, node: &str) -> Result<KeyRequest, AskError> {
    if let Some(Ok(kept)) = keys.request_key().map(|pem| KeyRequest::of_key(node, &pem)) {
        return Ok(kept);
    }
    let new = KeyRequest::new(node)?;
    keys.keep_request_key(&new.key_pem)?;
    Ok(new)
}

fn signing_request(name: &str, request: &KeyRequest) -> Value {
    json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": BASE64.encode(&request.csr_pem),
            "signerName": object::CONTROL_PLANE_KEYS_SIGNER,
            "usages": ["key agreement"],
        },
    })
}
