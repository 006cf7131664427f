//! Whether a name is nobody's: a bootstrap token may look.

use api::{Call, Client};
use jiff::Timestamp;
use names::condition::READY;
use serde_json::Value;

use crate::error::JoinError;
use crate::requests::{REQUESTS, holders};
use crate::told::LIMIT;

/// Whether this host may become the node of that name. It has no certificate of that node.
///
/// # Errors
/// [`JoinError::NameTaken`], [`JoinError::NameIssued`], [`JoinError::Api`].
pub async fn name_is_free(client: &Client, node: &str) -> Result<(), JoinError> {
    match Call::get(format!("/api/v1/nodes/{node}")).object(client, LIMIT).await {
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
        Ok(found) => {
            let alive = objects::condition(&found, READY) == Some(true);
            return Err(JoinError::NameTaken { node: node.to_owned(), alive, addresses: addresses(&found) });
        }
    }
    let all = Call::get(REQUESTS).object(client, LIMIT).await?;
    let now = Timestamp::now();
    let held = holders(objects::items(&all["items"]).iter(), node, now);
    let requests: Vec<String> = held.into_iter().map(str::to_owned).collect();
    if requests.is_empty() { Ok(()) } else { Err(JoinError::NameIssued { node: node.to_owned(), requests }) }
}

fn addresses(node: &Value) -> Vec<String> {
    let all = objects::items(&node["status"]["addresses"]).iter();
    let of = all.filter(|address| address["type"] == "InternalIP");
    of.map(|address| objects::text(&address["address"]).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use fakes::cluster::Cluster;
    use jiff::SignedDuration;
    use pki::{Authority, Leaf, Terms};
    use serde_json::json;

    use super::*;

    fn terms(now: Timestamp) -> Terms {
        let (algorithm, validity) = (cluster::KeyAlgorithm::EcdsaP256, Duration::from_hours(1));
        Terms { algorithm, validity, now }
    }

    #[tokio::test]
    async fn a_name_is_nobody_s_when_no_node_and_no_certificate_has_it() {
        let cluster = Cluster::default();
        let ca = Authority::generate("kubernetes", terms(Timestamp::now())).unwrap();
        let issued = |request: &str, node: &str, when: Timestamp| {
            let certificate = ca.issue(&Leaf::kubelet(node), terms(when)).unwrap().cert_pem;
            let request =
                json!({"metadata": {"name": request}, "status": {"certificate": BASE64.encode(certificate)}});
            cluster.put(&format!("{REQUESTS}/{}", objects::name(&request)), request);
        };
        issued("csr-other", "b", Timestamp::now());
        issued("csr-second", "c", Timestamp::now());
        issued("csr-third", "c", Timestamp::now());
        issued("csr-ended", "a", Timestamp::now() - SignedDuration::from_hours(2));
        cluster.put(&format!("{REQUESTS}/csr-open"), json!({"metadata": {"name": "csr-open"}}));
        name_is_free(&cluster.client(), "a").await.unwrap();
        let error = name_is_free(&cluster.client(), "b").await.unwrap_err();
        assert_eq!(error.to_string(), "a certificate for a node b was issued to csr-other, and is valid yet");
        let error = name_is_free(&cluster.client(), "c").await.unwrap_err();
        assert!(error.to_string().contains("was issued to csr-second, csr-third, and"), "{error}");
        cluster.put("/api/v1/nodes/a", json!({"metadata": {"name": "a"}}));
        let error = name_is_free(&cluster.client(), "a").await.unwrap_err();
        assert!(matches!(error, JoinError::NameTaken { alive: false, .. }), "{error}");
    }
}
