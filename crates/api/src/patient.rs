//! The API while it is being replaced: a request that nobody answers, or that an apiserver which starts or
//! ends turns away, is made again. All of them can be made twice.

use std::sync::Arc;
use std::time::Duration;

use objects::ObjectRef;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::call::Call;
use crate::discovery::Discovery;
use crate::error::ApiError;
use crate::{Client, retry};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a request is made again and again.
const PATIENCE: Duration = Duration::from_secs(45);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Clone)]
pub struct Patient {
    client: Client,
    discovery: Arc<Mutex<Discovery>>,
}

impl Patient {
    /// One that asks with this client.
    pub fn new(client: Client) -> Self {
        Self { client, discovery: Arc::default() }
    }

    /// The client, for what needs no patience.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request that can be made twice until there is an answer that counts.
    ///
    /// # Errors
    /// [`ApiError`], one that does not pass, or the last after 45 s.
    pub async fn send(&self, call: &Call) -> Result<Value, ApiError> {
        retry::insist(PATIENCE, PAUSE, async || call.object(&self.client, LIMIT).await).await
    }

    /// The same, asked once.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn send_once(&self, call: &Call) -> Result<Value, ApiError> {
        call.object(&self.client, LIMIT).await
    }

    /// What is at a path; none when nothing is.
    ///
    /// # Errors
    /// As [`Patient::send`].
    pub async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        found(self.send(&Call::get(path)).await)
    }

    /// The same, asked once.
    ///
    /// # Errors
    /// As [`Patient::send_once`].
    pub async fn get_once(&self, path: &str) -> Result<Option<Value>, ApiError> {
        found(self.send_once(&Call::get(path)).await)
    }

    /// The items of a list, asked for once, with the kind that the list leaves out; none when there is no
    /// such list.
    ///
    /// # Errors
    /// As [`Patient::send_once`].
    pub async fn list(&self, path: &str, kind: &str) -> Result<Vec<Value>, ApiError> {
        let mut items = match self.get_once(path).await?.map(|mut list| list["items"].take()) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        for item in &mut items {
            item["kind"] = json!(kind);
        }
        Ok(items)
    }

    /// The text at a path.
    ///
    /// # Errors
    /// As [`Patient::send`].
    pub async fn text(&self, path: &str) -> Result<String, ApiError> {
        let call = Call::get(path);
        retry::insist(PATIENCE, PAUSE, async || call.text(&self.client, LIMIT).await).await
    }

    /// The path of an object; its kind is asked for once.
    ///
    /// # Errors
    /// As [`Patient::send`]; [`ApiError::NotServed`] when there is no such kind.
    pub async fn path(&self, object: &ObjectRef) -> Result<String, ApiError> {
        let ask = async || {
            let mut discovery = self.discovery.lock().await;
            if !discovery.knows(object) {
                discovery.load(&self.client, LIMIT, std::iter::once(object)).await;
            }
            discovery.path(object)
        };
        retry::insist(PATIENCE, PAUSE, ask).await
    }

    /// Changes some fields of an object.
    ///
    /// # Errors
    /// As [`Patient::send`].
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        self.send(&Call::merge(path, patch)).await.map(drop)
    }

    /// Removes an object; one that is gone is fine.
    ///
    /// # Errors
    /// As [`Patient::send`].
    pub async fn delete(&self, path: &str) -> Result<(), ApiError> {
        found(self.send(&Call::delete(path)).await).map(drop)
    }
}

/// That there is nothing is an answer.
fn found(answer: Result<Value, ApiError>) -> Result<Option<Value>, ApiError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
