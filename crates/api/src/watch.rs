//! A list that is kept up to date. An API that is silent, cut off or gone is noticed: what it said is no
//! news then.

use std::pin::pin;
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio_stream::StreamExt;

use crate::call::Call;
use crate::error::ApiError;

/// How long the list, and the watch's first answer, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// The server ends the watch after so many seconds, having said up to where it went: so nobody has to wait
/// longer to notice that it does not speak any more.
const WATCH_SECONDS: u64 = 60;
const SILENCE_LIMIT: Duration = Duration::from_secs(WATCH_SECONDS + 5);
/// Pause after a failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// HTTP: what happened since that version is forgotten.
const GONE: u16 = 410;

/// What is new.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// All that there is: whatever else was known is gone.
    All(Vec<Value>),
    /// One was made or changed.
    Set(Value),
    /// One was removed.
    Gone(Value),
    /// What was known still is how things stand.
    Live,
    /// From here on nothing is known.
    Lost,
}

/// How a watch ended.
enum End {
    /// As agreed: this version was the last.
    Over(String),
    /// It has to begin with a list.
    Stale,
    /// The connection broke, or nothing came.
    Broken(String),
}

/// Lists what is at `path` with `query` (`fieldSelector=…`), watches it, and tells `news`, for ever.
pub async fn follow(client: Client, path: String, query: String, news: impl Fn(Change)) {
    let mut pause = FIRST_PAUSE;
    let mut version: Option<String> = None;
    loop {
        let from = match version.take() {
            Some(version) => version,
            None => match list(&client, &path, &query).await {
                Ok((objects, version)) => {
                    news(Change::All(objects));
                    version
                }
                Err(error) => {
                    tracing::debug!(%error, "the API does not answer");
                    news(Change::Lost);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    continue;
                }
            },
        };
        match watch(&client, &format!("{path}?{query}"), from, &news).await {
            End::Over(last) => {
                version = Some(last);
                pause = FIRST_PAUSE;
            }
            End::Stale => {}
            End::Broken(why) => {
                tracing::debug!(why, path, "a watch broke");
                news(Change::Lost);
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }
}

/// What is at `path` with `query`, and the version to watch from.
///
/// # Errors
/// [`ApiError`] when the API does not answer within 3 s, or refuses.
pub async fn list(client: &Client, path: &str, query: &str) -> Result<(Vec<Value>, String), ApiError> {
    let mut list = Call::get(format!("{path}?{query}")).object(client, ANSWER_LIMIT).await?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let objects = match list["items"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    };
    Ok((objects, version))
}

async fn watch(client: &Client, path: &str, mut version: String, news: &impl Fn(Change)) -> End {
    let path = format!(
        "{path}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
    );
    let request = match Request::get(path).body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return End::Broken(error.to_string()),
    };
    let events = match tokio::time::timeout(ANSWER_LIMIT, client.request_events::<Value>(request)).await {
        Ok(Ok(events)) => events,
        Ok(Err(kube::Error::Api(status))) if status.code == GONE => return End::Stale,
        Ok(Err(error)) => return End::Broken(error.to_string()),
        Err(_) => return End::Broken("no answer".to_owned()),
    };
    news(Change::Live);
    let mut events = pin!(events);
    loop {
        let event = match tokio::time::timeout(SILENCE_LIMIT, events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => return End::Broken(error.to_string()),
            Ok(None) => return End::Over(version),
            Err(_) => return End::Broken("silence".to_owned()),
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                keep_version(&mut version, &object);
                news(Change::Set(object));
            }
            WatchEvent::Deleted(object) => {
                keep_version(&mut version, &object);
                news(Change::Gone(object));
            }
            WatchEvent::Bookmark(bookmark) => version = bookmark.metadata.resource_version,
            WatchEvent::Error(status) if status.code == GONE => return End::Stale,
            WatchEvent::Error(status) => return End::Broken(status.message),
        }
    }
}

fn keep_version(version: &mut String, object: &Value) {
    if let Some(new) = object["metadata"]["resourceVersion"].as_str() {
        new.clone_into(version);
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
