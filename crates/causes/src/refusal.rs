//! What the API says when it refuses an object, and whose refusal that is: the words of each admission plugin, with the
//! object that has it say so and the command that ends it.

use names::label::POD_SECURITY_ENFORCE;
use names::object::KUBE_SYSTEM;
use objects::{items, name};
use serde_json::Value;

use crate::seen::Seen;

/// Whose refusal it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The object, for people.
    pub(crate) object: String,
    /// What ends it, as an imperative clause.
    pub(crate) remedy: String,
    /// Whether `upgrade apply` is what ends it, so that nothing has to be done before it.
    pub(crate) by_upgrade: bool,
}

impl Refused {
    fn by(object: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { object: object.into(), remedy: remedy.into(), by_upgrade: false }
    }

    fn put_back(object: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { by_upgrade: true, ..Self::by(object, remedy) }
    }
}

/// What the limits of a LimitRange are called in its refusals (plugin/pkg/admission/limitranger/admission.go).
const LIMITS: [&str; 4] = [
    " usage per Container is ",
    " usage per Pod is ",
    " usage per PersistentVolumeClaim is ",
    " max limit to request ratio per ",
];
/// What validation says when a LimitRange has given a container a limit that is below its request
/// (`validateContainerResourceRequirements` in pkg/apis/core/validation/validation.go).
const ABOVE_DEFAULT: &str = "must be less than or equal to ";

/// Whose refusal a message of the API is, of an object in kube-system; none when nobody here knows the words.
pub(crate) fn whose(message: &str, seen: &Seen) -> Option<Refused> {
    webhook(message, seen)
        .or_else(|| policy(message))
        .or_else(|| quota(message))
        .or_else(|| pod_security(message, seen))
        .or_else(|| limit_range(message, seen))
        .or_else(|| mirror(message, seen))
        .or_else(|| service_account(message))
        .or_else(|| rights(message))
}

/// What follows a marker, up to the next `end`.
fn between<'a>(message: &'a str, marker: &str, end: char) -> Option<&'a str> {
    let (_, rest) = message.split_once(marker)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// k8s.io/apiserver, pkg/util/webhook/error.go and pkg/admission/plugin/webhook/errors/statuserror.go.
fn webhook(message: &str, seen: &Seen) -> Option<Refused> {
    let dead = between(message, "failed calling webhook \"", '"');
    let hook = dead.or_else(|| between(message, "admission webhook \"", '"'))?;
    let has_it = |config: &&Value| items(&config["webhooks"]).iter().any(|one| one["name"] == hook);
    let Some(config) = seen.webhooks.iter().find(has_it) else {
        let find =
            "look for it: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o wide";
        return Some(Refused::by(format!("webhook {hook}"), find));
    };
    let first = if dead.is_some() { "see that it answers" } else { "let it permit this" };
    Some(Refused::by(named(config), format!("{first}, or remove it: {}", delete(config))))
}

/// Kind and name of an object without a namespace.
pub(crate) fn named(object: &Value) -> String {
    format!("{} {}", objects::text(&object["kind"]), name(object))
}

/// The command that removes an object without a namespace.
pub(crate) fn delete(object: &Value) -> String {
    format!("kubectl delete {} {}", objects::text(&object["kind"]).to_lowercase(), name(object))
}

/// k8s.io/apiserver, pkg/admission/plugin/policy/validating/dispatcher.go.
fn policy(message: &str) -> Option<Refused> {
    let policy = between(message, "ValidatingAdmissionPolicy '", '\'')?;
    let Some(binding) = between(message, "with binding '", '\'') else {
        let remedy = format!("remove it: kubectl delete validatingadmissionpolicy {policy}");
        return Some(Refused::by(format!("ValidatingAdmissionPolicy {policy}"), remedy));
    };
    let object = format!("ValidatingAdmissionPolicyBinding {binding} of policy {policy}");
    Some(Refused::by(object, format!("remove it: kubectl delete validatingadmissionpolicybinding {binding}")))
}

/// k8s.io/apiserver, pkg/admission/plugin/resourcequota/controller.go.
fn quota(message: &str) -> Option<Refused> {
    let exceeded = between(message, "exceeded quota: ", ',');
    let quota = exceeded.or_else(|| between(message, "failed quota: ", ':'))?;
    let remedy = format!("raise or remove it: kubectl -n {KUBE_SYSTEM} delete resourcequota {quota}");
    Some(Refused::by(format!("ResourceQuota {KUBE_SYSTEM}/{quota}"), remedy))
}

/// k8s.io/pod-security-admission, admission/admission.go.
fn pod_security(message: &str, seen: &Seen) -> Option<Refused> {
    let level = between(message, "violates PodSecurity \"", '"')?;
    if seen.namespace.is_object() && seen.namespace["metadata"]["labels"][POD_SECURITY_ENFORCE].is_null() {
        let remedy = format!("exempt namespace {KUBE_SYSTEM} in the apiserver's AdmissionConfiguration");
        return Some(Refused::by(format!("Pod Security's default {level}"), remedy));
    }
    let object = format!("label {POD_SECURITY_ENFORCE} ({level}) of Namespace {KUBE_SYSTEM}");
    let remedy = format!("take it away: kubectl label namespace {KUBE_SYSTEM} {POD_SECURITY_ENFORCE}-");
    Some(Refused::by(object, remedy))
}

fn limit_range(message: &str, seen: &Seen) -> Option<Refused> {
    let names: Vec<&str> = seen.limit_ranges.iter().map(name).collect();
    // By these words alone it could as well be the workload's own fault.
    let above_default =
        message.contains(ABOVE_DEFAULT) && message.contains(" limit of ") && !names.is_empty();
    if !above_default && !LIMITS.iter().any(|words| message.contains(words)) {
        return None;
    }
    let objects: Vec<_> = names.iter().map(|name| format!("{KUBE_SYSTEM}/{name}")).collect();
    let remedy =
        format!("change or remove it: kubectl -n {KUBE_SYSTEM} delete limitrange {}", names.join(" "));
    Some(Refused::by(format!("LimitRange {}", objects.join(", ")), remedy.trim_end()))
}

/// A static pod's manifest refers to no secret and no account: somebody adds it (plugin/pkg/admission/serviceaccount).
fn mirror(message: &str, seen: &Seen) -> Option<Refused> {
    message.contains("a mirror pod may not ").then(|| {
        let changers = changers(seen).map(|all| format!(" ({all})")).unwrap_or_default();
        Refused::by(format!("what changes new pods{changers}"), remove_changers(seen))
    })
}

/// What may change an object on its way into the API.
fn changing(seen: &Seen) -> impl Iterator<Item = &Value> {
    let hooks = seen.webhooks.iter().filter(|config| config["kind"] == "MutatingWebhookConfiguration");
    hooks.chain(&seen.mutating_bindings)
}

/// The same for people; none when nothing of it is there any more.
pub(crate) fn changers(seen: &Seen) -> Option<String> {
    let found: Vec<_> = changing(seen).map(named).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// The commands that remove it; what has nothing to remove looks for it in the apiserver's own flags.
pub(crate) fn remove_changers(seen: &Seen) -> String {
    let all: Vec<_> = changing(seen).map(delete).collect();
    if all.is_empty() {
        return "see what changes new pods".to_owned();
    }
    format!("exempt {} from the one that does it, or remove that: {}", KUBE_SYSTEM, all.join(", "))
}

/// plugin/pkg/admission/serviceaccount/admission.go.
fn service_account(message: &str) -> Option<Refused> {
    let account = between(message, "serviceaccount \"", '"').filter(|_| message.contains("\" not found"))?;
    let remedy = "put it back: `kubestrap upgrade apply` does, where it is one of kubestrap's";
    Some(Refused::put_back(format!("ServiceAccount {KUBE_SYSTEM}/{account}, which is gone"), remedy))
}

/// k8s.io/apiserver, pkg/endpoints/handlers/responsewriters/errors.go.
fn rights(message: &str) -> Option<Refused> {
    let user = between(message, "User \"", '"').filter(|_| message.contains(" cannot "))?;
    let remedy = "put them back: `kubestrap upgrade apply` makes kubestrap's anew, kube-apiserver its own when it starts";
    Some(Refused::put_back(format!("the rights of {user}: a role or binding is gone"), remedy))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen() -> Seen {
        Seen {
            namespace: json!({"metadata": {"name": KUBE_SYSTEM, "labels": {POD_SECURITY_ENFORCE: "restricted"}}}),
            limit_ranges: vec![json!({"metadata": {"name": "small"}})],
            webhooks: vec![
                json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "nobody"},
                    "webhooks": [{"name": "a.b.c"}]}),
                json!({"kind": "MutatingWebhookConfiguration", "metadata": {"name": "sidecars"},
                    "webhooks": [{"name": "d.e.f"}]}),
            ],
            ..Seen::default()
        }
    }

    /// Messages as kube-apiserver v1.37 writes them, whose they are and what ends them.
    const TOLD: [(&str, &str, &str); 12] = [
        (
            "Internal error occurred: failed calling webhook \"a.b.c\": failed to call webhook: Post \"https://nobody.default.svc:443/?timeout=10s\": service \"nobody\" not found",
            "ValidatingWebhookConfiguration nobody",
            "see that it answers, or remove it: kubectl delete validatingwebhookconfiguration nobody",
        ),
        (
            "admission webhook \"d.e.f\" denied the request: no",
            "MutatingWebhookConfiguration sidecars",
            "let it permit this, or remove it: kubectl delete mutatingwebhookconfiguration sidecars",
        ),
        (
            "failed calling webhook \"x.y.z\": EOF",
            "webhook x.y.z",
            "look for it: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o wide",
        ),
        (
            "pods \"x-\" is forbidden: ValidatingAdmissionPolicy 'no-pods' with binding 'everywhere' denied request: failed expression: false",
            "ValidatingAdmissionPolicyBinding everywhere of policy no-pods",
            "remove it: kubectl delete validatingadmissionpolicybinding everywhere",
        ),
        (
            "pods \"x-\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=9, limited: pods=9",
            "ResourceQuota kube-system/few",
            "raise or remove it: kubectl -n kube-system delete resourcequota few",
        ),
        (
            "pods \"x-\" is forbidden: failed quota: few: must specify limits.cpu for: x",
            "ResourceQuota kube-system/few",
            "raise or remove it: kubectl -n kube-system delete resourcequota few",
        ),
        (
            "pods \"x-\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)",
            "label pod-security.kubernetes.io/enforce (restricted:latest) of Namespace kube-system",
            "take it away: kubectl label namespace kube-system pod-security.kubernetes.io/enforce-",
        ),
        (
            "pods \"x-\" is forbidden: [maximum cpu usage per Container is 50m, but limit is 1]",
            "LimitRange kube-system/small",
            "change or remove it: kubectl -n kube-system delete limitrange small",
        ),
        (
            "Pod \"x-\" is invalid: spec.containers[0].resources.requests: Invalid value: \"250m\": must be less than or equal to cpu limit of 50m",
            "LimitRange kube-system/small",
            "change or remove it: kubectl -n kube-system delete limitrange small",
        ),
        (
            "pods \"etcd-a\" is forbidden: a mirror pod may not reference secrets",
            "what changes new pods (MutatingWebhookConfiguration sidecars)",
            "exempt kube-system from the one that does it, or remove that: kubectl delete mutatingwebhookconfiguration sidecars",
        ),
        (
            "pods \"x-\" is forbidden: error looking up service account kube-system/kube-proxy: serviceaccount \"kube-proxy\" not found",
            "ServiceAccount kube-system/kube-proxy, which is gone",
            "put it back: `kubestrap upgrade apply` does, where it is one of kubestrap's",
        ),
        (
            "pods is forbidden: User \"system:serviceaccount:kube-system:daemon-set-controller\" cannot create resource \"pods\" in API group \"\" in the namespace \"kube-system\"",
            "the rights of system:serviceaccount:kube-system:daemon-set-controller: a role or binding is gone",
            "put them back: `kubestrap upgrade apply` makes kubestrap's anew, kube-apiserver its own when it starts",
        ),
    ];

    #[test]
    fn every_plugin_s_words_lead_to_the_object_that_has_it_refuse() {
        for (message, object, remedy) in TOLD {
            let found = whose(message, &seen()).unwrap();
            assert_eq!((found.object.as_str(), found.remedy.as_str()), (object, remedy), "{message}");
            assert_eq!(found.by_upgrade, remedy.contains("`kubestrap upgrade apply`"), "{message}");
        }
    }

    #[test]
    fn what_nobody_knows_is_not_guessed() {
        let none = Seen::default();
        assert_eq!(whose("etcdserver: request timed out", &seen()), None);
        let above = "spec: Invalid value: \"250m\": must be less than or equal to cpu limit of 50m";
        assert_eq!(whose(above, &none), None, "without a LimitRange it is the workload's own");
        // A label is named only where it is.
        let secure = "violates PodSecurity \"baseline:latest\": hostPort";
        let unlabelled = Seen { namespace: json!({"metadata": {"name": KUBE_SYSTEM}}), ..Seen::default() };
        assert_eq!(whose(secure, &unlabelled).unwrap().object, "Pod Security's default baseline:latest");
    }
}
