//! When a cluster is whole: the control plane that `start` waits for, and the add-ons as well.

use std::time::Duration;

use api::Client;
use tokio::time::Instant;

use crate::options::POLL;
use crate::workloads::unready_pods;

/// Waits until every pod of a namespace is ready, at most so long: with no time at all it looks once. `waiting` gets what
/// is waited for at each look. An API that does not answer is waited for, too.
///
/// # Errors
/// The pods that are not ready, each with what it lacks; or what the API answered.
pub async fn all_ready(
    client: &Client,
    namespace: &str,
    limit: Duration,
    waiting: impl Fn(&str),
) -> Result<(), Vec<String>> {
    let deadline = Instant::now() + limit;
    loop {
        let missing = match unready_pods(client, namespace).await {
            Ok(pods) if pods.is_empty() => return Ok(()),
            Ok(pods) => pods,
            Err(error) => vec![error.to_string()],
        };
        if Instant::now() >= deadline {
            return Err(missing);
        }
        waiting(missing.first().map_or("", String::as_str));
        tokio::time::sleep(POLL).await;
    }
}
