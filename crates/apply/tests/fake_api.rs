//! Applies plans to an API server of canned answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the helpers of tests are tests too")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::Client;
use apply::{Action, ApplyEvent, Object, Options, Report, apply, plan};
use fakes::api::{Answer, Asked};
use serde_json::{Value, json};

/// What came in: method and path.
type Log = Arc<Mutex<Vec<String>>>;

/// An API server that answers as a healthy one does, except where `special` has an answer.
/// `special` gets method, path without query, and how often this was asked for before; status 0 is none: the
/// connection breaks.
fn api(mut special: impl FnMut(&str, &str, usize) -> Option<(u16, Value)> + Send + 'static) -> (Client, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let client = fakes::api::client(move |Asked { method, path, query, body }| {
        let (method, path) = (method.as_str(), path.as_str());
        let mut seen = seen.lock().unwrap();
        let entry = format!("{method} {path}");
        let before = seen.iter().filter(|e| **e == entry).count();
        seen.push(entry);
        match special(method, path, before) {
            Some((0, _)) => Answer::Broken,
            Some(answer) => answer.into(),
            None => healthy(method, path, &query, body).into(),
        }
    });
    (client, log)
}

fn healthy(method: &str, path: &str, query: &str, mut body: Value) -> (u16, Value) {
    let resources = |list: &[(&str, &str, bool)]| {
        let item = |(name, kind, namespaced): &(&str, &str, bool)| json!({"name": name, "kind": kind, "namespaced": namespaced});
        (200, json!({"resources": list.iter().map(item).collect::<Vec<_>>()}))
    };
    match (method, path) {
        ("GET", "/api/v1/namespaces") => (200, json!({"metadata": {"resourceVersion": "10"}})),
        ("GET", "/api/v1") => resources(&[
            ("namespaces", "Namespace", false),
            ("namespaces/finalize", "Namespace", false),
            ("configmaps", "ConfigMap", true),
            ("secrets", "Secret", true),
        ]),
        ("GET", "/apis/apps/v1") => resources(&[("daemonsets", "DaemonSet", true)]),
        ("GET", "/apis/apiextensions.k8s.io/v1") => {
            resources(&[("customresourcedefinitions", "CustomResourceDefinition", false)])
        }
        ("GET", path) if path.starts_with("/apis/") => (404, json!({})),
        ("PATCH", _) => {
            assert_eq!(query, "fieldManager=kubestrap&force=true");
            body["metadata"]["resourceVersion"] = json!("11");
            (201, body)
        }
        _ => (405, json!({})),
    }
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "reason": reason, "message": message, "code": code}))
}

fn object(api_version: &str, kind: &str, name: &str) -> Object {
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if matches!(kind, "ConfigMap" | "Secret" | "DaemonSet") {
        value["metadata"]["namespace"] = json!("kube-system");
    }
    Object::new(value, format!("manifests/{name}.yaml:1"))
}

/// Longer than any pause of a busy machine: for what must not be waited for.
const LONG: Duration = Duration::from_mins(1);

fn options() -> Options {
    Options {
        deadline: Duration::from_secs(5),
        settle: Duration::from_millis(300),
        request_timeout: Duration::from_secs(1),
        parallel: 4,
    }
}

async fn run(client: &Client, objects: Vec<Object>, options: &Options) -> (Report, Vec<ApplyEvent>) {
    let mut events = Vec::new();
    let report = apply(client, &plan(objects), options, &mut |event| events.push(event)).await;
    (report, events)
}

fn patches(log: &Log) -> Vec<String> {
    log.lock().unwrap().iter().filter_map(|e| e.strip_prefix("PATCH ")).map(str::to_owned).collect()
}

fn error(report: &Report) -> &apply::Rejection {
    report.failed().next().expect("something failed").error.as_ref().unwrap()
}

#[tokio::test]
async fn applies_in_order_of_the_ranks() {
    let (client, log) = api(|_, _, _| None);
    let objects = vec![
        object("apps/v1", "DaemonSet", "proxy"),
        object("v1", "ConfigMap", "config"),
        object("v1", "Namespace", "kube-system"),
    ];
    let (report, events) = run(&client, objects, &options()).await;
    assert_eq!(
        patches(&log),
        [
            "/api/v1/namespaces/kube-system",
            "/api/v1/namespaces/kube-system/configmaps/config",
            "/apis/apps/v1/namespaces/kube-system/daemonsets/proxy",
        ]
    );
    assert_eq!(report.to_string(), "3 of 3 objects applied (3 created, 0 configured, 0 unchanged)");
    let last = events.last().unwrap();
    assert_eq!((last.applied, last.failed, last.total), (3, 0, 3));
    assert!(events.iter().all(|e| e.waiting_for.is_none()));
}

#[tokio::test]
async fn tells_changed_from_unchanged() {
    let (client, _) = api(|method, path, _| {
        let version = if path.ends_with("/old") { "9" } else { "12" };
        (method == "PATCH").then(|| (200, json!({"metadata": {"resourceVersion": version}})))
    });
    let objects = vec![object("v1", "ConfigMap", "old"), object("v1", "ConfigMap", "new")];
    let (report, _) = run(&client, objects, &options()).await;
    let actions: Vec<_> = report.outcomes.iter().map(|o| o.action).collect();
    assert_eq!(actions, [Some(Action::Unchanged), Some(Action::Configured)]);
}

#[tokio::test]
async fn tries_again_what_passes() {
    let (client, log) = api(|method, path, before| match (method, path, before) {
        // Nobody listens yet, then the API server has not all it needs, then a namespace is missing.
        ("GET", "/api/v1/namespaces", 0) => Some((0, Value::Null)),
        ("GET", "/apis/apps/v1", 0) => Some(status(503, "ServiceUnavailable", "starting")),
        ("PATCH", "/api/v1/namespaces/kube-system/configmaps/a", 0) => {
            Some(status(404, "NotFound", "namespaces \"kube-system\" not found"))
        }
        ("PATCH", "/api/v1/namespaces/kube-system/configmaps/a", 1) => {
            Some(status(429, "TooManyRequests", "later"))
        }
        _ => None,
    });
    let objects = vec![object("v1", "ConfigMap", "a"), object("apps/v1", "DaemonSet", "b")];
    let (report, events) = run(&client, objects, &options()).await;
    assert!(report.complete(), "{report}");
    assert_eq!(patches(&log).iter().filter(|p| p.ends_with("/a")).count(), 3);
    let whys: Vec<_> = events
        .into_iter()
        .filter_map(|e| e.waiting_for)
        .map(|w| format!("{}: {}", w.object, w.why))
        .collect();
    assert!(whys[0].contains("ConfigMap kube-system/a: no answer to GET /api/v1/namespaces"), "{whys:?}");
    assert!(whys[1].contains("namespaces \"kube-system\" not found"), "{whys:?}");
}

#[tokio::test]
async fn a_rejection_is_final_and_the_rest_goes_in() {
    let (client, log) = api(|method, path, _| match (method, path.rsplit('/').next()) {
        ("PATCH", Some("bad")) => {
            Some(status(422, "Invalid", "DaemonSet.apps \"bad\" is invalid: spec: required"))
        }
        ("PATCH", Some("misfit")) => Some(status(500, "", "failed to create typed patch object: .spec.x")),
        _ => None,
    });
    let objects = vec![
        object("v1", "ConfigMap", "misfit"),
        object("apps/v1", "DaemonSet", "bad"),
        object("apps/v1", "DaemonSet", "good"),
    ];
    let options = Options { deadline: LONG, settle: LONG, ..options() };
    let start = Instant::now();
    let (report, events) = run(&client, objects, &options).await;
    assert!(start.elapsed() < LONG, "nothing to wait for");
    assert_eq!(patches(&log).len(), 3, "each is tried once");
    assert_eq!(
        report.to_string(),
        "1 of 3 objects applied (1 created, 0 configured, 0 unchanged), 2 failed:\n\
         \x20 ConfigMap kube-system/misfit (manifests/misfit.yaml:1)\n\
         \x20   500 InternalServerError: failed to create typed patch object: .spec.x\n\
         \x20   hint: the field does not exist or has another type: compare `kubectl explain`\n\
         \x20 DaemonSet kube-system/bad (manifests/bad.yaml:1)\n\
         \x20   422 Invalid: DaemonSet.apps \"bad\" is invalid: spec: required"
    );
    let last = events.last().unwrap();
    assert_eq!((last.applied, last.failed, last.total), (1, 2, 3));
}

#[tokio::test]
async fn looks_again_for_kinds_that_a_definition_brings() {
    // The new group is served a moment after the definition is Established.
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    let (client, log) = api(move |method, path, before| match (method, path, before) {
        ("GET", path, 0..2) if path == definition => Some((200, json!({"status": {"conditions": []}}))),
        ("GET", path, _) if path == definition => {
            Some((200, json!({"status": {"conditions": [{"type": "Established", "status": "True"}]}})))
        }
        ("GET", "/apis/example.com/v1", 2..) => {
            Some((200, json!({"resources": [{"name": "widgets", "kind": "Widget", "namespaced": true}]})))
        }
        _ => None,
    });
    let objects = vec![
        object("example.com/v1", "Widget", "w"),
        object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com"),
    ];
    let (report, _) = run(&client, objects, &options()).await;
    assert!(report.complete(), "{report}");
    assert_eq!(patches(&log), [definition, "/apis/example.com/v1/namespaces/default/widgets/w"]);
    let log = log.lock().unwrap();
    let established = log.iter().rposition(|e| *e == format!("GET {definition}")).unwrap();
    let first_look = log.iter().position(|e| e == "GET /apis/example.com/v1").unwrap();
    assert!(established < first_look, "the kind is looked for once its definition is Established");
}

#[tokio::test]
async fn names_kinds_that_are_not_served() {
    let (client, _) = api(|_, _, _| None);
    let objects =
        vec![object("extensions/v1beta1", "DaemonSet", "old"), object("example.com/v1", "Widget", "typo")];
    let options = Options { deadline: LONG, ..options() };
    let start = Instant::now();
    let (report, _) = run(&client, objects, &options).await;
    assert!(start.elapsed() < LONG, "a kind that nobody defines is not waited for for ever");
    let errors: Vec<_> = report.failed().map(|o| o.error.clone().unwrap()).collect();
    assert_eq!(errors[0].message, "the API server serves no DaemonSet of extensions/v1beta1");
    assert_eq!(errors[0].hint.as_deref(), Some("use apps/v1, which requires spec.selector"));
    assert_eq!(errors[1].reason, "NotServed");
    assert!(errors.iter().all(|e| !e.transient));
}

#[tokio::test]
async fn gives_up_at_the_deadline_and_says_on_what() {
    let (client, _) =
        api(|method, _, _| (method == "PATCH").then(|| status(503, "ServiceUnavailable", "etcd is away")));
    let options =
        Options { deadline: Duration::from_millis(400), settle: LONG, request_timeout: LONG, ..options() };
    let start = Instant::now();
    let (report, _) = run(&client, vec![object("v1", "ConfigMap", "a")], &options).await;
    assert!(start.elapsed() >= options.deadline && start.elapsed() < LONG);
    assert_eq!(error(&report).to_string(), "503 ServiceUnavailable: etcd is away");
    assert!(error(&report).transient);
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_the_deadline() {
    let client = fakes::api::client(|_| Answer::Silence);
    let options = Options { deadline: Duration::from_millis(300), request_timeout: LONG, ..options() };
    let start = Instant::now();
    let (report, _) = run(&client, vec![object("v1", "ConfigMap", "a")], &options).await;
    assert!(start.elapsed() < LONG);
    assert_eq!(error(&report).reason, "TimedOut");
}
