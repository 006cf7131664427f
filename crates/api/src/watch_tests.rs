use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use fakes::api::Answer;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;

/// Answers each request with the next of these: a status and a body.
fn api(answers: &[(u16, String)]) -> (Client, Arc<Mutex<Vec<String>>>) {
    let mut answers: VecDeque<_> = answers.iter().cloned().collect();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let client = fakes::api::client(move |request| {
        log.lock().unwrap().push(format!("{}?{}", request.path, request.query));
        answers.pop_front().map_or(Answer::Silence, |(status, body)| Answer::Text(status, body))
    });
    (client, asked)
}

fn pod(name: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
}

async fn changes(answers: &[(u16, String)], count: usize) -> (Vec<Change>, Vec<String>) {
    let (client, asked) = api(answers);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let tell = move |change| drop(sender.send(change));
    let task = tokio::spawn(follow(client, "/pods".to_owned(), "x=y".to_owned(), tell));
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await;
        seen.push(next.expect("no news").unwrap());
    }
    // Its next request, if it makes one at once.
    tokio::time::sleep(Duration::from_millis(20)).await;
    task.abort();
    let asked = asked.lock().unwrap().clone();
    (seen, asked)
}

fn list(items: &[Value], version: u32) -> (u16, String) {
    let list = json!({"metadata": {"resourceVersion": version.to_string()}, "items": items});
    (200, list.to_string())
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_ended() {
    let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}});
    let events = line("ADDED", &pod("b", 6)) + &line("DELETED", &pod("a", 7)) + &line("BOOKMARK", &bookmark);
    let answers = [list(&[pod("a", 4)], 5), (200, events), (200, line("MODIFIED", &pod("b", 10)))];
    let (seen, asked) = changes(&answers, 6).await;
    let expected = [
        Change::All(vec![pod("a", 4)]),
        Change::Live,
        Change::Set(pod("b", 6)),
        Change::Gone(pod("a", 7)),
        Change::Live,
        Change::Set(pod("b", 10)),
    ];
    assert_eq!(seen, expected);
    assert_eq!(asked[0], "/pods?x=y");
    let froms: Vec<_> = asked[1..].iter().map(|uri| uri.rsplit('=').next().unwrap()).collect();
    assert_eq!(froms, ["5", "9", "10"]);
}

#[tokio::test]
async fn what_is_forgotten_is_listed_again_and_a_refusal_means_that_nothing_is_known() {
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old", "reason": "Expired", "code": 410});
    let answers = [
        list(&[], 5),
        (200, line("ERROR", &gone)),
        list(&[pod("a", 8)], 8),
        (500, String::new()),
        list(&[], 9),
    ];
    let (seen, _) = changes(&answers, 5).await;
    let expected = [
        Change::All(Vec::new()),
        Change::Live,
        Change::All(vec![pod("a", 8)]),
        Change::Lost,
        Change::All(Vec::new()),
    ];
    assert_eq!(seen, expected);
}
