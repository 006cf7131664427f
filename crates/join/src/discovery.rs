//! Which cluster is at an endpoint, proven by a token and by a pin of its CA.
//!
//! ```text
//! GET cluster-info, from anybody ──▶ the CA in it is the pinned one
//!        └─ again, from who has a certificate of the pinned CA ──▶ the same text ──▶ signed with the token
//! ```
//!
//! The order is kubeadm's but for the signature, which comes last: with an API that is proven to be the cluster's, a token
//! that it does not know is told from an answer that somebody forged.

use std::time::Duration;

use ask::{Answer, Distrust};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster::{BootstrapToken, Endpoint};
use jiff::{SignedDuration, Timestamp};
use names::object::{CLUSTER_INFO, CLUSTER_INFO_KUBECONFIG, CLUSTER_INFO_SIGNATURE, KUBE_PUBLIC};
use pki::{KeyPin, PkiError};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::error::JoinError;
use crate::way::{Way, WayError, Whom};

/// How far a node's clock may be from the API server's: certificates are dated back by so much (`Backdate` of
/// pkg/controller/certificates/signer/signer.go in kubernetes), so that a new one is valid at once for both.
pub const CLOCKS_MAY_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// The controller-manager signs with a new token when it hears of it, within a second or two.
const SIGNING: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(500);

/// What somebody was given to join with.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// Where the API is.
    pub endpoint: Endpoint,
    /// The bootstrap token.
    pub token: BootstrapToken,
    /// One of these is the cluster's CA.
    pub pins: Vec<KeyPin>,
}

/// A cluster that is the one that was meant.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// Its CA, PEM.
    pub ca: String,
    /// The URL under which its nodes reach the API.
    pub server: String,
    /// What time it is there, if it says so.
    pub time: Option<Timestamp>,
}

/// Where a cluster's API is and by which pins its CA is known, of its `cluster-info`: what an invitation says.
///
/// # Errors
/// A clause that says why nobody could join with it.
pub fn address_and_pins(cluster_info: &Value) -> Result<(Endpoint, Vec<KeyPin>), String> {
    let kubeconfig = cluster_info["data"][CLUSTER_INFO_KUBECONFIG].as_str();
    let (server, ca) = cluster_of(kubeconfig.ok_or_else(|| format!("it has no {CLUSTER_INFO_KUBECONFIG}"))?)?;
    let endpoint = Endpoint::of_url(&server).ok_or_else(|| format!("its server {server}"))?;
    refuse_loopback(&endpoint).map_err(|error| error.to_string())?;
    Ok((endpoint, pki::pins(&ca).map_err(|error| format!("its CA: {error}"))?))
}

/// What `cluster-info` has.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    kubeconfig: String,
    ca: String,
    server: String,
    signature: Option<String>,
    time: Option<Timestamp>,
}

/// Finds out whether the cluster at an endpoint is the one that was meant. Nothing that it says is used before.
///
/// # Errors
/// [`JoinError`].
pub async fn discover(way: &dyn Way, invitation: &Invitation) -> Result<Trusted, JoinError> {
    let Invitation { endpoint, pins, .. } = invitation;
    refuse_loopback(endpoint)?;
    let unreachable =
        |source| JoinError::Unreachable { endpoint: endpoint.clone(), source: Box::new(source) };
    let answer = way.ask(endpoint, &cluster_info_path(), Whom::Anybody).await.map_err(unreachable)?;
    let first = read(invitation, &answer)?;
    let malformed = |why: String| JoinError::Malformed { endpoint: endpoint.clone(), why };
    let bad_ca = |error: PkiError| malformed(format!("its CA: {error}"));
    // Whoever is in between may put a CA of his own beside a pinned one.
    let pinned = pki::pinned(&first.ca, pins).map_err(bad_ca)?;
    if pinned.is_empty() {
        let found = pki::pins(&first.ca).map_err(bad_ca)?;
        return Err(JoinError::OtherAuthority { endpoint: endpoint.clone(), found, wanted: pins.clone() });
    }
    let signed = signed(way, invitation, &first, &pinned).await?;
    refuse_loopback(
        &Endpoint::of_url(&signed.server)
            .ok_or_else(|| malformed(format!("its server {}", signed.server)))?,
    )?;
    Ok(Trusted { ca: signed.ca, server: signed.server, time: signed.time })
}

/// The same from who has a certificate of a pinned CA, with the token's signature, which may not be there at once.
async fn signed(
    way: &dyn Way,
    invitation: &Invitation,
    first: &Info,
    pinned: &str,
) -> Result<Info, JoinError> {
    let Invitation { endpoint, token, .. } = invitation;
    let began = Instant::now();
    loop {
        let answer = way.ask(endpoint, &cluster_info_path(), Whom::Signed(pinned)).await;
        let answer = answer.map_err(|error| untrusted(endpoint, error, first.time))?;
        let again = read(invitation, &answer)?;
        if again.kubeconfig != first.kubeconfig {
            return Err(JoinError::Tampered { endpoint: endpoint.clone() });
        }
        if let Some(signature) = &again.signature {
            let wrong = |_| JoinError::WrongToken { id: token.id().to_owned() };
            pki::check_signature(signature, &again.kubeconfig, token).map_err(wrong)?;
            return Ok(again);
        }
        if began.elapsed() >= SIGNING {
            return Err(JoinError::UnknownToken { id: token.id().to_owned() });
        }
        sleep(PAUSE).await;
    }
}

/// Why the API was not taken for the cluster's.
fn untrusted(endpoint: &Endpoint, error: WayError, there: Option<Timestamp>) -> JoinError {
    let endpoint = endpoint.clone();
    let distrust = if let WayError::Ask(error) = &error { error.distrust() } else { None };
    let source = Box::new(error);
    match distrust {
        Some(Distrust::TooEarly | Distrust::TooLate) => {
            let here = Timestamp::now();
            let far = |there: &Timestamp| here.duration_since(*there).abs() > CLOCKS_MAY_DIFFER;
            match there.filter(far) {
                Some(there) => JoinError::Clocks { here: whole(here), there },
                None => JoinError::CertificateEnded { endpoint, source },
            }
        }
        Some(Distrust::Name) => JoinError::OtherName { endpoint, source },
        Some(Distrust::Issuer) => JoinError::Impostor { endpoint, source },
        None => JoinError::Unreachable { endpoint, source },
    }
}

/// The time in whole seconds, as the API writes it.
fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn refuse_loopback(endpoint: &Endpoint) -> Result<(), JoinError> {
    if endpoint.host().leads_here() {
        Err(JoinError::Loopback { endpoint: endpoint.clone() })
    } else {
        Ok(())
    }
}

/// The path of `cluster-info`.
pub fn cluster_info_path() -> String {
    format!("/api/v1/namespaces/{KUBE_PUBLIC}/configmaps/{CLUSTER_INFO}")
}

fn read(invitation: &Invitation, answer: &Answer) -> Result<Info, JoinError> {
    let Invitation { endpoint, token, .. } = invitation;
    if answer.status != 200 {
        return Err(JoinError::NotShown { endpoint: endpoint.clone(), status: answer.status });
    }
    let malformed = |why: String| JoinError::Malformed { endpoint: endpoint.clone(), why };
    let map: Value = serde_json::from_str(&answer.body).map_err(|error| malformed(error.to_string()))?;
    let entry = |key: &str| map["data"][key].as_str().map(str::to_owned);
    let kubeconfig = entry(CLUSTER_INFO_KUBECONFIG)
        .ok_or_else(|| malformed(format!("it has no {CLUSTER_INFO_KUBECONFIG}")))?;
    let (server, ca) = cluster_of(&kubeconfig).map_err(malformed)?;
    let date = answer.date.as_deref();
    Ok(Info {
        server,
        ca,
        signature: entry(&format!("{CLUSTER_INFO_SIGNATURE}{}", token.id())),
        time: date.and_then(|date| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()),
        kubeconfig,
    })
}

/// The server and the CA of the one cluster of a kubeconfig.
fn cluster_of(kubeconfig: &str) -> Result<(String, String), String> {
    let config: Value = cluster::yaml::from_str(kubeconfig).map_err(|error| error.to_string())?;
    let [only] = objects::items(&config["clusters"]) else {
        return Err("its kubeconfig is not of one cluster".to_owned());
    };
    let field = |name: &str| {
        let text = only["cluster"][name].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("its kubeconfig has no {name}"))
    };
    let ca =
        BASE64.decode(field("certificate-authority-data")?).map_err(|error| format!("its CA: {error}"))?;
    let ca = String::from_utf8(ca).map_err(|error| format!("its CA: {error}"))?;
    Ok((field("server")?.to_owned(), ca))
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
