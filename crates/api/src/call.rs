//! One request to the API server, with a time limit, and its answer.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use crate::error::ApiError;

/// How much of an answer that is no Kubernetes status is shown, in characters.
const SHOWN_CHARS: usize = 300;

/// A request to be sent, possibly many times.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Call {
    /// Reads what is at this path, which may have a query.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), content_type: "", body: Vec::new() }
    }

    /// Makes an object.
    pub fn post(path: impl Into<String>, object: &Value) -> Self {
        Self::with_json(Method::POST, path.into(), "application/json", object)
    }

    /// Replaces an object; refused when it has another `resourceVersion` by now.
    pub fn put(path: impl Into<String>, object: &Value) -> Self {
        Self::with_json(Method::PUT, path.into(), "application/json", object)
    }

    /// Changes an object by a JSON merge patch.
    pub fn merge(path: impl Into<String>, patch: &Value) -> Self {
        Self::with_json(Method::PATCH, path.into(), "application/merge-patch+json", patch)
    }

    /// Changes an object by a strategic merge patch: lists with keys are merged by them.
    pub fn strategic_merge(path: impl Into<String>, patch: &Value) -> Self {
        Self::with_json(Method::PATCH, path.into(), "application/strategic-merge-patch+json", patch)
    }

    /// Applies an object on the server's side as [`names::object::FIELD_MANAGER`], also where others own its fields.
    pub fn apply(path: &str, object: &Value) -> Self {
        let path = format!("{path}?fieldManager={}&force=true", names::object::FIELD_MANAGER);
        Self::with_json(Method::PATCH, path, "application/apply-patch+yaml", object)
    }

    /// Removes an object.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), content_type: "", body: Vec::new() }
    }

    /// Removes an object as these `DeleteOptions` say.
    pub fn delete_with(path: impl Into<String>, options: &Value) -> Self {
        Self::with_json(Method::DELETE, path.into(), "application/json", options)
    }

    /// Asks only what would come of it: nothing is stored.
    pub fn dry_run(mut self) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str("dryRun=All");
        self
    }

    fn with_json(method: Method, path: String, content_type: &'static str, value: &Value) -> Self {
        Self { method, path, content_type, body: value.to_string().into_bytes() }
    }

    /// Sends it, and takes the object of a success.
    ///
    /// # Errors
    /// [`ApiError`] for anything else, also when it took longer than `limit`.
    pub async fn object(&self, client: &Client, limit: Duration) -> Result<Value, ApiError> {
        self.json(client, limit).await.map(|(_, object)| object)
    }

    /// Sends it, and takes the text of a success.
    ///
    /// # Errors
    /// As [`Call::object`].
    pub async fn text(&self, client: &Client, limit: Duration) -> Result<String, ApiError> {
        let (status, body) = self.send(client, limit).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Sends it. A redirect is no success: the API server does not redirect.
    pub(crate) async fn send(
        &self,
        client: &Client,
        limit: Duration,
    ) -> Result<(StatusCode, Vec<u8>), ApiError> {
        let exchange = async {
            let response = client.send(self.request()?).await?;
            let status = response.status();
            let bytes = response.into_body().collect_bytes().await?;
            Ok((status, bytes.to_vec()))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(ApiError::Unreachable { request: self.name(), source: Arc::new(source) }),
            Err(_) => Err(ApiError::TimedOut { request: self.name(), limit }),
        }
    }

    /// Sends it, and takes status and object of a success: 201 says that it was not there before.
    ///
    /// # Errors
    /// As [`Call::object`].
    pub async fn json(&self, client: &Client, limit: Duration) -> Result<(StatusCode, Value), ApiError> {
        let (status, body) = self.send(client, limit).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        let value = serde_json::from_slice(&body)
            .map_err(|e| ApiError::Odd { request: self.name(), message: e.to_string() })?;
        Ok((status, value))
    }

    fn request(&self) -> Result<Request<Body>, kube::Error> {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        if !self.content_type.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, self.content_type);
        }
        request
            .header(http::header::ACCEPT, "application/json")
            .body(Body::from(self.body.clone()))
            .map_err(kube::Error::HttpError)
    }

    /// Method and path without the query, for messages.
    fn name(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{} {path}", self.method)
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ApiError {
        let answer: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let name = || status.canonical_reason().unwrap_or("Unknown").replace(' ', "");
        let text = || String::from_utf8_lossy(body).trim().chars().take(SHOWN_CHARS).collect();
        ApiError::Refused {
            request: self.name(),
            status: status.as_u16(),
            reason: answer.reason.filter(|r| !r.is_empty()).unwrap_or_else(name),
            message: answer.message.filter(|m| !m.is_empty()).unwrap_or_else(text),
        }
    }
}

/// The parts of Kubernetes' `Status` that count here.
#[derive(Default, Deserialize)]
struct Refusal {
    reason: Option<String>,
    message: Option<String>,
}
