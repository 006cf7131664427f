//! Which failures a moment mends: the one judgement of all who ask again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::ApiError;

/// How a failed request is treated by somebody who has time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nobody answered: other requests would fare no better now.
    Unreachable,
    /// The API server cannot right now.
    Transient,
    /// Right at the start of a cluster this mends by itself within seconds (a namespace, a role or
    /// a kind that is not there yet); later it is final.
    Settling,
    /// No later try can succeed.
    Final,
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

impl ApiError {
    /// Whether a later try of the same request may succeed, where objects are put into a cluster.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => Class::Unreachable,
            Self::Odd { .. } => Class::Transient,
            Self::Refused { status, message, .. } => class(*status, message),
            Self::NotServed { .. } => Class::Settling,
        }
    }

    /// What a person can do about a refusal.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { status, message, .. } => hint(*status, message),
            _ => None,
        }
    }

    /// Whether the same request to a cluster that stands may be answered otherwise a moment later: an
    /// apiserver that starts turns away whom it does not know yet, and one that ends breaks off. What is not
    /// there, or was changed, stays so.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => !self.untrusted(),
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 429 | 500..),
            Self::Odd { .. } | Self::NotServed { .. } => false,
        }
    }
}

/// Asks until there is an answer that counts, for `patience` at most, with `pause` between two tries.
///
/// # Errors
/// The last one, or the first that does not pass.
pub(crate) async fn insist<T>(
    patience: Duration,
    pause: Duration,
    ask: impl AsyncFn() -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let began = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.passes() && began.elapsed() < patience => {
                tracing::debug!(error = host::error::chain(&error), "asked again");
                sleep(pause).await;
            }
            other => return other,
        }
    }
}

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

    fn refused(status: u16) -> ApiError {
        ApiError::Refused { request: "GET /".into(), status, reason: String::new(), message: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_asked_again_until_patience_ends() {
        let (patience, pause) = (Duration::from_secs(45), Duration::from_millis(500));
        let tries = std::cell::Cell::new(0);
        let ask = |status: u16| {
            let tries = &tries;
            tries.set(0);
            async move || {
                tries.set(tries.get() + 1);
                if tries.get() < 4 { Err(refused(status)) } else { Ok(()) }
            }
        };
        assert!(insist(patience, pause, ask(503)).await.is_ok());
        assert_eq!(tries.get(), 4);
        assert!(insist(patience, pause, ask(409)).await.is_err());
        assert_eq!(tries.get(), 1);
        let began = Instant::now();
        let never = insist(patience, pause, async || Err::<(), _>(refused(500))).await;
        assert_eq!(never.unwrap_err().status(), Some(500));
        assert_eq!(began.elapsed(), patience);
    }
}
