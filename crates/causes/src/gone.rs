//! Objects of kubestrap's that somebody has deleted.

use checks::kind;
use names::group::{ADMISSION, RBAC};
use objects::ObjectRef;
use serde_json::Value;

use crate::cause::Cause;
use crate::seen::Seen;

/// Whether it is one by which somebody may do something, or may not: a role, a binding, an admission policy. Where such a one
/// is gone `start` puts it back, and nothing else.
pub fn is_right(object: &ObjectRef) -> bool {
    [RBAC, ADMISSION].contains(&object.group())
}

/// Those of rendered objects whose absence is felt: what makes pods, and what gives rights.
pub fn missed<'a>(rendered: impl Iterator<Item = &'a Value>) -> Vec<ObjectRef> {
    let felt =
        |object: &ObjectRef| matches!(object.kind.as_str(), "DaemonSet" | "Deployment") || is_right(object);
    rendered.map(ObjectRef::of).filter(felt).collect()
}

/// What is not there any more of what there should be.
pub(crate) fn find(seen: &Seen) -> Vec<Cause> {
    seen.gone.iter().map(gone).collect()
}

fn gone(object: &ObjectRef) -> Cause {
    let (consequence, verb) = match object.group() {
        RBAC => ("whoever has rights by it has them no more", "start"),
        ADMISSION => ("what it forbids is permitted", "start"),
        _ => ("nobody makes its pods any more", "upgrade apply"),
    };
    let what = format!("{object} is gone: {consequence}");
    let name = kind::OBJECT_PRESENT.of(format_args!("{}/{}", object.kind, object.name));
    Cause::new(name, object.to_string(), what, format!("put it back: `kubestrap {verb}` does"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_makes_pods_and_what_gives_rights_is_missed() {
        let object = |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        let rendered = [
            object("apps/v1", "DaemonSet"),
            object("v1", "ConfigMap"),
            object("rbac.authorization.k8s.io/v1", "RoleBinding"),
            object("apps/v1", "Deployment"),
            object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
        ];
        let kinds: Vec<_> = missed(rendered.iter()).into_iter().map(|object| object.kind).collect();
        assert_eq!(kinds, ["DaemonSet", "RoleBinding", "Deployment", "ValidatingAdmissionPolicy"]);
    }

    #[test]
    fn what_is_gone_is_named_with_what_puts_it_back() {
        let object = |version: &str, kind: &str, metadata: serde_json::Value| {
            ObjectRef::of(&json!({"apiVersion": version, "kind": kind, "metadata": metadata}))
        };
        let daemonset =
            object("apps/v1", "DaemonSet", json!({"name": "kube-proxy", "namespace": "kube-system"}));
        let binding = json!({"name": "kubeadm:cluster-admins"});
        let binding = object("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", binding);
        let policy = json!({"name": "kubestrap-x"});
        let policy = object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", policy);
        let told: Vec<_> = find(&Seen { gone: vec![daemonset, binding, policy], ..Seen::default() })
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "DaemonSet kube-system/kube-proxy is gone: nobody makes its pods any more; put it back: `kubestrap upgrade \
                 apply` does",
                "ClusterRoleBinding kubeadm:cluster-admins is gone: whoever has rights by it has them no more; put it back: \
                 `kubestrap start` does",
                "ValidatingAdmissionPolicy kubestrap-x is gone: what it forbids is permitted; put it back: `kubestrap start` does",
            ]
        );
    }
}
