//! What the API servers of neighbouring minors know and do not know of each other: which APIs are in use
//! that the target does not serve any more, and which objects a lower minor could not read.

use cluster::KubernetesVersion;
use serde::Serialize;

/// A deprecated API that a client asked for since the apiserver's start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeprecatedApi {
    /// Its group; empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The resource, with its subresource.
    pub resource: String,
    /// The release that does not serve it any more, `1.38`; empty when none is set.
    pub removed_release: String,
}

impl DeprecatedApi {
    /// Whether that release serves it no more.
    pub(crate) fn is_gone_in(&self, version: KubernetesVersion) -> bool {
        let minor = self.removed_release.strip_prefix("1.").and_then(|minor| minor.parse::<u16>().ok());
        minor.is_some_and(|minor| minor <= version.minor())
    }

    /// `storage.k8s.io/v1beta1 volumeattributesclasses`.
    pub(crate) fn name(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!("{}/", self.group) };
        format!("{group}{} {}", self.version, self.resource)
    }
}

/// Name of the apiserver's metric that tells which deprecated APIs were asked for.
const METRIC: &str = "apiserver_requested_deprecated_apis{";

/// The deprecated APIs that an apiserver's metrics name, each once.
pub(crate) fn deprecated(metrics: &str) -> Vec<DeprecatedApi> {
    let mut found: Vec<_> = metrics.lines().filter_map(|line| line.strip_prefix(METRIC)).map(one).collect();
    found.sort();
    found.dedup();
    found
}

fn one(labels: &str) -> DeprecatedApi {
    let label = |name: &str| {
        let rest = labels.split_once(&format!("{name}=\"")).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
    };
    // The label `resource` must not be found in `subresource`: the metric's labels are sorted by name.
    let resource = labels.split_once(",resource=\"").and_then(|(_, rest)| rest.split('"').next());
    let resource = resource.unwrap_or_default();
    let subresource = label("subresource");
    let resource =
        if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
    DeprecatedApi {
        // Labels are sorted, so that `group` is the first.
        group: label("group"),
        version: label("version"),
        resource,
        removed_release: label("removed_release"),
    }
}

/// Resources that an apiserver of the minor stores in a form that the minor below cannot read. Anything
/// else is stored in a version that the minor below knows (upstream's rule for storage versions).
///
/// Sources: `NewStorageFactoryConfigEffectiveVersion` in pkg/kubeapiserver/default_storage_factory_builder.go
/// of both releases, and `APILifecycleIntroduced` of the kinds in k8s.io/api. All are off by default.
const UNREADABLE_BELOW: [(u16, &str, &str); 5] = [
    (37, "lifecycle.k8s.io/v1alpha1", "evictions"),
    (37, "lifecycle.k8s.io/v1alpha1", "evictionrequests"),
    (37, "scheduling.k8s.io/v1beta1", "workloads"),
    (37, "scheduling.k8s.io/v1beta1", "podgroups"),
    (37, "scheduling.k8s.io/v1alpha3", "compositepodgroups"),
];

/// Paths of the lists that must be empty for a downgrade to `target`.
pub(crate) fn unreadable_in(target: KubernetesVersion) -> impl Iterator<Item = String> {
    let newer = UNREADABLE_BELOW.into_iter().filter(move |(minor, ..)| *minor > target.minor());
    newer.map(|(_, version, resource)| format!("/apis/{version}/{resource}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="storage.k8s.io",removed_release="1.37",resource="volumeattributesclasses",subresource="status",version="v1beta1"} 1
other{a="b"} 1
"#;

    #[test]
    fn deprecated_apis_are_read_from_the_metrics() {
        let found = deprecated(METRICS);
        let names: Vec<_> = found.iter().map(DeprecatedApi::name).collect();
        assert_eq!(names, ["v1 endpoints", "storage.k8s.io/v1beta1 volumeattributesclasses/status"]);
        let gone = |version: &str| found[1].is_gone_in(version.parse().unwrap());
        assert_eq!((gone("v1.36.3"), gone("v1.37.0"), gone("v1.38.0")), (false, true, true));
        assert!(!found[0].is_gone_in("v1.99.0".parse().unwrap()));
    }

    #[test]
    fn only_a_lower_minor_has_objects_that_it_cannot_read() {
        assert_eq!(unreadable_in("v1.37.2".parse().unwrap()).count(), 0);
        let paths: Vec<_> = unreadable_in("v1.36.3".parse().unwrap()).collect();
        assert_eq!(paths.len(), UNREADABLE_BELOW.len());
        assert_eq!(paths[0], "/apis/lifecycle.k8s.io/v1alpha1/evictions");
    }
}
