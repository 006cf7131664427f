//! Groups of the API, as an object's `apiVersion` begins.

/// Roles and bindings (staging/src/k8s.io/api/rbac/v1/register.go).
pub const RBAC: &str = "rbac.authorization.k8s.io";

/// Webhooks and policies (staging/src/k8s.io/api/admissionregistration/v1/register.go).
pub const ADMISSION: &str = "admissionregistration.k8s.io";
