//! The programs of the control plane. A component's DaemonSet or Deployment, its container, its Secret, its leader's
//! lease and its image all have its name.

/// The API server (`KubeAPIServer` in cmd/kubeadm/app/constants/constants.go).
pub const KUBE_APISERVER: &str = "kube-apiserver";

/// The controller manager (`KubeControllerManager` in cmd/kubeadm/app/constants/constants.go; its lease:
/// pkg/controller/apis/config/v1alpha1/defaults.go).
pub const KUBE_CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// The scheduler (`KubeScheduler` in cmd/kubeadm/app/constants/constants.go; its lease:
/// `SchedulerDefaultLockObjectName` in pkg/scheduler/apis/config/types.go).
pub const KUBE_SCHEDULER: &str = "kube-scheduler";

/// The proxy for Services (`KubeProxy` in cmd/kubeadm/app/constants/constants.go).
pub const KUBE_PROXY: &str = "kube-proxy";

/// The store (`Etcd` in cmd/kubeadm/app/constants/constants.go).
pub const ETCD: &str = "etcd";

/// What makes a control plane, beside an etcd somewhere.
pub const CONTROL_PLANE: [&str; 3] = [KUBE_APISERVER, KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER];

/// Those that choose a leader, by a lease of this name in [`KUBE_SYSTEM`](crate::object::KUBE_SYSTEM).
pub const LEADER_ELECTED: [&str; 2] = [KUBE_CONTROLLER_MANAGER, KUBE_SCHEDULER];
