//! What becomes of each kind of volume in a checkpoint.

use objects::{items, text};
use serde_json::Value;

/// What becomes of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// It needs no API and stays as it is.
    Kept,
    /// The kubelet made files of API objects: they are copied, but for those at the paths `without`.
    Copied {
        /// The kubelet's name for the kind, which is a directory on its disk.
        plugin: &'static str,
        /// Files that only the API can make anew: tokens and certificates of this very pod.
        without: Vec<String>,
    },
    /// It holds nothing but a token for the API and what belongs to it; a copy has no use for it.
    Dropped,
    /// It cannot be had without the API.
    Refused(String),
}

/// Kinds that the kubelet makes without the API.
const LOCAL: [&str; 4] = ["hostPath", "emptyDir", "downwardAPI", "image"];
/// The ConfigMap that the API puts beside every token.
const ROOT_CA: &str = names::object::ROOT_CA_CONFIG_MAP;

/// What becomes of this volume.
pub(crate) fn source_of(volume: &Value) -> Source {
    let copied = |plugin| Source::Copied { plugin, without: Vec::new() };
    let Some(kind) = volume.as_object().and_then(|fields| fields.keys().find(|key| *key != "name")) else {
        // An empty directory is what the API makes of a volume that says nothing.
        return Source::Kept;
    };
    match kind.as_str() {
        "secret" => copied("kubernetes.io~secret"),
        "configMap" => copied("kubernetes.io~configmap"),
        "projected" => projected(items(&volume["projected"]["sources"])),
        kind if LOCAL.contains(&kind) => Source::Kept,
        kind => Source::Refused(kind.to_owned()),
    }
}

fn projected(sources: &[Value]) -> Source {
    let has = |source: &Value, kind: &str| !source[kind].is_null();
    if sources.iter().all(|source| has(source, "downwardAPI")) {
        return Source::Kept;
    }
    let without: Vec<String> = sources.iter().flat_map(credentials).map(clean).collect();
    let of_no_use = |source: &Value| {
        has(source, "downwardAPI")
            || source["configMap"]["name"] == ROOT_CA
            || credentials(source).next().is_some()
    };
    if !without.is_empty() && sources.iter().all(of_no_use) {
        return Source::Dropped;
    }
    Source::Copied { plugin: "kubernetes.io~projected", without }
}

/// The paths of the files in which a source gives its pod an identity of its own.
fn credentials(source: &Value) -> impl Iterator<Item = &str> {
    let token = text(&source["serviceAccountToken"]["path"]);
    let certificate = ["keyPath", "certificateChainPath", "credentialBundlePath"];
    let certificate = certificate.map(|field| text(&source["podCertificate"][field]));
    std::iter::once(token).chain(certificate).filter(|path| !path.is_empty())
}

/// A path as the kubelet writes it to disk.
fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(sources: Value) -> Source {
        source_of(&json!({"name": "v", "projected": {"sources": sources}}))
    }

    #[test]
    fn a_volume_of_a_token_is_dropped() {
        let access = json!([
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace"}]}}]);
        assert_eq!(of(access), Source::Dropped);
        assert_eq!(of(json!([{"podCertificate": {"credentialBundlePath": "x"}}])), Source::Dropped);
    }

    #[test]
    fn a_token_beside_other_files_is_left_out() {
        let mixed = of(json!([{"serviceAccountToken": {"path": "./a//token"}}, {"secret": {"name": "s"}}]));
        let expected =
            Source::Copied { plugin: "kubernetes.io~projected", without: vec!["a/token".to_owned()] };
        assert_eq!(mixed, expected);
        // The root CA alone is an ordinary ConfigMap.
        assert!(matches!(of(json!([{"configMap": {"name": ROOT_CA}}])), Source::Copied { .. }));
    }

    #[test]
    fn what_needs_no_api_stays_and_what_needs_it_is_refused() {
        assert_eq!(of(json!([{"downwardAPI": {}}])), Source::Kept);
        for kind in LOCAL {
            assert_eq!(source_of(&json!({"name": "v", kind: {}})), Source::Kept);
        }
        for kind in ["persistentVolumeClaim", "csi", "ephemeral", "nfs"] {
            assert_eq!(source_of(&json!({"name": "v", kind: {}})), Source::Refused(kind.to_owned()));
        }
    }
}
