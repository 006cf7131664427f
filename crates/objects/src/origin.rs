//! From where a pod comes: who wants it to run.

use std::collections::BTreeMap;

use names::annotation::{CONFIG_MIRROR, CONFIG_SOURCE, CONFIG_SOURCE_API, GENERATION};
use names::label::CHECKPOINT_OF;
use names::object::TEMPORARY_PREFIX;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{name, text};

/// Who made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Origin {
    /// A controller, by way of the API.
    Api,
    /// The guardian: a copy of a generation.
    Checkpoint {
        /// The generation.
        generation: String,
    },
    /// `kubestrap start`, for the time of a bring-up.
    Temporary,
    /// Somebody who put a static pod there to stay: etcd, the guardian.
    Static,
}

impl Origin {
    /// Of a pod as the runtime has it: its sandbox's name, labels and annotations. The kubelet notes in the
    /// annotations from where it has each pod, and whoever makes pods by the API cannot change that.
    pub fn of_sandbox(
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Self {
        if annotations.get(CONFIG_SOURCE).is_none_or(|source| source == CONFIG_SOURCE_API) {
            return Self::Api;
        }
        let generation = annotations.get(GENERATION).cloned().unwrap_or_default();
        Self::of_static(name, labels.contains_key(CHECKPOINT_OF), generation)
    }

    /// Of a pod as the API has it: a static one is there as its mirror.
    pub fn of_object(pod: &Value) -> Self {
        if !is_mirror(pod) {
            return Self::Api;
        }
        let metadata = &pod["metadata"];
        let is_copy = !metadata["labels"][CHECKPOINT_OF].is_null();
        Self::of_static(name(pod), is_copy, text(&metadata["annotations"][GENERATION]).to_owned())
    }

    fn of_static(name: &str, is_copy: bool, generation: String) -> Self {
        match () {
            () if is_copy => Self::Checkpoint { generation },
            () if name.starts_with(TEMPORARY_PREFIX) => Self::Temporary,
            () => Self::Static,
        }
    }
}

/// Whether a pod of the API is only the image of a static one, which the kubelet made.
pub fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][CONFIG_MIRROR].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pod_of_the_api_is_one_whatever_it_calls_itself() {
        let labels = map(&[(CHECKPOINT_OF, "kube-scheduler")]);
        let of = |source: &str| {
            let annotations = map(&[(CONFIG_SOURCE, source), (GENERATION, "000001-a")]);
            Origin::of_sandbox("bootstrap-x", &labels, &annotations)
        };
        assert_eq!(of("api"), Origin::Api);
        assert_eq!(of("file"), Origin::Checkpoint { generation: "000001-a".to_owned() });
    }

    #[test]
    fn a_static_pod_is_temporary_by_its_name() {
        let of = |name: &str| Origin::of_sandbox(name, &map(&[]), &map(&[(CONFIG_SOURCE, "file")]));
        assert_eq!(of("bootstrap-kube-apiserver-n"), Origin::Temporary);
        assert_eq!(of("etcd-n"), Origin::Static);
    }

    #[test]
    fn runtime_and_api_tell_the_same() {
        let pod = |annotations: Value| {
            json!({"metadata": {"name": "kube-scheduler-checkpoint-n", "annotations": annotations,
                "labels": {CHECKPOINT_OF: "kube-scheduler"}}})
        };
        let copy = pod(json!({CONFIG_MIRROR: "x", GENERATION: "000001-a"}));
        assert_eq!(Origin::of_object(&copy), Origin::Checkpoint { generation: "000001-a".to_owned() });
        assert_eq!(Origin::of_object(&pod(json!({GENERATION: "000001-a"}))), Origin::Api);
    }
}
