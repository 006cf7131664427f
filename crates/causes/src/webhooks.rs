//! Webhooks of admission that the cluster cannot do without, while they can: whose failure is a refusal, and which are asked
//! of what the control plane and the kubelets do all the time.

use std::collections::BTreeSet;

use checks::kind;
use names::object::KUBE_SYSTEM;
use objects::{items, name, pod, text};
use serde_json::{Value, json};

use crate::cause::Cause;
use crate::refusal::{delete, named};
use crate::seen::{Backend, Seen};
use crate::selector;

/// Where the kubelets' heartbeats are (`NamespaceNodeLease` in k8s.io/api/core/v1/types.go).
const NODE_LEASES: &str = "kube-node-lease";
/// The label by which every namespace has its own name (`LabelMetadataName` in k8s.io/api/core/v1/well_known_labels.go).
const OWN_NAME: &str = "kubernetes.io/metadata.name";

/// Something that a cluster does all the time.
struct Doing {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    operation: &'static str,
    /// In whose namespace; none for what has none.
    namespace: Option<&'static str>,
    /// What is asked for, for people.
    what: &'static str,
    /// What comes of it when it is refused.
    refused: &'static str,
}

const fn pods(
    subresource: &'static str,
    operation: &'static str,
    what: &'static str,
    refused: &'static str,
) -> Doing {
    Doing { group: "", resource: "pods", subresource, operation, namespace: Some(KUBE_SYSTEM), what, refused }
}

const DOINGS: [Doing; 7] = [
    pods("", "CREATE", "new pods", "no pod can be made"),
    pods("binding", "CREATE", "bindings of pods", "no pod gets a node"),
    pods("status", "UPDATE", "pods/status", "kubelets cannot tell how their pods are"),
    leases(KUBE_SYSTEM, "leases", "scheduler and controller-manager cannot keep their leadership"),
    leases(NODE_LEASES, "leases of nodes", "kubelets cannot tell that they live"),
    nodes("", "CREATE", "new nodes", "no node can register"),
    nodes("status", "UPDATE", "nodes/status", "kubelets cannot tell how their nodes are"),
];

const fn leases(namespace: &'static str, what: &'static str, refused: &'static str) -> Doing {
    let (group, resource) = ("coordination.k8s.io", "leases");
    Doing { group, resource, subresource: "", operation: "UPDATE", namespace: Some(namespace), what, refused }
}

const fn nodes(
    subresource: &'static str,
    operation: &'static str,
    what: &'static str,
    refused: &'static str,
) -> Doing {
    Doing { group: "", resource: "nodes", subresource, operation, namespace: None, what, refused }
}

/// The configurations in which nobody answers for something that the cluster does all the time, and those that stand
/// between the control plane's pods and the API.
pub(crate) fn find(seen: &Seen) -> Vec<Cause> {
    seen.webhooks.iter().filter_map(|config| of_config(config, seen)).collect()
}

fn of_config(config: &Value, seen: &Seen) -> Option<Cause> {
    let hooks = || items(&config["webhooks"]).iter().filter(|hook| hook["failurePolicy"] != "Ignore");
    let (object, name) = (named(config), kind::WEBHOOK.of(name(config)));
    for hook in hooks() {
        let Some(silent) = silent(hook, seen) else { continue };
        let caught: Vec<_> = DOINGS.iter().filter(|doing| catches(hook, doing, seen)).collect();
        if caught.is_empty() {
            continue;
        }
        let stops = caught.iter().any(|doing| doing.refused == DOINGS[0].refused);
        let all = |of: &dyn Fn(&Doing) -> &'static str| {
            let each: BTreeSet<_> = caught.iter().map(|doing| of(doing)).collect();
            each.into_iter().collect::<Vec<_>>().join(", ")
        };
        let what = format!(
            "{object} is asked of {}, {silent}, and what it does not answer is refused: {}",
            all(&|doing| doing.what),
            all(&|doing| doing.refused)
        );
        let remedy = format!("have it answered, or remove it: {}", delete(config));
        return Some(Cause::new(name, object, what, remedy).stopping_pods(stops));
    }
    let hook = hooks().find(|hook| catches(hook, &DOINGS[0], seen))?;
    let what = format!(
        "{object} ({}) is asked of new pods of {KUBE_SYSTEM}, too: when it does not answer, no pod can be made there, and \
         after a power cut its own are not there yet",
        text(&hook["name"])
    );
    let remedy = format!("exempt {KUBE_SYSTEM} by its namespaceSelector, or set failurePolicy to Ignore");
    Some(Cause::new(name, object, what, remedy))
}

/// That nobody answers, as a clause; none where somebody may. Of a webhook that is not in the cluster nothing is known here.
fn silent(hook: &Value, seen: &Seen) -> Option<String> {
    let service = &hook["clientConfig"]["service"];
    let (namespace, name) = (service["namespace"].as_str()?, service["name"].as_str()?);
    match seen.backends.get(&(namespace.to_owned(), name.to_owned()))? {
        Backend::Ready => None,
        Backend::Nobody => Some(format!("nobody behind its Service {namespace}/{name} is ready")),
        Backend::NoService => Some(format!("its Service {namespace}/{name} does not exist")),
    }
}

/// Whether a webhook is asked of it, as far as is known without its `matchConditions`.
fn catches(hook: &Value, doing: &Doing, seen: &Seen) -> bool {
    items(&hook["rules"]).iter().any(|rule| names(rule, doing))
        && doing.namespace.is_none_or(|namespace| in_namespace(hook, namespace, seen))
        && has_labels(&hook["objectSelector"], doing, seen)
}

/// k8s.io/apiserver, pkg/admission/plugin/webhook/predicates/rules/rules.go.
fn names(rule: &Value, doing: &Doing) -> bool {
    let lists = |list: &Value, wanted: &str| items(list).iter().any(|one| one == "*" || one == wanted);
    let resource = |one: &Value| {
        let (resource, sub) = text(one).split_once('/').unwrap_or((text(one), ""));
        (resource == "*" || resource == doing.resource) && (sub == "*" || sub == doing.subresource)
    };
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => doing.namespace.is_some(),
        Some("Cluster") => doing.namespace.is_none(),
        _ => true,
    };
    scope
        && lists(&rule["apiGroups"], doing.group)
        && lists(&rule["operations"], doing.operation)
        && items(&rule["resources"]).iter().any(resource)
}

fn in_namespace(hook: &Value, namespace: &str, seen: &Seen) -> bool {
    let own = json!({OWN_NAME: namespace});
    let known = &seen.namespace["metadata"]["labels"];
    let labels = if namespace == name(&seen.namespace) && known.is_object() { known } else { &own };
    selector::takes(&hook["namespaceSelector"], labels)
}

/// A selector of objects takes those of the control plane where it takes one of the pods that workloads of `kube-system`
/// make. Leases and nodes have no labels that one would choose them by.
fn has_labels(selector: &Value, doing: &Doing, seen: &Seen) -> bool {
    let templates = seen.daemonsets.iter().chain(&seen.replicasets).filter_map(pod::template);
    let mut labels = templates.map(|template| &template["metadata"]["labels"]);
    selector::is_empty(selector)
        || (doing.resource == "pods" && labels.any(|labels| selector::takes(selector, labels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rule: Value, more: Value) -> Value {
        let mut hook = json!({"name": "a.b.c", "rules": [rule],
            "clientConfig": {"service": {"namespace": "default", "name": "nobody"}}});
        hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "nobody"}, "webhooks": [hook]})
    }

    fn rule(group: &str, resource: &str, operation: &str) -> Value {
        json!({"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]})
    }

    fn found(config: Value, backend: Backend) -> Option<Cause> {
        let backends = [(("default".to_owned(), "nobody".to_owned()), backend)].into();
        let labels = json!({OWN_NAME: KUBE_SYSTEM});
        let daemonset =
            json!({"kind": "DaemonSet", "spec": {"template": {"metadata": {"labels": {"tier": "x"}}}}});
        let seen = Seen {
            webhooks: vec![config],
            backends,
            namespace: json!({"metadata": {"name": KUBE_SYSTEM, "labels": labels}}),
            daemonsets: vec![daemonset],
            ..Seen::default()
        };
        find(&seen).pop()
    }

    fn said(rule: Value) -> Option<String> {
        found(config(rule, json!({})), Backend::NoService).map(|cause| cause.check.what)
    }

    #[test]
    fn a_dead_webhook_is_named_with_what_it_keeps_from_happening() {
        let cause = found(config(rule("", "pods", "CREATE"), json!({})), Backend::NoService).unwrap();
        assert_eq!(
            cause.to_string(),
            "ValidatingWebhookConfiguration nobody is asked of new pods, its Service default/nobody does not exist, and \
             what it does not answer is refused: no pod can be made; have it answered, or remove it: kubectl delete \
             validatingwebhookconfiguration nobody"
        );
        assert!(cause.stops_pods);
        assert_eq!((cause.check.name.as_str(), cause.check.is_failure()), ("Webhook-nobody", false));
        assert!(cause.before_a_rollout().is_failure());
        let status = said(rule("", "pods/status", "UPDATE")).unwrap();
        assert!(
            status.contains("kubelets cannot tell how their pods are") && !status.contains("new pods"),
            "{status}"
        );
        let leases = said(rule("coordination.k8s.io", "leases", "*")).unwrap();
        assert!(leases.contains("leadership") && leases.contains("that they live"), "{leases}");
        let everything = said(rule("*", "*/*", "*")).unwrap();
        for word in ["no pod can be made", "no node can register", "leadership", "no pod gets a node"] {
            assert!(everything.contains(word), "{everything}");
        }
        let nobody = found(config(rule("", "pods", "CREATE"), json!({})), Backend::Nobody).unwrap();
        assert!(nobody.check.what.contains("nobody behind its Service default/nobody is ready"), "{nobody}");
    }

    #[test]
    fn what_the_cluster_does_without_is_nobody_s_business() {
        for rule in [rule("", "configmaps", "*"), rule("", "pods", "DELETE"), rule("apps", "pods", "*")] {
            assert_eq!(said(rule.clone()), None, "{rule}");
        }
        let none =
            |more: Value| found(config(rule("", "pods", "CREATE"), more), Backend::NoService).is_none();
        assert!(none(json!({"failurePolicy": "Ignore"})));
        let elsewhere =
            json!({"matchExpressions": [{"key": OWN_NAME, "operator": "NotIn", "values": [KUBE_SYSTEM]}]});
        assert!(none(json!({"namespaceSelector": elsewhere})));
        assert!(none(json!({"objectSelector": {"matchLabels": {"tier": "y"}}})));
        assert!(
            !none(json!({"objectSelector": {"matchLabels": {"tier": "x"}}})),
            "these are labels of our pods"
        );
        let mut namespaced = rule("", "nodes", "CREATE");
        namespaced["scope"] = json!("Namespaced");
        assert_eq!(said(namespaced), None);
    }

    #[test]
    fn one_that_answers_is_told_of_where_it_stands_before_the_control_plane_s_pods() {
        let caught = found(config(rule("", "pods", "CREATE"), json!({})), Backend::Ready).unwrap();
        assert!(
            !caught.stops_pods && caught.check.what.contains("is asked of new pods of kube-system, too"),
            "{caught}"
        );
        assert!(found(config(rule("", "pods/status", "UPDATE"), json!({})), Backend::Ready).is_none());
        let by_url = json!({"clientConfig": {"url": "https://hook.example"}});
        assert!(!found(config(rule("", "pods", "CREATE"), by_url), Backend::NoService).unwrap().stops_pods);
    }
}
