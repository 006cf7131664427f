//! Under which names a kubelet may serve: a request for its certificate is approved when each of them is its own node's in
//! the API, and no other node's. Upstream approves none, since a kubelet writes the addresses of its node itself.

use api::{ApiError, Patient};
use cluster::SubjectName;
use jiff::{SignedDuration, Timestamp};
use names::{object, user};
use pki::CsrSubject;
use serde_json::Value;

use crate::requests::{self, APPROVED, DENIED};

/// The node's status may come a little later than the request.
const SOON: SignedDuration = SignedDuration::from_mins(1);

/// What a request comes to.
enum Verdict {
    Yes,
    No(String),
    /// No, unless the API learns something yet.
    NotYet(String),
}

/// Approves or denies such a request; leaves all others alone. Another guardian may have done so first. Returns whether it
/// has to be looked at again.
///
/// # Errors
/// [`ApiError`]; the request is looked at again with its next news.
pub(crate) async fn decide(api: &Patient, request: &Value) -> Result<bool, ApiError> {
    if request["spec"]["signerName"] != object::KUBELET_SERVING_SIGNER || !requests::is_undecided(request) {
        return Ok(false);
    }
    let verdict = match asked(request) {
        Ok((node, names)) => judged(api, node, &names).await?,
        Err(why) => Verdict::No(why),
    };
    let why = match verdict {
        Verdict::NotYet(_) if is_new(request, Timestamp::now()) => return Ok(true),
        Verdict::NotYet(why) | Verdict::No(why) => why,
        Verdict::Yes => {
            let why = "these are the node's own names and addresses, and nobody else's";
            return requests::decide(api, request, APPROVED, why).await.map(|_| false);
        }
    };
    if requests::decide(api, request, DENIED, &why).await?.is_some() {
        tracing::warn!(name = objects::name(request), why, "a kubelet gets no serving certificate");
    }
    Ok(false)
}

fn is_new(request: &Value, now: Timestamp) -> bool {
    let made = request["metadata"]["creationTimestamp"].as_str().and_then(|time| time.parse().ok());
    made.is_some_and(|made: Timestamp| now.duration_since(made) < SOON)
}

/// The node and the names that a request is for, or what is wrong with it.
fn asked(request: &Value) -> Result<(&str, Vec<SubjectName>), String> {
    let node = requests::kubelet(request)?;
    let CsrSubject { common_name, organizations, names } = requests::subject(request)?;
    let asks = objects::text(&request["spec"]["username"]);
    if common_name != asks || organizations != [user::NODES] {
        return Err(format!("{asks} asks for a certificate of {common_name:?}"));
    }
    if names.is_empty() { Err("it is for no name".to_owned()) } else { Ok((node, names)) }
}

/// Whether names are a node's, and nobody else's.
async fn judged(api: &Patient, node: &str, names: &[SubjectName]) -> Result<Verdict, ApiError> {
    let nodes = api.list("/api/v1/nodes", "Node").await?;
    for name in names {
        let other = nodes.iter().find(|other| objects::name(other) != node && has(other, name));
        if let Some(other) = other {
            return Ok(Verdict::No(format!("{name} is node {}'s, too", objects::name(other))));
        }
    }
    let own = nodes.iter().find(|other| objects::name(other) == node);
    let lacking = names.iter().find(|name| !own.is_some_and(|own| has(own, name)));
    Ok(lacking.map_or(Verdict::Yes, |name| Verdict::NotYet(format!("{name} is no address of node {node}"))))
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
    use serde_json::json;

    use super::*;
    use crate::requests::fixture;

    fn request(user: &str, subject: &str, names: &[&str]) -> Value {
        let name = |name: &&str| match name.parse() {
            Ok(ip) => SubjectName::Ip(ip),
            Err(_) => SubjectName::Dns((*name).to_owned()),
        };
        let subject = CsrSubject {
            common_name: subject.to_owned(),
            organizations: vec![user::NODES.to_owned()],
            names: names.iter().map(name).collect(),
        };
        fixture::request(object::KUBELET_SERVING_SIGNER, &subject, user, &json!([user::NODES]))
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
        fixture::decided(request, nodes.into(), decide).await
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
