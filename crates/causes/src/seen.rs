//! What the API has of all that may be in the way, as one value.

use std::collections::BTreeMap;

use objects::ObjectRef;
use serde_json::Value;

/// See the module. Lists are those of `kube-system` where a kind has a namespace. Items have their kind where it matters.
/// What could not be had is empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// All nodes; none when they could not be had, which says nothing of any.
    pub(crate) nodes: Option<Vec<Value>>,
    /// The namespace itself, with its labels.
    pub(crate) namespace: Value,
    /// Pods; none when they could not be had.
    pub(crate) pods: Option<Vec<Value>>,
    /// DaemonSets.
    pub(crate) daemonsets: Vec<Value>,
    /// ReplicaSets.
    pub(crate) replicasets: Vec<Value>,
    /// ControllerRevisions, the templates of DaemonSets.
    pub(crate) revisions: Vec<Value>,
    /// Events that tell of pods that could not be made.
    pub(crate) events: Vec<Value>,
    /// Workloads of which the API would take no further pod, each with its words.
    pub(crate) would_refuse: Vec<(String, String)>,
    /// ServiceAccounts.
    pub(crate) service_accounts: Vec<Value>,
    /// LimitRanges.
    pub(crate) limit_ranges: Vec<Value>,
    /// Configurations of webhooks of both kinds.
    pub(crate) webhooks: Vec<Value>,
    /// Bindings of policies that change what is made.
    pub(crate) mutating_bindings: Vec<Value>,
    /// What stands behind the Services of those webhooks, by namespace and name.
    pub(crate) backends: BTreeMap<(String, String), Backend>,
    /// APIServices.
    pub(crate) api_services: Vec<Value>,
    /// Objects that should be there and are not.
    pub(crate) gone: Vec<ObjectRef>,
}

/// What stands behind a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Somebody who is ready.
    Ready,
    /// Nobody who is ready.
    Nobody,
    /// There is no such Service.
    NoService,
}
