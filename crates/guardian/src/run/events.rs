//! Kubernetes Events of what the machines report. They wait while the API is away, and one thing is not
//! told over and over.

use std::collections::VecDeque;
use std::time::Duration;

use api::{ApiError, Call, Client};
use checkpoint::Component;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::parents::Parent;

const LIMIT: Duration = Duration::from_secs(2);
/// So many wait for the API at most; older ones are forgotten.
const WAITING: usize = 32;
/// The same is told again after so long at the earliest, in milliseconds.
const REPEAT_MS: u64 = 60_000;
/// So many are remembered for that.
const REMEMBERED: usize = 64;
const SOURCE: &str = names::object::GUARDIAN;

/// One Event, complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Telling {
    namespace: String,
    object: Value,
}

/// Events that wait to be sent.
#[derive(Debug)]
pub(crate) struct Events {
    node: String,
    waiting: VecDeque<Telling>,
    told: VecDeque<(u64, String)>,
}

impl Events {
    pub(crate) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), waiting: VecDeque::new(), told: VecDeque::new() }
    }

    /// Has something told about a component.
    pub(crate) fn tell(
        &mut self,
        component: &Component,
        parent: Option<&Parent>,
        (reason, message, warning): (&str, &str, bool),
        now_ms: u64,
    ) {
        let key = format!("{component} {reason} {message}");
        self.told.retain(|(at, _)| now_ms.saturating_sub(*at) < REPEAT_MS);
        if self.told.iter().any(|(_, told)| *told == key) {
            return;
        }
        self.told.push_back((now_ms, key));
        self.waiting.push_back(self.telling(component, parent, (reason, message, warning)));
        self.told.drain(..self.told.len().saturating_sub(REMEMBERED));
        self.waiting.drain(..self.waiting.len().saturating_sub(WAITING));
    }

    fn telling(
        &self,
        component: &Component,
        parent: Option<&Parent>,
        (reason, message, warning): (&str, &str, bool),
    ) -> Telling {
        let now = Timestamp::now();
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or_default().to_string();
        let namespace = component.namespace.clone();
        let mut about = json!({"namespace": namespace, "name": component.name});
        match parent {
            Some(parent) if !parent.kind.is_empty() => {
                about["apiVersion"] = json!("apps/v1");
                about["kind"] = json!(parent.kind);
                about["name"] = json!(parent.name);
                about["uid"] = json!(parent.uid);
            }
            _ => {
                about["apiVersion"] = json!("v1");
                about["kind"] = json!("Pod");
            }
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": namespace, "name": format!("{}.{:x}", component.name, now.as_nanosecond())},
            "involvedObject": about,
            "reason": reason,
            "message": format!("{}: {message}", self.node),
            "type": if warning { "Warning" } else { "Normal" },
            "source": {"component": SOURCE, "host": self.node},
            "reportingComponent": SOURCE,
            "reportingInstance": self.node,
            "firstTimestamp": seconds, "lastTimestamp": seconds, "count": 1,
        });
        Telling { namespace, object }
    }

    /// The next one to be sent.
    pub(crate) fn next(&mut self) -> Option<Telling> {
        self.waiting.pop_front()
    }

    /// Whether one waits.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// It could not be sent.
    pub(crate) fn back(&mut self, telling: Telling) {
        self.waiting.push_front(telling);
    }
}

/// Sends one. An API that refuses it will not take it later either.
pub(crate) async fn send(client: &Client, telling: &Telling) -> Result<(), ApiError> {
    let path = format!("/api/v1/namespaces/{}/events", telling.namespace);
    match Call::post(path, &telling.object).object(client, LIMIT).await {
        // An earlier try came through, and its answer was lost.
        Err(error) if error.status() == Some(api::CONFLICT) => Ok(()),
        Err(error) if error.status().is_some_and(|status| status < 500 && status != 429) => {
            tracing::warn!(%error, "an Event is refused");
            Ok(())
        }
        result => result.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_and_the_oldest_is_forgotten() {
        let component = Component { namespace: "kube-system".into(), name: "kube-apiserver".into() };
        let mut events = Events::new("node-1");
        let tell = |events: &mut Events, message: &str, now| {
            events.tell(&component, None, ("Restored", message, false), now);
        };
        tell(&mut events, "a", 0);
        tell(&mut events, "a", 59_999);
        assert_eq!(events.waiting.len(), 1);
        tell(&mut events, "a", 60_000);
        assert_eq!(events.waiting.len(), 2);
        for n in 0..100 {
            tell(&mut events, &n.to_string(), 70_000);
        }
        assert_eq!(events.waiting.len(), WAITING);
        let first = events.next().unwrap();
        assert_eq!(first.object["message"], "node-1: 68");
        assert_eq!(first.object["involvedObject"]["kind"], "Pod");
    }
}
