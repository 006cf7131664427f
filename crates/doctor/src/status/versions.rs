//! Versions on a node that do not belong together, and how they are brought together again.

use names::path;

/// How many minors older than the API a kubelet may be (kubernetes.io, Version Skew Policy).
const SKEW: u32 = 3;

/// What is wrong with a kubelet beside an API of that version; nothing where the version skew policy allows both.
pub(super) fn kubelet(kubelet: &str, api: &str) -> Option<String> {
    let (theirs, ours) = (minor(kubelet)?, minor(api)?);
    let fits = theirs.0 == ours.0 && theirs.1 <= ours.1 && ours.1 - theirs.1 <= SKEW;
    (!fits).then(|| {
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

/// Major and minor of `v1.37.2`.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
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
