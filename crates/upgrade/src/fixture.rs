//! A node whose API has a few objects, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cri::Cri;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use crate::look::Sight;

/// Objects by their paths.
pub(crate) type Objects = BTreeMap<String, Value>;

/// See the module.
pub(crate) struct Node {
    pub(crate) sight: Sight,
    objects: Arc<Mutex<Objects>>,
    _dir: tempfile::TempDir,
    /// The container runtime's. Nobody answers there.
    _socket: UnixListener,
}

impl Node {
    pub(crate) async fn new(objects: Objects) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cri.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let runtime = Cri::connect(&path).await.unwrap();
        let objects = Arc::new(Mutex::new(objects));
        let sight = Sight::new(client(&objects), runtime, "n".to_owned());
        Self { sight, objects, _dir: dir, _socket: socket }
    }

    /// What the API has now.
    pub(crate) fn objects(&self) -> Objects {
        self.objects.lock().unwrap().clone()
    }
}

fn client(objects: &Arc<Mutex<Objects>>) -> Client {
    let objects = Arc::clone(objects);
    let service = tower::service_fn(move |request: Request<Body>| {
        let objects = Arc::clone(&objects);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, answer) =
                answer(&mut objects.lock().unwrap(), &parts.method, parts.uri.path(), body);
            let answer = Body::from(answer.to_string().into_bytes());
            Ok::<_, tower::BoxError>(Response::builder().status(status).body(answer).unwrap())
        }
    });
    Client::new(service, "default")
}

/// As the API does it: versions count, and who owns what is noted unless it is told.
fn answer(objects: &mut Objects, method: &Method, path: &str, mut body: Value) -> (u16, Value) {
    let known = objects.get(path).cloned();
    match (method.as_str(), known) {
        ("GET", Some(object)) => (200, object),
        ("DELETE", Some(object)) => {
            objects.remove(path);
            (200, object)
        }
        ("PUT", Some(known)) => {
            let version = &known["metadata"]["resourceVersion"];
            if body["metadata"]["resourceVersion"] != *version {
                return (409, json!({}));
            }
            let number: u64 = version.as_str().unwrap().parse().unwrap();
            body["metadata"]["resourceVersion"] = json!((number + 1).to_string());
            if body["metadata"]["managedFields"].is_null() {
                body["metadata"]["managedFields"] = json!([{"manager": "whoever put it", "fieldsV1": {}}]);
            }
            objects.insert(path.to_owned(), body.clone());
            (200, body)
        }
        ("POST", None) => {
            body["metadata"]["resourceVersion"] = json!("1");
            body["metadata"]["managedFields"] = json!([{"manager": "whoever made it", "fieldsV1": {}}]);
            objects.insert(format!("{path}/{}", body["metadata"]["name"].as_str().unwrap()), body.clone());
            (201, body)
        }
        (_, Some(_)) => (405, json!({})),
        (_, None) => (404, json!({})),
    }
}
