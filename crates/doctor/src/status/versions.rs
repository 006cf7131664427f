//! Versions on a node that do not belong together, and how they are brought together again.

use cluster::KubernetesVersion;
use names::path;

const SKEW: u16 = KubernetesVersion::NODE_SKEW;

/// What is wrong with a kubelet beside an API of that version; nothing where the version skew policy allows both.
pub(super) fn kubelet(kubelet: &str, api: &str) -> Option<String> {
    let version = |text: &str| text.parse::<KubernetesVersion>().ok();
    let (theirs, ours) = (version(kubelet)?, version(api)?);
    (!ours.allows_kubelet(theirs)).then(|| {
        format!(
            "its kubelet is {kubelet} and the API {api}: a kubelet may be {SKEW} minors older and never newer. \
             `kubestrap up` with the bundle of {api} puts its own kubelet back"
        )
    })
}

/// What is wrong with an asset directory beside an API of that version.
pub(super) fn assets(rendered: &str, api: &str) -> Option<String> {
    (rendered != api).then(|| {
        format!(
            "{} is rendered for {rendered} and the API is {api}: apply none of its manifests by hand. \
             `kubestrap upgrade plan` says what an upgrade to {rendered} takes; `kubestrap up` with the bundle of the \
             version that the cluster was made with renders it again",
            path::ASSETS
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_skew_policy_allows_is_not_mixed() {
        for (older, api) in
            [("v1.37.2", "v1.37.3"), ("v1.37.3", "v1.37.2"), ("v1.34.1", "v1.37.2"), ("?", "v1")]
        {
            assert_eq!(kubelet(older, api), None, "{older} {api}");
        }
        let said = kubelet("v1.37.2", "v1.36.3").unwrap();
        assert!(said.starts_with("its kubelet is v1.37.2 and the API v1.36.3"), "{said}");
        assert!(kubelet("v1.33.9", "v1.37.2").is_some());
        assert_eq!(assets("v1.37.2", "v1.37.2"), None);
        assert!(
            assets("v1.36.3", "v1.37.2").unwrap().contains("is rendered for v1.36.3 and the API is v1.37.2")
        );
    }
}
