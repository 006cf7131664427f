//! Label selectors (`LabelSelectorAsSelector` in k8s.io/apimachinery/pkg/apis/meta/v1/helpers.go).

use objects::items;
use serde_json::Value;

/// Whether a selector has no requirement, and so takes everything.
pub(crate) fn is_empty(selector: &Value) -> bool {
    let labels = selector["matchLabels"].as_object().is_none_or(serde_json::Map::is_empty);
    labels && items(&selector["matchExpressions"]).is_empty()
}

/// Whether a selector takes what has these labels.
pub(crate) fn takes(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && items(&selector["matchExpressions"]).iter().all(|expression| meets(expression, labels))
}

fn meets(expression: &Value, labels: &Value) -> bool {
    let value = expression["key"].as_str().and_then(|key| labels.get(key));
    let is_listed = || value.is_some_and(|value| items(&expression["values"]).contains(value));
    match expression["operator"].as_str() {
        Some("In") => is_listed(),
        Some("NotIn") => !is_listed(),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_takes_what_meets_all_of_it() {
        let labels = json!({"a": "1", "b": "2"});
        for (selector, taken) in [
            (json!(null), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "2"}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "3"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "c", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}), true),
            (
                json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Other"}]}),
                false,
            ),
        ] {
            assert_eq!(takes(&selector, &labels), taken, "{selector}");
        }
        assert!(is_empty(&json!({})) && !is_empty(&json!({"matchLabels": {"a": "1"}})));
    }
}
