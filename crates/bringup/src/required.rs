//! The pods that must be ready before the pivot, in bootkube's notation:
//! `<namespace>/<name prefix>`, or several that may stand for each other with a description,
//! `<description>:<namespace>/<prefix>|<namespace>/<prefix>`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

/// One requirement: at least one of the alternatives is ready where it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequiredPod {
    /// What it is called in messages.
    pub description: String,
    /// Pods that fulfil it.
    pub alternatives: Vec<PodPrefix>,
    /// Where one of them has to run.
    pub place: Place,
}

/// Where a required pod has to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this very node: each control-plane node has one (an apiserver, a guardian).
    #[default]
    Node,
    /// On any node: some number of them do the work of all (a scheduler, a controller-manager).
    Cluster,
}

/// Pods of a namespace whose names begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PodPrefix {
    /// The pods' namespace.
    pub namespace: String,
    /// How their names begin.
    pub prefix: String,
}

/// A requirement that is not in bootkube's notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no required pod: write <namespace>/<name prefix>, or <description>:<namespace>/<prefix>|<namespace>/<prefix>"
)]
pub struct InvalidRequiredPod {
    /// What was given.
    pub text: String,
}

impl RequiredPod {
    /// True when a pod of this namespace and name fulfils the requirement.
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        self.alternatives.iter().any(|a| a.matches(namespace, name))
    }
}

impl RequiredPod {
    /// The same at the place where these workloads put it: what a Deployment makes may be anywhere, and what
    /// nobody here makes is looked for on this node.
    pub(crate) fn placed(mut self, workloads: &[Value]) -> Self {
        let makes = |object: &&Value| self.matches(objects::namespace(object), objects::name(object));
        let anywhere = workloads.iter().find(makes).is_some_and(|found| found["kind"] == "Deployment");
        self.place = if anywhere { Place::Cluster } else { Place::Node };
        self
    }
}

impl PodPrefix {
    /// A whole word must match: `kube-system/kube-apiserver` is not `kube-apiserver2-x`.
    fn matches(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace
            && name.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl FromStr for RequiredPod {
    type Err = InvalidRequiredPod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRequiredPod { text: text.to_owned() };
        let (description, list) = text.split_once(':').unwrap_or((text, text));
        let alternatives = list
            .split('|')
            .map(|pod| {
                let (namespace, prefix) = pod.split_once('/')?;
                let whole = !namespace.is_empty() && !prefix.is_empty() && !prefix.contains('/');
                whole.then(|| PodPrefix { namespace: namespace.into(), prefix: prefix.into() })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(invalid)?;
        if description.is_empty() {
            return Err(invalid());
        }
        Ok(Self { description: description.to_owned(), alternatives, place: Place::default() })
    }
}

impl fmt::Display for RequiredPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_bootkube_s_notations_are_read() {
        let one: RequiredPod = "kube-system/kube-apiserver".parse().unwrap();
        assert!(one.matches("kube-system", "kube-apiserver-x7k2p"));
        assert!(!one.matches("kube-system", "kube-apiserver2-x7k2p"));
        assert!(!one.matches("default", "kube-apiserver-x7k2p"));
        let two: RequiredPod = "scheduler:kube-system/kube-scheduler|other/my-scheduler".parse().unwrap();
        assert_eq!(two.to_string(), "scheduler");
        assert!(two.matches("other", "my-scheduler-1"));
    }

    #[test]
    fn what_a_deployment_makes_may_be_anywhere() {
        let object = |kind: &str, name: &str| serde_json::json!({"kind": kind, "metadata": {"name": name, "namespace": "kube-system"}});
        let workloads = [object("DaemonSet", "kube-apiserver"), object("Deployment", "kube-scheduler")];
        let place = |text: &str| text.parse::<RequiredPod>().unwrap().placed(&workloads).place;
        assert_eq!(place("kube-system/kube-scheduler"), Place::Cluster);
        assert_eq!(place("kube-system/kube-apiserver"), Place::Node);
        assert_eq!(place("kube-system/kube-controller-manager"), Place::Node);
    }

    #[test]
    fn anything_else_is_refused_with_the_notation() {
        for text in ["", "kube-apiserver", "a/b/c", ":a/b", "x:a", "a/"] {
            assert!(text.parse::<RequiredPod>().is_err(), "{text}");
        }
    }
}
