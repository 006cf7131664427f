//! All that goes with the guardian's credentials: a client, the watches, and the steering of the port.

use api::{Change, Client};
use cri::Cri;
use tokio::sync::mpsc::UnboundedSender;

use super::access::Access;
use super::alarm::{self, Bell, Task};
use super::options::Options;
use super::steering::Steering;

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
    _tasks: [Task; 3],
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
        let pods = format!("/api/v1/namespaces/{}/pods", names::object::KUBE_SYSTEM);
        let tasks = [
            follow(pods, format!("fieldSelector=spec.nodeName={node_name}"), ApiNews::Pods),
            follow(
                "/api/v1/nodes".to_owned(),
                format!("fieldSelector=metadata.name={node_name}"),
                ApiNews::Node,
            ),
            Task::spawn(alarm::port(steering.subscribe(), bell.clone())),
        ];
        Self { client, steering, text, _tasks: tasks }
    }
}
