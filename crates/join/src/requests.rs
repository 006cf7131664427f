//! Requests for kubelets' certificates, as whoever joins and whoever decides reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use names::user;
use pki::CsrSubject;
use serde_json::Value;

/// All of them, as a list of the API's.
pub const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
// Conditions of one (staging/src/k8s.io/api/certificates/v1/types.go).
/// Somebody said no.
pub const DENIED: &str = "Denied";
/// Somebody said yes.
pub const APPROVED: &str = "Approved";
/// The signer could not.
pub const FAILED: &str = "Failed";

/// The message of a condition that a request has.
pub fn condition<'a>(request: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = objects::items(&request["status"]["conditions"]);
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(objects::text(&found["message"]))
}

/// Whom and what a request is for.
///
/// # Errors
/// A clause that says what is wrong with it.
pub fn subject(request: &Value) -> Result<CsrSubject, String> {
    let csr = decoded(&request["spec"]["request"]).ok_or("it has no request")?;
    pki::csr_subject(&csr).map_err(|error| error.to_string())
}

/// A field of bytes as text; none when it is empty.
pub fn decoded(field: &Value) -> Option<String> {
    let bytes = BASE64.decode(field.as_str()?).ok().filter(|bytes| !bytes.is_empty())?;
    String::from_utf8(bytes).ok()
}

/// The names of those requests that were answered with a certificate of that node that is valid yet.
pub fn holders<'a>(requests: impl Iterator<Item = &'a Value>, node: &str, now: Timestamp) -> Vec<&'a str> {
    requests.filter(|request| holds(request, node, now)).map(objects::name).collect()
}

/// Whether a request was answered with a certificate of that node that is valid yet.
fn holds(request: &Value, node: &str, now: Timestamp) -> bool {
    let certificate = decoded(&request["status"]["certificate"]);
    let Some(info) = certificate.and_then(|pem| pki::inspect(&pem).ok()) else { return false };
    let name = format!("{}{node}", user::NODE_PREFIX);
    info.common_name.as_deref() == Some(name.as_str())
        && info.organizations == [user::NODES]
        && info.not_after > now
}
