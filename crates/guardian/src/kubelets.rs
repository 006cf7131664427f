//! Under which names a kubelet may serve: a request for its certificate is approved when each of them is its own node's in
//! the API, and no other node's. Upstream approves none, since a kubelet writes the addresses of its node itself.

use api::{ApiError, Patient};
use cluster::SubjectName;
use jiff::{SignedDuration, Timestamp};
use names::{object, user};
use serde_json::Value;

use crate::requests::{self, APPROVED, DENIED, FAILED, condition, decoded};

/// The node's status may come a little later than the request.
const SOON: SignedDuration = SignedDuration::from_mins(1);

/// Approves or denies such a request; leaves all others alone. Another guardian may have done so first. Returns whether it
/// has to be looked at again.
///
/// # Errors
/// [`ApiError`]; the request is looked at again with its next news.
pub(crate) async fn decide(api: &Patient, request: &Value) -> Result<bool, ApiError> {
    if !is_ours(request) {
        return Ok(false);
    }
    let why = match asked(request) {
        Ok((node, names)) => match judged(api, &node, &names).await? {
            Err(Unknown(_)) if is_new(request, Timestamp::now()) => return Ok(true),
            Err(Unknown(why)) => Some(why),
            Ok(why) => why,
        },
        Err(why) => Some(why),
    };
    let (kind, why) = match &why {
        None => (APPROVED, "these are the node's own names and addresses, and nobody else's"),
        Some(why) => (DENIED, why.as_str()),
    };
    if requests::decide(api, request, kind, why).await?.is_some() && kind == DENIED {
        tracing::warn!(name = objects::name(request), why, "a kubelet gets no serving certificate");
    }
    Ok(false)
}

/// A kubelet's own, and not decided yet.
fn is_ours(request: &Value) -> bool {
    let spec = &request["spec"];
    spec["signerName"] == object::KUBELET_SERVING_SIGNER
        && [APPROVED, DENIED, FAILED].iter().all(|kind| condition(request, kind).is_none())
}

fn is_new(request: &Value, now: Timestamp) -> bool {
    let made = request["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse().ok());
    made.is_some_and(|made: Timestamp| now.duration_since(made) < SOON)
}

/// The node and the names that a request is for, or what is wrong with it.
fn asked(request: &Value) -> Result<(String, Vec<SubjectName>), String> {
    let spec = &request["spec"];
    let asks = objects::text(&spec["username"]);
    let of_nodes = objects::items(&spec["groups"]).iter().any(|group| group == user::NODES);
    let node = asks.strip_prefix(user::NODE_PREFIX).filter(|node| of_nodes && !node.is_empty());
    let node = node.ok_or_else(|| format!("{asks} is no kubelet"))?;
    let csr = decoded(&spec["request"]).ok_or("it has no request")?;
    let subject = pki::csr_subject(&csr).map_err(|error| error.to_string())?;
    if subject.common_name != asks || subject.organizations != [user::NODES] {
        return Err(format!("{asks} asks for a certificate of {:?}", subject.common_name));
    }
    let names = pki::csr_names(&csr).map_err(|error| error.to_string())?;
    if names.is_empty() { Err("it is for no name".to_owned()) } else { Ok((node.to_owned(), names)) }
}

/// The API does not know yet that a name is the node's.
struct Unknown(String);

/// What speaks against a node's names, if anything does.
async fn judged(
    api: &Patient,
    node: &str,
    names: &[SubjectName],
) -> Result<Result<Option<String>, Unknown>, ApiError> {
    let nodes = api.list("/api/v1/nodes", "Node").await?;
    for name in names {
        let other = nodes.iter().find(|other| objects::name(other) != node && has(other, name));
        if let Some(other) = other {
            return Ok(Ok(Some(format!("{name} is node {}'s, too", objects::name(other)))));
        }
    }
    let own = nodes.iter().find(|other| objects::name(other) == node);
    let lacking = names.iter().find(|name| !own.is_some_and(|own| has(own, name)));
    Ok(lacking.map_or(Ok(None), |name| Err(Unknown(format!("{name} is no address of node {node}")))))
}

/// Whether a node has a name or an address, by its status.
fn has(node: &Value, name: &SubjectName) -> bool {
    let addresses = objects::items(&node["status"]["addresses"]);
    addresses.iter().any(|address| {
        let text = objects::text(&address["address"]);
        match name {
            SubjectName::Ip(ip) => text.parse() == Ok(*ip),
            SubjectName::Dns(dns) => text.eq_ignore_ascii_case(dns),
        }
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use fakes::cluster::{Cluster, Objects};
    use serde_json::json;

    use super::*;
    use crate::requests::REQUESTS;

    const NAME: &str = "csr-x";

    fn request(user: &str, subject: &str, names: &[&str]) -> Value {
        let mut params =
            rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, user::NODES);
        params.distinguished_name.push(rcgen::DnType::CommonName, subject);
        let csr = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        json!({"metadata": {"name": NAME, "resourceVersion": "1"}, "spec": {
            "signerName": object::KUBELET_SERVING_SIGNER, "username": user, "groups": [user::NODES],
            "request": BASE64.encode(csr)}})
    }

    fn node(name: &str, addresses: &[&str]) -> (String, Value) {
        let addresses: Vec<_> =
            addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
        (
            format!("/api/v1/nodes/{name}"),
            json!({"metadata": {"name": name}, "status": {"addresses": addresses}}),
        )
    }

    /// What becomes of it: the kind and the message of its condition, and whether it is looked at again.
    async fn decided(request: &Value) -> (String, String, bool) {
        let nodes =
            [node("a", &["192.0.2.1", "fd00::1", "a", "a.example.org"]), node("b", &["192.0.2.2", "b"])];
        let path = format!("{REQUESTS}/{NAME}");
        let objects: Objects = nodes.into_iter().chain([(path.clone(), request.clone())]).collect();
        let api = Cluster::new(objects);
        let again = decide(&Patient::new(api.client()), request).await.unwrap();
        let after = api.objects()[&path].clone();
        let condition = &after["status"]["conditions"][0];
        (objects::text(&condition["type"]).to_owned(), objects::text(&condition["message"]).to_owned(), again)
    }

    #[tokio::test]
    async fn its_own_names_are_approved() {
        let own = request("system:node:a", "system:node:a", &["192.0.2.1", "fd00::1", "a", "A.example.org"]);
        assert_eq!(decided(&own).await.0, APPROVED);
    }

    #[tokio::test]
    async fn what_is_another_s_or_nobody_s_is_denied() {
        let of = |names: &[&str]| request("system:node:a", "system:node:a", names);
        for (request, says) in [
            (of(&["a", "192.0.2.2"]), "192.0.2.2 is node b's"),
            (of(&["a", "192.0.2.3"]), "192.0.2.3 is no address of node a"),
            (of(&["kubernetes.default.svc"]), "no address of node a"),
            (of(&[]), "for no name"),
            (request("system:node:a", "system:node:b", &["b"]), "asks for a certificate of"),
            (request("somebody", "system:node:a", &["a"]), "is no kubelet"),
        ] {
            let (kind, why, again) = decided(&request).await;
            assert_eq!((kind.as_str(), why.contains(says), again), (DENIED, true, false), "{why}");
        }
    }

    #[tokio::test]
    async fn a_node_s_status_may_come_a_little_later() {
        let mut early = request("system:node:a", "system:node:a", &["192.0.2.3"]);
        early["metadata"]["creationTimestamp"] = json!(Timestamp::now().to_string());
        assert_eq!(decided(&early).await, (String::new(), String::new(), true));
    }

    #[tokio::test]
    async fn other_requests_are_left_alone() {
        let mut other = request("system:node:a", "system:node:a", &["192.0.2.2"]);
        other["spec"]["signerName"] = json!(object::KUBELET_CLIENT_SIGNER);
        assert_eq!(decided(&other).await, (String::new(), String::new(), false));
        let mut done = request("system:node:a", "system:node:a", &["192.0.2.2"]);
        done["status"] = json!({"conditions": [{"type": APPROVED, "message": "by hand"}]});
        assert_eq!(decided(&done).await.1, "by hand");
    }
}
