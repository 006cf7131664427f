//! Who may become a node: a request for a kubelet's certificate that was made with a bootstrap token is approved when
//! nobody has that node's name. Upstream's approver does not ask, so that whoever has a token gets the certificate of any
//! node, a control-plane node's as well.

use api::{ApiError, Patient};
use jiff::Timestamp;
use join::requests::holders;
use names::{object, user};
use serde_json::Value;

use crate::requests::{self, APPROVED, DENIED, REQUESTS};

/// Approves or denies such a request; leaves all others alone. Another guardian may have done so first.
///
/// # Errors
/// [`ApiError`]; the request is looked at again with its next news.
pub(crate) async fn decide(api: &Patient, request: &Value) -> Result<(), ApiError> {
    if !is_ours(request) {
        return Ok(());
    }
    let name = objects::name(request);
    let why = match named(request) {
        Ok(node) => taken(api, request, &node).await?,
        Err(why) => Some(why),
    };
    let (kind, why) = match &why {
        None => (APPROVED, "nobody has this node's name"),
        Some(why) => (DENIED, why.as_str()),
    };
    if requests::decide(api, request, kind, why).await?.is_some() {
        tracing::info!(name, kind, why, "a node that joins");
    }
    Ok(())
}

/// Made with a bootstrap token, and not decided yet.
fn is_ours(request: &Value) -> bool {
    let spec = &request["spec"];
    let joins = objects::items(&spec["groups"]).iter().any(|group| group == user::JOINING_NODES);
    spec["signerName"] == object::KUBELET_CLIENT_SIGNER
        && objects::text(&spec["username"]).starts_with(user::BOOTSTRAP_PREFIX)
        && joins
        && requests::is_undecided(request)
}

/// The node that a request is for, or what is wrong with it.
fn named(request: &Value) -> Result<String, String> {
    let subject = requests::subject(request)?;
    let node = subject.common_name.strip_prefix(user::NODE_PREFIX).filter(|node| !node.is_empty());
    match node {
        Some(node) if subject.organizations == [user::NODES] => Ok(node.to_owned()),
        _ => {
            Err(format!("a token is for a kubelet's certificate, and this one is {:?}", subject.common_name))
        }
    }
}

/// Who has the name already.
async fn taken(api: &Patient, request: &Value, node: &str) -> Result<Option<String>, ApiError> {
    if requests::node(api, node).await?.is_some() {
        let remedy = format!("join under another name, or first: kubectl delete node {node}");
        return Ok(Some(format!("there is a node {node} already: {remedy}")));
    }
    let others = api.list(REQUESTS, "CertificateSigningRequest").await?;
    let others = others.iter().filter(|other| other["metadata"]["uid"] != request["metadata"]["uid"]);
    let holders = holders(others, node, Timestamp::now());
    Ok((!holders.is_empty()).then(|| {
        format!(
            "a certificate for node {node} was issued to {}: if that is not in use, kubectl delete csr {}",
            holders.join(", "),
            holders.join(" ")
        )
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use fakes::cluster::Objects;
    use pki::{Authority, CsrSubject, Leaf, Terms};
    use serde_json::json;

    use super::*;
    use crate::requests::fixture;

    fn request(common_name: &str, user: &str, groups: &Value) -> Value {
        let subject = CsrSubject {
            common_name: common_name.to_owned(),
            organizations: vec![user::NODES.to_owned()],
            names: Vec::new(),
        };
        fixture::request(object::KUBELET_CLIENT_SIGNER, &subject, user, groups)
    }

    fn joining() -> Value {
        json!([user::JOINING_NODES, "system:bootstrappers"])
    }

    fn of_node(node: &str) -> Value {
        request(&format!("{}{node}", user::NODE_PREFIX), "system:bootstrap:abcdef", &joining())
    }

    async fn decided(request: &Value, more: Objects) -> (String, String) {
        let (kind, why, ()) = fixture::decided(request, more, decide).await;
        (kind, why)
    }

    #[tokio::test]
    async fn a_free_name_is_given() {
        let (kind, _) = decided(&of_node("new"), Objects::new()).await;
        assert_eq!(kind, APPROVED);
    }

    #[tokio::test]
    async fn a_name_that_somebody_has_is_not() {
        let node = (String::from("/api/v1/nodes/first"), json!({"metadata": {"name": "first"}}));
        let (kind, why) = decided(&of_node("first"), Objects::from([node])).await;
        assert_eq!((kind.as_str(), why.contains("kubectl delete node first")), (DENIED, true), "{why}");
        let terms = Terms {
            algorithm: cluster::KeyAlgorithm::EcdsaP256,
            validity: Duration::from_hours(1),
            now: Timestamp::now(),
        };
        let ca = Authority::generate("kubernetes", terms).unwrap();
        let certificate = ca.issue(&Leaf::kubelet("new"), terms).unwrap().cert_pem;
        let other = json!({"metadata": {"name": "csr-y", "uid": "2"},
            "status": {"certificate": BASE64.encode(certificate)}});
        let others = Objects::from([(format!("{REQUESTS}/csr-y"), other)]);
        let (kind, why) = decided(&of_node("new"), others.clone()).await;
        assert_eq!((kind.as_str(), why.contains("csr-y")), (DENIED, true), "{why}");
        assert_eq!(decided(&of_node("newer"), others).await.0, APPROVED);
    }

    #[tokio::test]
    async fn a_token_gets_no_other_certificate() {
        let (kind, why) =
            decided(&request("kubernetes-admin", "system:bootstrap:abcdef", &joining()), Objects::new())
                .await;
        assert_eq!((kind.as_str(), why.contains("kubernetes-admin")), (DENIED, true), "{why}");
    }

    #[tokio::test]
    async fn what_others_decide_is_left_alone() {
        for (user, groups) in [
            ("system:node:first", json!([user::NODES])),
            ("system:bootstrap:abcdef", json!(["system:bootstrappers"])),
            ("somebody", joining()),
        ] {
            let (kind, _) = decided(&request("system:node:new", user, &groups), Objects::new()).await;
            assert_eq!(kind, "", "{user}");
        }
        let mut done = of_node("new");
        done["status"] = json!({"conditions": [{"type": APPROVED, "message": "by hand"}]});
        assert_eq!(decided(&done, Objects::new()).await.1, "by hand");
    }
}
