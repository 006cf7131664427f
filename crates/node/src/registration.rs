//! What a kubelet registers its node with: labels and taints. Later they are the API's: a kubelet does not change them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use names::label;
use serde::{Deserialize, Serialize};

/// How many characters a name has at most, and what stands before it (`qualifiedNameMaxLength` in
/// staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go, and RFC 1123).
const LONGEST_NAME: usize = 63;
const LONGEST_PREFIX: usize = 253;

/// Labels of Kubernetes' own names that a kubelet may set (`kubeletLabels`, `kubeletLabelNamespaces` in
/// staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go): with any other one it does not start, and the API refuses it.
const KUBELET_LABELS: [&str; 11] = [
    label::HOSTNAME,
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
const KUBELET_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// A label: `disk=fast`, `example.com/rack=b7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        check_key(key)?;
        check_value(value)?;
        if !may_set(key) {
            return Err(format!(
                "a node may not give itself the label {key}: set it when it has joined, with kubectl label node"
            ));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// Whether a kubelet may have its node labelled so.
fn may_set(key: &str) -> bool {
    let Some((prefix, _)) = key.split_once('/') else { return true };
    let within =
        |domain: &str| prefix == domain || prefix.strip_suffix(domain).is_some_and(|p| p.ends_with('.'));
    !(within("kubernetes.io") || within("k8s.io"))
        || KUBELET_LABELS.contains(&key)
        || KUBELET_PREFIXES.into_iter().any(within)
}

/// A taint: `dedicated=db:NoSchedule`, `dedicated:NoExecute`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taint {
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    value: String,
    effect: Effect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equals = if self.value.is_empty() { "" } else { "=" };
        write!(f, "{}{equals}{}:{:?}", self.key, self.value, self.effect)
    }
}

impl FromStr for Taint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, effect) = text.rsplit_once(':').ok_or("expected KEY=VALUE:EFFECT or KEY:EFFECT")?;
        let (key, value) = what.split_once('=').unwrap_or((what, ""));
        check_key(key)?;
        check_value(value)?;
        let effect = match effect {
            "NoSchedule" => Effect::NoSchedule,
            "PreferNoSchedule" => Effect::PreferNoSchedule,
            "NoExecute" => Effect::NoExecute,
            other => {
                return Err(format!("{other:?} is no effect: NoSchedule, PreferNoSchedule or NoExecute"));
            }
        };
        Ok(Self { key: key.to_owned(), value: value.to_owned(), effect })
    }
}

/// A qualified name: `disk`, `example.com/rack`.
fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let dns = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| is_word(part, LONGEST_NAME, |c| dns(c) || c == b'-', dns);
    let good_prefix = prefix.is_none_or(|p| p.len() <= LONGEST_PREFIX && p.split('.').all(part));
    if good_prefix && is_word(name, LONGEST_NAME, inner, outer) {
        Ok(())
    } else {
        Err(format!("{key:?} is no name of a label or taint"))
    }
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_word(value, LONGEST_NAME, inner, outer) {
        return Ok(());
    }
    Err(format!(
        "{value:?} is no value of a label or taint: letters, digits, -, _ and . are allowed, 63 of them"
    ))
}

fn outer(c: u8) -> bool {
    c.is_ascii_alphanumeric()
}

fn inner(c: u8) -> bool {
    outer(c) || b"-_.".contains(&c)
}

fn is_word(word: &str, longest: usize, inner: impl Fn(u8) -> bool, outer: impl Fn(u8) -> bool) -> bool {
    let ends = [word.bytes().next(), word.bytes().next_back()];
    word.len() <= longest && word.bytes().all(inner) && ends.iter().all(|end| end.is_some_and(&outer))
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints, in their order.
    pub taints: Vec<Taint>,
}

impl Registration {
    /// That of these labels and taints; of two labels of one name the last counts.
    pub fn new(labels: &[Label], taints: &[Taint]) -> Self {
        let labels = labels.iter().map(|label| (label.key.clone(), label.value.clone()));
        Self { labels: labels.collect(), taints: taints.to_vec() }
    }

    /// Whether there is none of either.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.taints.is_empty()
    }

    /// The labels as the kubelet's flag takes them.
    pub(crate) fn label_list(&self) -> String {
        self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = (!self.labels.is_empty()).then(|| format!("labels {}", self.label_list()));
        let taints: Vec<_> = self.taints.iter().map(ToString::to_string).collect();
        let taints = (!taints.is_empty()).then(|| format!("taints {}", taints.join(",")));
        let all: Vec<_> = labels.into_iter().chain(taints).collect();
        f.write_str(if all.is_empty() { "no labels and taints" } else { "" })?;
        f.write_str(&all.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_that_a_kubelet_may_set() {
        for good in [
            "disk=fast",
            "a=",
            "example.com/rack=b7",
            "topology.kubernetes.io/zone=z1",
            "node.kubernetes.io/x=y",
            "my.node.kubernetes.io/x=y",
            "notkubernetes.io/x=y",
        ] {
            assert!(good.parse::<Label>().is_ok(), "{good}");
        }
        for bad in [
            "disk",
            "=x",
            "a b=c",
            "a=b c",
            "a=-b",
            "A.com/x=y",
            "/x=y",
            "x/=y",
            "a=\"$(reboot)\"",
            &format!("a={}", "b".repeat(64)),
            "node-role.kubernetes.io/control-plane=",
            "node-restriction.kubernetes.io/x=y",
            "kubernetes.io/role=x",
            "k8s.io/x=y",
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad}");
        }
    }

    #[test]
    fn taints_are_read_as_kubectl_writes_them() {
        for text in ["dedicated=db:NoSchedule", "example.com/x:NoExecute", "a:PreferNoSchedule"] {
            assert_eq!(text.parse::<Taint>().unwrap().to_string(), text);
        }
        for bad in ["", "a", "a=b", "a:Never", ":NoSchedule", "a b:NoSchedule", "a=b c:NoSchedule"] {
            assert!(bad.parse::<Taint>().is_err(), "{bad}");
        }
    }
}
