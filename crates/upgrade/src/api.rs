//! The API while it is being replaced: a request that nobody answers, or that an apiserver which starts or
//! ends turns away, is made again. All of them can be made twice.

use std::time::{Duration, Instant};

use apply::{ApiError, Call, ObjectRef};
use assets::pod;
use kube::Client;
use serde_json::{Value, json};

use crate::part::api_path;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a request is made again and again.
const PATIENCE: Duration = Duration::from_secs(45);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// HTTP: the object was changed meanwhile.
const CONFLICT: u16 = 409;

/// See the module.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: Client,
}

impl Api {
    /// Asks until there is an answer that counts.
    async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
        let began = Instant::now();
        loop {
            match ask().await {
                Err(error) if passes(&error) && began.elapsed() < PATIENCE => {
                    tracing::debug!(error = host::error::chain(&error), "asked again");
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// What is at a path; none when nothing is.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        let found = self.insist(async || Call::get(path).object(&self.client, LIMIT).await).await;
        match found {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, asked once.
    pub(crate) async fn get_once(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match Call::get(path).object(&self.client, LIMIT).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The items of a list, with the kind that the list leaves out; none when there is no such list.
    pub(crate) async fn list(&self, path: &str, kind: &str) -> Result<Vec<Value>, ApiError> {
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
    pub(crate) async fn text(&self, path: &str) -> Result<String, ApiError> {
        self.insist(async || Call::get(path).text(&self.client, LIMIT).await).await
    }

    /// What would come of an apply. An object whose namespace is not there yet would be as it is.
    pub(crate) async fn try_apply(&self, object: &Value) -> Result<Value, ApiError> {
        let path = api_path(&ObjectRef::of(object));
        let call = Call::apply(&path, object).dry_run();
        match self.insist(async || call.object(&self.client, LIMIT).await).await {
            Err(error) if error.is_not_found() => Ok(object.clone()),
            other => other,
        }
    }

    /// Makes an object exactly what it was, whoever owned its fields.
    pub(crate) async fn put_back(&self, path: &str, saved: &Value) -> Result<(), ApiError> {
        loop {
            let Some(live) = self.get(path).await? else {
                let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection);
                let call = Call::post(collection, &fresh(saved));
                return self.insist(async || call.object(&self.client, LIMIT).await).await.map(drop);
            };
            // Twice: the first puts the content back and makes us the owner of what differed, the second,
            // which changes nothing else, puts the owners back.
            let mut content = fresh(saved);
            content["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
            let call =
                Call::put(format!("{path}?fieldManager={}-back", names::object::FIELD_MANAGER), &content);
            let mut stored = match self.insist(async || call.object(&self.client, LIMIT).await).await {
                Err(error) if error.status() == Some(CONFLICT) => continue,
                other => other?,
            };
            stored["metadata"]["managedFields"] = saved["metadata"]["managedFields"].clone();
            let call =
                Call::put(format!("{path}?fieldManager={}-back", names::object::FIELD_MANAGER), &stored);
            match self.insist(async || call.object(&self.client, LIMIT).await).await {
                Err(error) if error.status() == Some(CONFLICT) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Changes some fields of an object.
    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Result<(), ApiError> {
        let call = Call::merge(path, patch);
        self.insist(async || call.object(&self.client, LIMIT).await).await.map(drop)
    }

    /// Asks for a pod's eviction; says why it is put off, by a disruption budget for instance.
    pub(crate) async fn evict(&self, pod: &Value) -> Result<Option<String>, ApiError> {
        let metadata = &pod["metadata"];
        let (namespace, name) = (pod::text(&metadata["namespace"]), pod::name(pod));
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            // Another pod of that name is another pod.
            "deleteOptions": {"preconditions": {"uid": metadata["uid"]}}});
        let call = Call::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction"), &eviction);
        match call.object(&self.client, LIMIT).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() || error.status() == Some(CONFLICT) => Ok(None),
            Err(error) if passes(&error) => Ok(Some(host::error::chain(&error))),
            Err(error) => Err(error),
        }
    }

    /// Removes what was not there before.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), ApiError> {
        let call = Call::delete(path);
        match self.insist(async || call.object(&self.client, LIMIT).await).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// An object as one sends it: without what only the API writes.
fn fresh(saved: &Value) -> Value {
    let mut object = saved.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"]
        {
            metadata.remove(key);
        }
    }
    object
}

/// Whether the same request may be answered otherwise a moment later.
fn passes(error: &ApiError) -> bool {
    match error {
        ApiError::Unreachable { .. } | ApiError::TimedOut { .. } => !error.untrusted(),
        ApiError::Refused { status, .. } => matches!(status, 401 | 403 | 429 | 500..),
        ApiError::Odd { .. } => false,
    }
}
