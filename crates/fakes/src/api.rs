//! An API server of canned answers.

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::Value;

/// What came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path without the query.
    pub path: String,
    /// The query; empty when there is none.
    pub query: String,
    /// The object that was sent; null when there was none.
    pub body: Value,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status and an object.
    Json(u16, Value),
    /// A status and a text.
    Text(u16, String),
    /// The connection breaks.
    Broken,
    /// Nothing, for ever.
    Silence,
}

impl From<(u16, Value)> for Answer {
    fn from((status, object): (u16, Value)) -> Self {
        Self::Json(status, object)
    }
}

/// A client of an API server that answers by this function.
pub fn client(answer: impl FnMut(Asked) -> Answer + Send + 'static) -> Client {
    let answer = Arc::new(Mutex::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.expect("the body of a request");
            let asked = Asked {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let answer = (answer.lock().expect("no test panicked in here"))(asked);
            let (status, text) = match answer {
                Answer::Json(status, object) => (status, object.to_string()),
                Answer::Text(status, text) => (status, text),
                Answer::Broken => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
                Answer::Silence => std::future::pending().await,
            };
            let response = Response::builder().status(status).body(Body::from(text.into_bytes()));
            Ok::<_, std::io::Error>(response.expect("a status"))
        }
    });
    Client::new(service, "default")
}
