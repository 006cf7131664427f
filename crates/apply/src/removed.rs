//! Kinds that Kubernetes served once and no longer does. bootkube's asset dirs are from then.
//!
//! Source: the deprecated API migration guide of kubernetes.io.

use names::group::{ADMISSION, RBAC};

/// What a manifest of this group, version and kind should say instead.
pub(crate) fn instead_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/')?;
    let hint = match (group, version, kind) {
        (_, _, "PodSecurityPolicy") => {
            "PodSecurityPolicy was removed in Kubernetes 1.25: label namespaces for Pod Security Admission"
        }
        (
            "extensions" | "apps",
            "v1beta1" | "v1beta2",
            "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet",
        ) => "use apps/v1, which requires spec.selector",
        ("extensions", "v1beta1", "NetworkPolicy") => "use networking.k8s.io/v1",
        ("extensions" | "networking.k8s.io", "v1beta1", "Ingress" | "IngressClass") => {
            "use networking.k8s.io/v1, which names backends and path types differently"
        }
        (RBAC, "v1alpha1" | "v1beta1", _) => "use rbac.authorization.k8s.io/v1",
        ("apiextensions.k8s.io", "v1beta1", _) => {
            "use apiextensions.k8s.io/v1, which requires a structural schema for each version"
        }
        ("apiregistration.k8s.io", "v1beta1", _) => "use apiregistration.k8s.io/v1",
        (ADMISSION, "v1beta1", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            "use admissionregistration.k8s.io/v1, which requires sideEffects and admissionReviewVersions"
        }
        ("policy", "v1beta1", "PodDisruptionBudget") => "use policy/v1",
        ("batch", "v1beta1" | "v2alpha1", "CronJob") => "use batch/v1",
        ("autoscaling", "v2beta1" | "v2beta2", _) => "use autoscaling/v2",
        ("scheduling.k8s.io", "v1alpha1" | "v1beta1", "PriorityClass") => "use scheduling.k8s.io/v1",
        ("storage.k8s.io", "v1beta1", "StorageClass" | "CSIDriver" | "CSINode" | "VolumeAttachment") => {
            "use storage.k8s.io/v1"
        }
        ("coordination.k8s.io", "v1beta1", "Lease") => "use coordination.k8s.io/v1",
        ("certificates.k8s.io", "v1beta1", "CertificateSigningRequest") => "use certificates.k8s.io/v1",
        ("node.k8s.io", "v1beta1", "RuntimeClass") => "use node.k8s.io/v1",
        _ => return None,
    };
    Some(hint)
}
