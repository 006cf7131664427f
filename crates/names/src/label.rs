//! Labels: of nodes, of the API's objects, and those by which the container runtime knows pods.

/// The label of control-plane nodes; it is what makes one (`LabelNodeRoleControlPlane` in
/// cmd/kubeadm/app/constants/constants.go).
pub const CONTROL_PLANE_NODE: &str = "node-role.kubernetes.io/control-plane";

/// Labels with this prefix tell what a node is for; a kubelet may not give them to itself (`labelNodeRolePrefix` in
/// pkg/printers/internalversion/printers.go).
pub const NODE_ROLE_PREFIX: &str = "node-role.kubernetes.io/";

/// A node's host name, also on the lease of an apiserver (`LabelHostname` in
/// staging/src/k8s.io/api/core/v1/well_known_labels.go).
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// On the lease by which an apiserver says that it lives: what it is an instance of
/// (`IdentityLeaseComponentLabelKey` in pkg/controlplane/apiserver/server.go).
pub const APISERVER_IDENTITY: &str = "apiserver.kubernetes.io/identity";

/// Which revision of its DaemonSet or StatefulSet a pod is of (`ControllerRevisionHashLabelKey` in
/// staging/src/k8s.io/api/apps/v1/types.go).
pub const CONTROLLER_REVISION_HASH: &str = "controller-revision-hash";

/// Which of its Deployment's ReplicaSets a pod is of (`DefaultDeploymentUniqueLabelKey` in
/// staging/src/k8s.io/api/apps/v1/types.go).
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// Which add-on or component of the cluster an object belongs to (kubeadm's and bootkube's manifests, such as
/// cmd/kubeadm/app/phases/addons/proxy/manifests.go).
pub const APP: &str = "k8s-app";

/// Whose value is [`CONTROL_PLANE_TIER`] belongs to the control plane (cmd/kubeadm/app/util/staticpod/utils.go).
pub const TIER: &str = "tier";

/// See [`TIER`] (`ControlPlaneTier` in cmd/kubeadm/app/constants/constants.go).
pub const CONTROL_PLANE_TIER: &str = "control-plane";

/// Of a checkpoint's copy: the name of its component. It has no other label, so that no selector of the parent's
/// finds it.
pub const CHECKPOINT_OF: &str = "kubestrap.io/checkpoint-of";

/// Of a namespace: the level of Pod Security below which it takes no pod (`EnforceLevelLabel` in
/// staging/src/k8s.io/pod-security-admission/api/constants.go).
pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// On an EndpointSlice: the Service that it is of (`LabelServiceName` in staging/src/k8s.io/api/discovery/v1/well_known_labels.go).
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

// Of sandboxes and containers, where the kubelet puts them.

/// The name of a container's pod (`KubernetesPodNameLabel` in staging/src/k8s.io/kubelet/pkg/types/labels.go).
pub const POD_NAME: &str = "io.kubernetes.pod.name";

/// The namespace of a container's pod (`KubernetesPodNamespaceLabel`, there).
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// The UID of a container's pod (`KubernetesPodUIDLabel`, there).
pub const POD_UID: &str = "io.kubernetes.pod.uid";
