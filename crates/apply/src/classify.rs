//! What a failed try means: whether a later one may succeed, and how long that is worth waiting for.

use crate::error::ApiError;
use crate::report::Rejection;

/// How a failure is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Nobody answered. Tried again until the deadline; the rest of this pass would fare no better.
    Unreachable,
    /// The API server cannot right now. Tried again until the deadline.
    Transient,
    /// Right at the start of a cluster this mends by itself within seconds (a namespace, a role or
    /// a kind that is not there yet); later it is final.
    Settling,
    /// No later try can succeed.
    Final,
}

/// A failed try of one object.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) rejection: Rejection,
}

impl Failure {
    pub(crate) fn new(class: Class, mut rejection: Rejection) -> Self {
        rejection.transient = class != Class::Final;
        Self { class, rejection }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let unanswered = |reason: &str, error: &ApiError| {
            Self::new(Class::Unreachable, Rejection::local(reason, error.to_string()))
        };
        match &error {
            ApiError::Unreachable { .. } => unanswered("Unreachable", &error),
            ApiError::TimedOut { .. } => unanswered("TimedOut", &error),
            ApiError::Odd { .. } => {
                Self::new(Class::Transient, Rejection::local("OddAnswer", error.to_string()))
            }
            ApiError::Refused { status, reason, message, .. } => {
                let rejection = Rejection {
                    status: Some(*status),
                    hint: hint(*status, message).map(str::to_owned),
                    ..Rejection::local(reason, message.clone())
                };
                Self::new(class(*status, message), rejection)
            }
        }
    }
}

/// Errors within a 500 that pass: a webhook whose pods are not up, etcd between two leaders, an
/// allocator that has not started. Kubernetes gives them no reason of their own.
const PASSING: [&str; 5] = [
    "failed calling webhook",
    "etcdserver",
    "context deadline exceeded",
    "timeout",
    "cannot allocate resources of type",
];

/// The API server says 500 to an object that does not fit its schema
/// (`managedfields/internal/structuredmerge.go`).
const MISFIT: &str = "failed to create typed patch object";

/// The API server says 422 to a Service whose fixed address or port is given away. A request that was
/// cut off half-way leaves it given to nobody; the API server takes it back after 60 seconds
/// (`gracePeriod` in `pkg/registry/core/service/ipallocator/controller/repairip.go`).
const GIVEN_AWAY: &str = "is already allocated";

fn class(status: u16, message: &str) -> Class {
    match status {
        422 if message.contains(GIVEN_AWAY) => Class::Transient,
        408 | 429 | 502..=504 => Class::Transient,
        403 if message.contains("is being terminated") => Class::Transient,
        500 if message.contains(MISFIT) => Class::Final,
        500 if PASSING.iter().any(|p| message.contains(p)) => Class::Transient,
        401 | 403 | 404 | 409 | 500.. => Class::Settling,
        _ => Class::Final,
    }
}

fn hint(status: u16, message: &str) -> Option<&'static str> {
    match status {
        422 if message.contains(GIVEN_AWAY) => {
            Some("another Service has it: `kubectl get services -A` shows which")
        }
        404 if message.starts_with("namespaces ") => Some("add the namespace to the manifests"),
        500 if message.contains(MISFIT) => {
            Some("the field does not exist or has another type: compare `kubectl explain`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_mends_from_what_does_not() {
        let cases = [
            (400, "unknown", Class::Final),
            (403, "no", Class::Settling),
            (403, "because it is being terminated", Class::Transient),
            (404, "namespaces \"x\" not found", Class::Settling),
            (409, "conflict", Class::Settling),
            (422, "invalid", Class::Final),
            (422, "failed to allocate IP 10.96.0.10: provided IP is already allocated", Class::Transient),
            (429, "", Class::Transient),
            (500, "failed to create typed patch object (a/b): .spec.x: field not declared", Class::Final),
            (500, "Internal error occurred: failed calling webhook \"x\"", Class::Transient),
            (500, "something else", Class::Settling),
            (503, "apiserver not ready", Class::Transient),
        ];
        for (status, message, expected) in cases {
            assert_eq!(class(status, message), expected, "{status} {message}");
        }
    }
}
