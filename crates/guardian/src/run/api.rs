//! All that goes with the guardian's credentials: a client, the watches, and the steering of the port.

use std::collections::BTreeSet;
use std::time::Duration;

use api::{Change, Client, Patient};
use cri::Cri;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::access::Access;
use super::alarm::{self, Bell, Task};
use super::options::Options;
use super::steering::Steering;
use crate::keys::{self, AnswerError, Keys};
use crate::requests::REQUESTS;
use crate::{joining, kubelets};

/// When a request that could not be answered is looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// News of the API.
pub(crate) enum ApiNews {
    Pods(Change),
    Node(Change),
}

/// Its tasks end with it.
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) steering: Steering,
    /// What the kubeconfig said.
    pub(crate) text: String,
    _tasks: [Task; 5],
}

impl Api {
    /// Begins to watch. News go to the channel, and the bell rings for each.
    pub(crate) fn start(
        access: Access,
        options: &Options,
        runtime: &Cri,
        news: &UnboundedSender<ApiNews>,
        bell: &Bell,
    ) -> Self {
        let Access { client, probe, text } = access;
        let Options { node_name, api_port, .. } = options;
        let steering = Steering::start(*api_port, probe, runtime.clone());
        let follow = |path: String, query: String, wrap: fn(Change) -> ApiNews| {
            let (news, bell) = (news.clone(), bell.clone());
            let tell = move |change| {
                let _ = news.send(wrap(change));
                bell.ring();
            };
            Task::spawn(api::follow(client.clone(), path, query, tell))
        };
        let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
        let tell_request = move |change| drop(asked.send(change));
        let pods = format!("/api/v1/namespaces/{}/pods", names::object::KUBE_SYSTEM);
        let tasks = [
            follow(pods, format!("fieldSelector=spec.nodeName={node_name}"), ApiNews::Pods),
            follow(
                "/api/v1/nodes".to_owned(),
                format!("fieldSelector=metadata.name={node_name}"),
                ApiNews::Node,
            ),
            Task::spawn(alarm::port(steering.subscribe(), bell.clone())),
            Task::spawn(api::follow(client.clone(), REQUESTS.to_owned(), String::new(), tell_request)),
            Task::spawn(answer_all(Patient::new(client.clone()), options.keys.clone(), requests)),
        ];
        Self { client, steering, text, _tasks: tasks }
    }
}

/// Answers nodes that ask for the control plane's keys or for a certificate, one after the other. What failed is looked at
/// again soon: its next news may be long in coming.
async fn answer_all(api: Patient, keys: Keys, mut requests: UnboundedReceiver<Change>) {
    let mut failed: BTreeSet<String> = BTreeSet::new();
    loop {
        let news = match tokio::time::timeout(AGAIN, requests.recv()).await {
            Ok(None) => return,
            Ok(Some(Change::All(requests))) => requests,
            Ok(Some(Change::Set(request))) => vec![request],
            Ok(Some(Change::Gone(_) | Change::Live | Change::Lost)) => Vec::new(),
            Err(_) => again(&api, std::mem::take(&mut failed)).await,
        };
        for request in news {
            let name = objects::name(&request);
            match decided(&api, &keys, &request).await {
                Ok(again) => drop(again.then(|| failed.insert(name.to_owned()))),
                Err(error) => {
                    let error = host::error::chain(&error);
                    tracing::warn!(name, error, "the request of a node is not answered");
                    failed.insert(name.to_owned());
                }
            }
        }
    }
}

/// Each takes the requests of its own signer. Returns whether this one has to be looked at again.
async fn decided(api: &Patient, keys: &Keys, request: &Value) -> Result<bool, AnswerError> {
    keys::answer(api, keys, request).await?;
    joining::decide(api, request).await?;
    Ok(kubelets::decide(api, request).await?)
}

/// Those that are there still.
async fn again(api: &Patient, names: BTreeSet<String>) -> Vec<Value> {
    let mut requests = Vec::new();
    for name in names {
        requests.extend(api.get_once(&format!("{REQUESTS}/{name}")).await.ok().flatten());
    }
    requests
}
