//! Waits for a node that is on its way: until it is Ready, or somebody says that it shall be none.

use std::time::Duration;

use api::{ApiError, Call, Client};
use jiff::Timestamp;
use names::condition::READY;
use names::{object, user};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::error::JoinError;
use crate::requests::{DENIED, FAILED, REQUESTS, condition, subject};
use crate::told::LIMIT;

const PAUSE: Duration = Duration::from_millis(500);

/// Which node is waited for.
#[derive(Debug, Clone)]
pub struct Watched<'a> {
    /// Its name.
    pub node: &'a str,
    /// Whether it has to be Ready; without a network none is.
    pub ready: bool,
    /// The id of the token with which its kubelet asks for its certificate, and from when on, by the API's clock; none
    /// where it has one.
    pub asks: Option<(&'a str, Timestamp)>,
    /// How long.
    pub limit: Duration,
}

/// Waits for a node that the cluster has; returns whether it is Ready. `waiting` gets what it lacks.
///
/// # Errors
/// [`JoinError::Refused`], [`JoinError::NotReady`]; an error of the API alone ends no wait.
pub async fn registered(
    client: &Client,
    watched: &Watched<'_>,
    mut waiting: impl FnMut(&str),
) -> Result<bool, JoinError> {
    let deadline = Instant::now() + watched.limit;
    loop {
        let lacks = match look(client, watched).await {
            Ok(Ok(ready)) => return Ok(ready),
            Ok(Err(lacks)) => lacks,
            Err(JoinError::Api(error)) => error.to_string(),
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            let (node, seconds) = (watched.node.to_owned(), watched.limit.as_secs());
            return Err(JoinError::NotReady { node, seconds, lacks });
        }
        waiting(&lacks);
        sleep(PAUSE).await;
    }
}

/// Whether the node is Ready, where that is enough, or what it lacks.
async fn look(client: &Client, watched: &Watched<'_>) -> Result<Result<bool, String>, JoinError> {
    let node = match Call::get(format!("/api/v1/nodes/{}", watched.node)).object(client, LIMIT).await {
        Ok(node) => node,
        Err(error) if error.is_not_found() => {
            refused(client, watched).await?;
            return Ok(Err("the kubelet has not registered it yet".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    let ready = objects::condition(&node, READY) == Some(true);
    if ready || !watched.ready {
        return Ok(Ok(ready));
    }
    let conditions = objects::items(&node["status"]["conditions"]);
    let said = conditions.iter().find(|condition| condition["type"] == READY);
    let said = said.map(|condition| objects::text(&condition["message"])).filter(|said| !said.is_empty());
    Ok(Err(said.unwrap_or("the kubelet has not said how it is").to_owned()))
}

/// Whether the kubelet was refused a certificate since it was told to ask.
async fn refused(client: &Client, watched: &Watched<'_>) -> Result<(), JoinError> {
    let Some((id, since)) = watched.asks else { return Ok(()) };
    let all: Result<Value, ApiError> = Call::get(REQUESTS).object(client, LIMIT).await;
    let all = all?;
    let asked = objects::items(&all["items"]).iter().filter(|request| is_of(request, watched.node, id));
    let since_then = |request: &&Value| {
        let made = objects::text(&request["metadata"]["creationTimestamp"]).parse::<Timestamp>();
        made.is_ok_and(|made| made >= since)
    };
    let no = asked.filter(since_then).find_map(|request| {
        condition(request, DENIED).or_else(|| condition(request, FAILED)).map(str::to_owned)
    });
    no.map_or(Ok(()), |why| Err(JoinError::Refused { why }))
}

/// Whether a request for that node's certificate was made with that token.
fn is_of(request: &Value, node: &str, id: &str) -> bool {
    request["spec"]["signerName"] == object::KUBELET_CLIENT_SIGNER
        && objects::text(&request["spec"]["username"]).strip_prefix(user::BOOTSTRAP_PREFIX) == Some(id)
        && subject(request)
            .is_ok_and(|subject| subject.common_name.strip_prefix(user::NODE_PREFIX) == Some(node))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use fakes::cluster::Cluster;
    use jiff::SignedDuration;
    use pki::CsrSubject;
    use serde_json::json;

    use super::*;

    const ID: &str = "abcdef";

    /// A request for that node's certificate that was made with that token then, and refused.
    fn denied(cluster: &Cluster, name: &str, node: &str, id: &str, made: Timestamp) {
        let subject = CsrSubject {
            common_name: format!("{}{node}", user::NODE_PREFIX),
            organizations: vec![user::NODES.to_owned()],
            names: Vec::new(),
        };
        let (_, csr) = pki::new_csr(&subject, cluster::KeyAlgorithm::EcdsaP256).unwrap();
        let request = json!({"metadata": {"name": name, "creationTimestamp": made.to_string()},
            "spec": {"signerName": object::KUBELET_CLIENT_SIGNER, "request": BASE64.encode(csr),
                "username": format!("{}{id}", user::BOOTSTRAP_PREFIX)},
            "status": {"conditions": [{"type": DENIED, "message": name}]}});
        cluster.put(&format!("{REQUESTS}/{name}"), request);
    }

    async fn wait(cluster: &Cluster, since: Timestamp, ready: bool) -> Result<bool, JoinError> {
        let limit = Duration::from_secs(2);
        let watched = Watched { node: "a", ready, asks: Some((ID, since)), limit };
        registered(&cluster.client(), &watched, |_| {}).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_this_run_asked_for_is_refused_it() {
        let (cluster, now) = (Cluster::default(), Timestamp::now());
        denied(&cluster, "before", "a", ID, now - SignedDuration::from_secs(1));
        denied(&cluster, "another-node", "b", ID, now);
        denied(&cluster, "another-token", "a", "zzzzzz", now);
        let error = wait(&cluster, now, true).await.unwrap_err();
        let told = "node a is not Ready within 2 s: the kubelet has not registered it yet";
        assert_eq!(error.to_string(), told);
        denied(&cluster, "this-one", "a", ID, now);
        let error = wait(&cluster, now, true).await.unwrap_err();
        assert_eq!(error.to_string(), "the cluster refuses this node a certificate: this-one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_waited_for_until_it_is_ready_or_only_there() {
        let (cluster, now) = (Cluster::default(), Timestamp::now());
        let is = |ready: &str| {
            let condition = json!([{"type": READY, "status": ready, "message": "no network"}]);
            let node = json!({"metadata": {"name": "a"}, "status": {"conditions": condition}});
            cluster.put("/api/v1/nodes/a", node);
        };
        is("False");
        let error = wait(&cluster, now, true).await.unwrap_err();
        assert_eq!(error.to_string(), "node a is not Ready within 2 s: no network");
        assert!(!wait(&cluster, now, false).await.unwrap());
        is("True");
        assert!(wait(&cluster, now, true).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_that_is_away_for_a_moment_ends_no_wait() {
        let cluster = Cluster::new(
            [(
                "/api/v1/nodes/a".to_owned(),
                json!({"metadata": {"name": "a"},
            "status": {"conditions": [{"type": READY, "status": "True"}]}}),
            )]
            .into(),
        );
        cluster.set_away(true);
        let back = cluster.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            back.set_away(false);
        });
        wait(&cluster, Timestamp::now(), true).await.unwrap();
    }
}
