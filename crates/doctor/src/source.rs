//! What of a component runs on this node, and from where each pod of it comes.

use checkpoint::{Component, Generation};
use cri::Pod;
use names::{label, object};
use objects::Origin;

/// The labels by which a controller tells its revisions apart: DaemonSets and StatefulSets the
/// first, ReplicaSets the second.
const REVISIONS: [&str; 2] = [label::CONTROLLER_REVISION_HASH, label::POD_TEMPLATE_HASH];

/// A pod of a component that runs on this node.
#[derive(Clone, Debug)]
pub(crate) struct Running<'a> {
    pub(crate) pod: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) origin: Origin,
    revision: Option<&'a str>,
}

impl Running<'_> {
    /// True when that generation was made from this very pod, or from one of the same revision.
    pub(crate) fn is_of(&self, generation: &Generation) -> bool {
        let source = &generation.source;
        source.uid.as_deref() == Some(self.uid)
            || (self.revision.is_some() && source.revision.as_deref() == self.revision)
    }
}

/// What of a component runs, as the runtime's sandboxes tell. It needs no API.
pub(crate) fn running<'a>(pods: &'a [Pod], component: &Component) -> Vec<Running<'a>> {
    let of = |pod: &'a Pod| {
        let origin = origin(pod, component)?;
        let revision = REVISIONS.iter().find_map(|label| pod.labels.get(*label)).map(String::as_str);
        Some(Running { pod: &pod.name, uid: &pod.uid, origin, revision })
    };
    pods.iter().filter(|pod| pod.namespace == component.namespace).filter_map(of).collect()
}

/// None for a pod of another component.
fn origin(pod: &Pod, component: &Component) -> Option<Origin> {
    let origin = Origin::of_sandbox(&pod.name, &pod.labels, &pod.annotations);
    let is_of_it = match &origin {
        Origin::Api => is_named_after(pod, &component.name),
        Origin::Checkpoint { .. } => pod.labels.get(label::CHECKPOINT_OF) == Some(&component.name),
        Origin::Temporary => {
            let name = pod.name.strip_prefix(object::TEMPORARY_PREFIX);
            let rest = name.and_then(|name| name.strip_prefix(component.name.as_str()));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        }
        Origin::Static => false,
    };
    is_of_it.then_some(origin)
}

/// Controllers name their pods `<name>-<random>`, ReplicaSets' `<name>-<hash>-<random>`.
pub(crate) fn is_named_after(pod: &Pod, component: &str) -> bool {
    if pod.name == component {
        return true;
    }
    let Some(rest) = pod.name.strip_prefix(component).and_then(|rest| rest.strip_prefix('-')) else {
        return false;
    };
    !without_hash(pod, rest).contains('-')
}

/// The name of a pod's controller, taken from the pod's.
pub(crate) fn controller(pod: &Pod) -> &str {
    let name = pod.name.rsplit_once('-').map_or(pod.name.as_str(), |(name, _random)| name);
    let hash = pod.labels.get(label::POD_TEMPLATE_HASH);
    hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-')).unwrap_or(name)
}

fn without_hash<'a>(pod: &Pod, rest: &'a str) -> &'a str {
    let hash = pod.labels.get(label::POD_TEMPLATE_HASH);
    hash.and_then(|hash| rest.strip_prefix(hash.as_str())?.strip_prefix('-')).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cri::PodState;
    use names::annotation;

    use super::*;

    fn pod(name: &str, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Pod {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Pod {
            id: name.to_owned(),
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            attempt: 0,
            state: PodState::Ready,
            labels: map(labels),
            annotations: map(annotations),
            created: None,
        }
    }

    #[test]
    fn a_component_s_pods_are_told_from_others_with_like_names() {
        let pods = [
            pod(
                "kube-scheduler-7d9f-abcde",
                &[("pod-template-hash", "7d9f")],
                &[(annotation::CONFIG_SOURCE, "api")],
            ),
            pod(
                "kube-scheduler-checkpoint-demo",
                &[(label::CHECKPOINT_OF, "kube-scheduler")],
                &[(annotation::CONFIG_SOURCE, "file"), (annotation::GENERATION, "000001-a")],
            ),
            pod("bootstrap-kube-scheduler-demo", &[], &[(annotation::CONFIG_SOURCE, "file")]),
            pod(
                "kube-scheduler-extra-7d9f-abcde",
                &[("pod-template-hash", "7d9f")],
                &[(annotation::CONFIG_SOURCE, "api")],
            ),
            pod("kube-schedulers-abcde", &[], &[]),
        ];
        assert_eq!(controller(&pods[0]), "kube-scheduler");
        assert_eq!(controller(&pods[4]), "kube-schedulers");
        let component = Component { namespace: "kube-system".to_owned(), name: "kube-scheduler".to_owned() };
        let found: Vec<_> = running(&pods, &component).into_iter().map(|r| (r.pod, r.origin)).collect();
        assert_eq!(
            found,
            [
                ("kube-scheduler-7d9f-abcde", Origin::Api),
                ("kube-scheduler-checkpoint-demo", Origin::Checkpoint { generation: "000001-a".to_owned() }),
                ("bootstrap-kube-scheduler-demo", Origin::Temporary),
            ]
        );
    }
}
