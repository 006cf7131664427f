//! Which manifests the control plane does not wait for. Their pods would start in the same seconds as
//! the control plane's own and take the processor from the apiserver that serves: so they are applied
//! when the control plane stands.

use apply::{Plan, Rank};
use names::label;
use objects::pod;
use serde_json::Value;

use crate::required::RequiredPod;

/// The objects of a plan in two parts.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The control plane and all that is no workload.
    pub(crate) control_plane: Plan,
    /// Every other workload, and what can refuse or divert requests: its backend may be one of them.
    pub(crate) addons: Plan,
}

/// Takes a plan apart. Everything is in the first part when the control plane may need an add-on to
/// become ready: a required pod that wants the pod network, or the API by its Service address.
pub(crate) fn split(plan: Plan, required: &[RequiredPod]) -> Parts {
    let is_workload = |step: &apply::Step| pod::template(&step.value).is_some();
    let is_required = |step: &apply::Step| {
        let namespace = step.object.namespace.as_deref().unwrap_or("default");
        is_workload(step) && required.iter().any(|r| r.matches(namespace, &step.object.name))
    };
    let alone = plan.steps.iter().filter(|s| is_required(s)).all(|s| stands_alone(&s.value));
    let (addons, control_plane) = plan.steps.into_iter().partition(|step| {
        let addon = is_workload(step) && !is_required(step) && !of_control_plane(&step.value);
        alone && (addon || step.rank == Rank::Hooks)
    });
    Parts {
        control_plane: Plan { steps: control_plane, refused: plan.refused },
        addons: Plan { steps: addons, refused: Vec::new() },
    }
}

fn of_control_plane(object: &Value) -> bool {
    object["metadata"]["labels"][label::TIER] == label::CONTROL_PLANE_TIER
}

/// Whether the pods need no more than the node that they run on.
fn stands_alone(object: &Value) -> bool {
    let spec = pod::spec(object);
    spec["hostNetwork"] == true && spec["automountServiceAccountToken"] == false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workload(kind: &str, name: &str, spec: Value) -> apply::Object {
        let template = json!({"spec": {"template": {"spec": spec}}});
        let mut value = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "kube-system"}});
        value.as_object_mut().unwrap().extend(template.as_object().unwrap().clone());
        apply::Object::new(value, format!("{name}.yaml:1"))
    }

    fn hook() -> apply::Object {
        let value = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                           "metadata": {"name": "hook"}});
        apply::Object::new(value, "hook.yaml:1")
    }

    fn config() -> apply::Object {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"}});
        apply::Object::new(value, "config.yaml:1")
    }

    fn names(spec: Value) -> (Vec<String>, Vec<String>) {
        let mut guardian = workload("DaemonSet", "guardian", json!({}));
        guardian.value["metadata"]["labels"] = json!({"tier": "control-plane"});
        let objects = vec![
            workload("DaemonSet", "kube-apiserver", spec),
            workload("DaemonSet", "kube-proxy", json!({"hostNetwork": true})),
            guardian,
            hook(),
            config(),
        ];
        let required = crate::options::required(["kube-system/kube-apiserver"]).unwrap();
        let parts = split(apply::plan(objects), &required);
        let list = |plan: &Plan| plan.steps.iter().map(|s| s.object.name.clone()).collect::<Vec<_>>();
        (list(&parts.control_plane), list(&parts.addons))
    }

    #[test]
    fn what_the_control_plane_does_not_wait_for_comes_second() {
        let (first, second) = names(json!({"hostNetwork": true, "automountServiceAccountToken": false}));
        assert_eq!(first, ["config", "kube-apiserver", "guardian"]);
        assert_eq!(second, ["kube-proxy", "hook"]);
    }

    #[test]
    fn a_control_plane_that_needs_the_network_gets_everything_at_once() {
        for spec in [json!({"hostNetwork": true}), json!({"automountServiceAccountToken": false})] {
            assert_eq!(names(spec).1, Vec::<String>::new());
        }
    }
}
