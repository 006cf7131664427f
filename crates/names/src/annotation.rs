//! Annotations.

/// On the API's image of a static pod: the UID that the kubelet and the runtime know it by (`MirrorPodAnnotationKey`
/// in staging/src/k8s.io/api/core/v1/annotation_key_constants.go).
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// From which of its sources the kubelet has a pod; it puts it on the sandbox (`ConfigSourceAnnotationKey` in
/// pkg/kubelet/types/pod_update.go).
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// What [`CONFIG_SOURCE`] says of a pod of the API (`ApiserverSource` in pkg/kubelet/types/pod_update.go).
pub const CONFIG_SOURCE_API: &str = "api";

/// Which revision of its Deployment a ReplicaSet is (`RevisionAnnotation` in
/// pkg/controller/deployment/util/deployment_util.go).
pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";

/// What a DaemonSet's controller counts (`DeprecatedTemplateGeneration` in staging/src/k8s.io/api/apps/v1/types.go).
pub const DAEMONSET_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Asks for checkpoints of a pod when it says `"true"`.
pub const CHECKPOINT: &str = "kubestrap.io/checkpoint";

/// The same in bootkube's words, so that its manifests go on working (kubernetes-retired/bootkube,
/// cmd/checkpoint/README.md).
pub const BOOTKUBE_CHECKPOINT: &str = "checkpointer.alpha.coreos.com/checkpoint";

/// Of a checkpoint's copy: the generation that it was made from.
pub const GENERATION: &str = "kubestrap.io/generation";

/// On the installer's pod of a node: what its guardian reports, JSON.
pub const GUARDIAN_REPORT: &str = "kubestrap.io/guardian";

/// On a pod template: the digest of the Secrets and ConfigMaps whose content the pods read.
pub const INPUTS: &str = "kubestrap.io/inputs";

/// On the static pods of the temporary control plane, for who looks at them. Nobody reads it:
/// [`TEMPORARY_PREFIX`](crate::object::TEMPORARY_PREFIX) tells them, for those of bootkube too.
pub const TEMPORARY: &str = "kubestrap.io/temporary";

/// On a ConfigMap: the address that it leads to since the node got another one. On a pod template: the one with which the
/// pods were started last.
pub const ADDRESS: &str = "kubestrap.io/address";
