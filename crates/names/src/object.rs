//! Objects of the API: their namespace, their names, and in whose name kubestrap writes them. Those of the control
//! plane's programs are in [`component`](crate::component).

/// Where the control plane and the add-ons live, their leases too (`NamespaceSystem` in
/// staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go).
pub const KUBE_SYSTEM: &str = "kube-system";

/// The Service by which pods find the API. A name of every apiserver's certificate, whatever its address
/// (`KubernetesServiceName` in pkg/controlplane/controller/kubernetesservice/controller.go).
pub const KUBERNETES_SERVICE: &str = "kubernetes";

/// The ConfigMap that the API's CA is in, in every namespace (`RootCACertConfigMapName` in
/// pkg/controller/certificates/rootcacertpublisher/publisher.go).
pub const ROOT_CA_CONFIG_MAP: &str = "kube-root-ca.crt";

/// A bootstrap token's Secret is called so, and its id follows (`BootstrapTokenSecretPrefix` in
/// staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
pub const BOOTSTRAP_TOKEN_PREFIX: &str = "bootstrap-token-";

/// The type of such a Secret (`SecretTypeBootstrapToken` in staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
pub const BOOTSTRAP_TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";

/// What everybody may read lives here (`NamespacePublic` in
/// staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go).
pub const KUBE_PUBLIC: &str = "kube-public";

/// The ConfigMap there in which a node that joins finds the API and its CA (`ConfigMapClusterInfo` in
/// staging/src/k8s.io/cluster-bootstrap/token/api/types.go).
pub const CLUSTER_INFO: &str = "cluster-info";

/// Its key with a kubeconfig without a user (`KubeConfigKey`, there).
pub const CLUSTER_INFO_KUBECONFIG: &str = "kubeconfig";

/// Its keys with signatures of that are called so, and a token's id follows (`JWSSignatureKeyPrefix`, there).
pub const CLUSTER_INFO_SIGNATURE: &str = "jws-kubeconfig-";

/// The ConfigMap with what a worker of this cluster is made of, and its one key: a config file with the keys that count
/// there.
pub const NODE_CONFIG: &str = "kubestrap-node";
/// See [`NODE_CONFIG`].
pub const NODE_CONFIG_KEY: &str = "kubestrap-node.yaml";

/// Static pods of the temporary control plane are called so, and the component follows (kubernetes-retired/bootkube,
/// pkg/asset/asset.go).
pub const TEMPORARY_PREFIX: &str = "bootstrap-";

/// The guardian: its DaemonSet, ConfigMap and static pod.
pub const GUARDIAN: &str = "kubestrap-guardian";

/// The signer of CertificateSigningRequests by which a control-plane node asks for its keys.
pub const CONTROL_PLANE_KEYS_SIGNER: &str = "kubestrap.io/control-plane-keys";

/// The signer of kubelets' client certificates (`KubeAPIServerClientKubeletSignerName` in
/// staging/src/k8s.io/api/certificates/v1/types.go).
pub const KUBELET_CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// The signer of kubelets' serving certificates (`KubeletServingSignerName`, there).
pub const KUBELET_SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

/// What the DaemonSet's pods have as [`APP`](crate::label::APP): they install the guardian's static pod, whose own
/// label is [`GUARDIAN`].
pub const GUARDIAN_INSTALLER: &str = "kubestrap-guardian-installer";

/// The name under which kubestrap owns fields of objects: a change of it would orphan them in existing clusters
/// (kubernetes/website, content/en/docs/reference/using-api/server-side-apply.md).
pub const FIELD_MANAGER: &str = "kubestrap";

/// Where flannel lives, and its DaemonSet there (flannel-io/flannel, Documentation/kube-flannel.yml).
pub const KUBE_FLANNEL: &str = "kube-flannel";
/// See [`KUBE_FLANNEL`].
pub const FLANNEL_DAEMON_SET: &str = "kube-flannel-ds";
