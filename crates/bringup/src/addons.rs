//! Which manifests the control plane does not wait for. Their pods would start in the same seconds as
//! the control plane's own and take the processor from the apiserver that serves: so they are applied
//! when the control plane stands.

use apply::{Plan, Rank};
use serde_json::Value;

use crate::required::RequiredPod;

/// Kinds that make pods, and where in them the pod's spec is.
const WORKLOADS: [(&str, &str); 7] = [
    ("DaemonSet", "/spec/template"),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("Pod", ""),
];
/// Who has this label (kubeadm's and bootkube's) belongs to the control plane.
const TIER: (&str, &str) = ("tier", "control-plane");

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
    let is_required = |step: &apply::Step| {
        let namespace = step.object.namespace.as_deref().unwrap_or("default");
        template(&step.value).is_some() && required.iter().any(|r| r.matches(namespace, &step.object.name))
    };
    let alone = plan.steps.iter().filter(|s| is_required(s)).all(|s| stands_alone(&s.value));
    let (addons, control_plane) = plan.steps.into_iter().partition(|step| {
        let workload =
            template(&step.value).is_some() && !is_required(step) && !of_control_plane(&step.value);
        alone && (workload || step.rank == Rank::Hooks)
    });
    Parts {
        control_plane: Plan { steps: control_plane, refused: plan.refused },
        addons: Plan { steps: addons, refused: Vec::new() },
    }
}

/// The pod, or the template of pods, that an object is or has.
fn template(object: &Value) -> Option<&Value> {
    let kind = object.get("kind")?.as_str()?;
    let (_, at) = WORKLOADS.iter().find(|(name, _)| *name == kind)?;
    object.pointer(at)
}

fn of_control_plane(object: &Value) -> bool {
    let (key, value) = TIER;
    object.pointer("/metadata/labels").and_then(|labels| labels.get(key)).is_some_and(|v| v == value)
}

/// Whether the pods need no more than the node that they run on.
fn stands_alone(object: &Value) -> bool {
    let spec = template(object).and_then(|t| t.get("spec"));
    let is = |key: &str, value: bool| spec.and_then(|s| s.get(key)).and_then(Value::as_bool) == Some(value);
    is("hostNetwork", true) && is("automountServiceAccountToken", false)
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
