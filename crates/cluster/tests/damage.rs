//! A damaged config file is refused or taken, and never ends the program or keeps it busy for ever.

use cluster::{ClusterConfig, DEFAULT_FILE};
use proptest::prelude::*;

/// One change: where, how many characters go, what comes instead.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let text = prop::sample::select(vec![
        "", "[", "]", "{", "}", ": ", "- ", "\n", "  ", "'", "&a ", "*a", "0", "x", "~",
    ]);
    (any::<prop::sample::Index>(), 0..12_usize, text.prop_map(str::to_owned))
}

/// The default file without its comments: changes hit something.
fn bare_default() -> Vec<char> {
    let kept =
        DEFAULT_FILE.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    kept.flat_map(|line| line.chars().chain(['\n'])).collect()
}

/// Keys that there are: no other one gets as far as its value.
const KEYS: &[&str] =
    &["clusterName", "kubernetesVersion", "api.endpoint", "network.podCIDRs", "network.podCIDRs[0]", "etcd"];

/// A key as somebody could write it.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(KEYS).prop_map(str::to_owned), "[a-zA-Z.\\[\\]0-9]{0,20}"]
}

proptest! {
    #[test]
    fn damaged_files(changes in prop::collection::vec(change(), 1..6)) {
        let mut text = bare_default();
        for (at, length, replacement) in changes {
            let at = at.index(text.len());
            let end = text.len().min(at + length);
            text.splice(at..end, replacement.chars());
        }
        let text: String = text.into_iter().collect();
        match ClusterConfig::parse("f", &text) {
            Ok(config) => prop_assert!(config.validate().is_ok()),
            // Each problem has its place: all of them are about something that is written there.
            Err(errors) => prop_assert!(
                errors.problems().iter().all(|problem| problem.place.is_some()), "{errors}\n{text}"
            ),
        }
    }

    #[test]
    fn any_override(key in key(), value in "\\PC{0,20}") {
        match ClusterConfig::parse_with_overrides("f", DEFAULT_FILE, &[(key, value)]) {
            Ok(config) => prop_assert!(config.validate().is_ok()),
            Err(errors) => prop_assert!(!errors.problems().is_empty(), "refused, and nobody knows why"),
        }
    }
}
