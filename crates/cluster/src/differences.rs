//! In what two configs differ, key by key.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::ClusterConfig;

/// A key that two configs have otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key, as `--set` takes it: `network.podCIDRs`.
    pub key: String,
    /// What the first config has there; none when it has nothing.
    pub old: Option<String>,
    /// What the second one has.
    pub new: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: {} → {}", self.key, value(&self.old), value(&self.new))
    }
}

/// All keys that two configs have otherwise, defaults in, in alphabetical order.
pub fn differences(old: &ClusterConfig, new: &ClusterConfig) -> Vec<Difference> {
    let (old, new) = (leaves(old), leaves(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let other = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    other
        .map(|key| Difference { key: key.clone(), old: old.get(key).cloned(), new: new.get(key).cloned() })
        .collect()
}

/// Each value that has no keys of its own, by the path of keys to it.
fn leaves(config: &ClusterConfig) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    // What was read from YAML can be written as JSON.
    let value = serde_json::to_value(config).unwrap_or_default();
    collect(&value, String::new(), &mut found);
    found
}

fn collect(value: &Value, key: String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(keys) => {
            for (name, value) in keys {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(value, key, found);
            }
        }
        Value::String(text) => drop(found.insert(key, text.clone())),
        other => drop(found.insert(key, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_told_with_both_values() {
        let config = |text: &str| ClusterConfig::parse("c", text).unwrap();
        let told = |old: &str, new: &str| {
            let all = differences(&config(old), &config(new));
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told("", "audit: {enabled: true}\n"),
            [] as [&str; 0],
            "a default is one wherever it is written"
        );
        assert_eq!(
            told(
                "network: {podCIDRs: [10.50.0.0/16]}\n",
                "api: {endpoint: k.example.org}\nproxy: {mode: iptables}\nfeatureGates: {A: true}\n"
            ),
            [
                "api.endpoint: not set → k.example.org",
                "featureGates.A: not set → true",
                "network.podCIDRs: [\"10.50.0.0/16\"] → [\"10.244.0.0/16\"]",
                "proxy.mode: nftables → iptables",
            ]
        );
    }
}
