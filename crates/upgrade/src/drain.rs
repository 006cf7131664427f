//! Takes the pods that can run elsewhere off this node while its kubelet changes, and lets pods come back.
//!
//! As `kubectl drain` does it: by evictions, which disruption budgets may delay. The control plane's own pods stay:
//! they are bound to control-plane nodes, and run on while the kubelet is started again.

use std::time::Duration;

use api::{ApiError, Call, Patient};
use names::{label, object};
use objects::{origin, owner, pod, readiness};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::before::Before;
use crate::error::UpgradeError;
use crate::event::Event;
use crate::execute::Upgrade;
use crate::observed::DrainState;
use crate::sight::Sight;

/// How often is looked, and evictions that were put off are asked for again.
const POLL: Duration = Duration::from_secs(2);
/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);

impl Sight {
    /// What a drain of this node would do.
    pub(crate) async fn drain_state(
        &self,
        asked: bool,
        before: Option<&Before>,
    ) -> Result<DrainState, UpgradeError> {
        let cordoned = before.is_some_and(|before| before.cordoned);
        if !asked {
            return Ok(DrainState { cordoned, ..DrainState::default() });
        }
        let guests = self.guests().await?;
        let names =
            |which: fn(&Value) -> bool| guests.iter().filter(|p| which(p)).map(objects::full_name).collect();
        Ok(DrainState {
            asked,
            cordoned,
            evict: names(|_| true),
            unmanaged: names(|pod| owner::controller(pod).is_none()),
            local_data: names(has_local_data),
        })
    }

    /// The pods that a drain evicts from this node.
    async fn guests(&self) -> Result<Vec<Value>, UpgradeError> {
        let mut pods = api::pods_of_node(self.api.client(), &self.node, LIMIT).await?;
        pods.retain(is_guest);
        Ok(pods)
    }
}

impl Upgrade<'_> {
    /// Makes this node unschedulable and evicts its guests; returns when they are gone.
    pub(crate) async fn drain(&self, before: &mut Before) -> Result<String, UpgradeError> {
        let node = &self.sight.node;
        let path = node_path(node);
        let live = self.sight.api.get(&path).await?.unwrap_or_default();
        if live["spec"]["unschedulable"] != true {
            // Noted first: who kills us in between finds a node that we may make schedulable again.
            before.cordoned = true;
            self.state.write(before)?;
            self.sight.api.merge(&path, &json!({"spec": {"unschedulable": true}})).await?;
        }
        let began = Instant::now();
        let mut evicted = 0;
        loop {
            let guests = self.sight.guests().await?;
            if guests.is_empty() {
                return Ok(format!("{evicted} pods were evicted from {node}"));
            }
            let mut why = format!("{} to end", objects::full_name(&guests[0]));
            for guest in guests.iter().filter(|guest| !objects::is_deleting(guest)) {
                match evict(&self.sight.api, guest).await? {
                    None => evicted += 1,
                    Some(reason) => why = format!("{}: {reason}", objects::full_name(guest)),
                }
            }
            if began.elapsed() > self.patience.timeout {
                return Err(UpgradeError::NotDrained { node: node.clone(), after: began.elapsed(), why });
            }
            (self.report)(Event::Waiting { what: why });
            sleep(POLL).await;
        }
    }

    /// Lets pods onto this node again, if it was this upgrade that kept them off.
    pub(crate) async fn uncordon(&self, before: &mut Before) -> Result<String, UpgradeError> {
        let node = &self.sight.node;
        if !before.cordoned {
            return Ok(format!("{node} was unschedulable before, and stays so"));
        }
        self.sight.api.merge(&node_path(node), &json!({"spec": {"unschedulable": null}})).await?;
        before.cordoned = false;
        self.state.write(before)?;
        Ok(format!("{node} is schedulable"))
    }
}

/// Asks for a pod's eviction; says why it is put off, by a disruption budget for instance.
async fn evict(api: &Patient, pod: &Value) -> Result<Option<String>, ApiError> {
    let (namespace, name) = (objects::namespace(pod), objects::name(pod));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"namespace": namespace, "name": name},
        // Another pod of that name is another pod.
        "deleteOptions": {"preconditions": {"uid": objects::uid(pod)}}});
    let call = Call::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction"), &eviction);
    match api.send_once(&call).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() || error.status() == Some(api::CONFLICT) => Ok(None),
        Err(error) if error.passes() => Ok(Some(host::error::chain(&error))),
        Err(error) => Err(error),
    }
}

fn node_path(node: &str) -> String {
    format!("/api/v1/nodes/{node}")
}

/// Whether it can run elsewhere, or is to end: not what belongs to this very node, nor the control plane.
fn is_guest(pod: &Value) -> bool {
    let metadata = &pod["metadata"];
    let of_node = owner::controller(pod).is_some_and(|owner| owner["kind"] == "DaemonSet");
    let system = metadata["namespace"] == object::KUBE_SYSTEM;
    let control_plane = system && !pod["spec"]["nodeSelector"][label::CONTROL_PLANE_NODE].is_null();
    !(readiness::has_ended(pod) || origin::is_mirror(pod) || of_node || control_plane)
}

fn has_local_data(pod: &Value) -> bool {
    pod::volumes(pod).iter().any(|volume| !volume["emptyDir"].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str) -> Value {
        json!({"kind": "Pod", "status": {"phase": "Running"}, "spec": {}, "metadata": {"namespace": "kube-system",
            "name": "a", "ownerReferences": [{"kind": kind, "controller": true}]}})
    }

    #[test]
    fn what_belongs_to_the_node_or_the_control_plane_stays() {
        assert!(is_guest(&of("ReplicaSet")));
        assert!(!is_guest(&of("DaemonSet")));
        let mut scheduler = of("ReplicaSet");
        scheduler["spec"]["nodeSelector"] = json!({"node-role.kubernetes.io/control-plane": ""});
        assert!(!is_guest(&scheduler));
        let mut mirror = of("Node");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        assert!(!is_guest(&mirror));
        let mut job = of("Job");
        job["status"]["phase"] = json!("Succeeded");
        assert!(!is_guest(&job));
    }

    #[test]
    fn local_data_is_that_of_an_empty_dir() {
        let mut pod = of("ReplicaSet");
        assert!(!has_local_data(&pod));
        pod["spec"]["volumes"] =
            json!([{"name": "a", "hostPath": {"path": "/a"}}, {"name": "b", "emptyDir": {}}]);
        assert!(has_local_data(&pod));
    }
}
