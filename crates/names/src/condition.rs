//! Types of conditions, in the status of objects.

/// Of a pod of kube-apiserver: the guardian, or `start`, found that very instance Ready. Its readiness gate asks
/// for it.
pub const SERVING: &str = "kubestrap.io/serving";

/// Of a pod, also of a node (`PodReady` and `NodeReady` in staging/src/k8s.io/api/core/v1/types.go).
pub const READY: &str = "Ready";

/// Of a pod: ready but for its readiness gates (`ContainersReady` in staging/src/k8s.io/api/core/v1/types.go).
pub const CONTAINERS_READY: &str = "ContainersReady";

/// Of a CustomResourceDefinition: its objects can be made (`Established` in
/// staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/types.go).
pub const ESTABLISHED: &str = "Established";

/// Of a CustomResourceDefinition: no other one has its names (`NamesAccepted`, there).
pub const NAMES_ACCEPTED: &str = "NamesAccepted";
