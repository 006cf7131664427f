//! Objects of kubestrap's that somebody has deleted.

use checks::kind;
use objects::ObjectRef;
use serde_json::Value;

use crate::cause::Cause;
use crate::seen::Seen;

/// The group of roles and bindings.
const RIGHTS: &str = "rbac.authorization.k8s.io";

/// Those of rendered objects whose absence is felt: what makes pods, and what gives rights.
pub fn missed<'a>(rendered: impl Iterator<Item = &'a Value>) -> Vec<ObjectRef> {
    let felt = |object: &ObjectRef| {
        matches!(object.kind.as_str(), "DaemonSet" | "Deployment") || object.group() == RIGHTS
    };
    rendered.map(ObjectRef::of).filter(felt).collect()
}

/// What is not there any more of what there should be.
pub(crate) fn find(seen: &Seen) -> Vec<Cause> {
    seen.gone.iter().map(gone).collect()
}

fn gone(object: &ObjectRef) -> Cause {
    let consequence = if object.group() == RIGHTS {
        "whoever has rights by it has them no more"
    } else {
        "nobody makes its pods any more"
    };
    let what = format!("{object} is gone: {consequence}");
    let name = kind::OBJECT_PRESENT.of(format_args!("{}/{}", object.kind, object.name));
    Cause::new(name, object.to_string(), what, "put it back: `kubestrap upgrade apply` does")
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
        ];
        let kinds: Vec<_> = missed(rendered.iter()).into_iter().map(|object| object.kind).collect();
        assert_eq!(kinds, ["DaemonSet", "RoleBinding", "Deployment"]);
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
        let told: Vec<_> = find(&Seen { gone: vec![daemonset, binding], ..Seen::default() })
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "DaemonSet kube-system/kube-proxy is gone: nobody makes its pods any more; put it back: `kubestrap upgrade \
                 apply` does",
                "ClusterRoleBinding kubeadm:cluster-admins is gone: whoever has rights by it has them no more; put it back: \
                 `kubestrap upgrade apply` does",
            ]
        );
    }
}
