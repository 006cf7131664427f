//! A request to the API server that failed.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A request to the API server that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// No answer: nobody listens, the connection broke, or the server is not whom we trust.
    #[error("no answer to {request}: {}", root(source))]
    Unreachable {
        /// Method and path.
        request: String,
        /// What the connection gave; its own words are about layers, so the message has the root.
        source: Arc<kube::Error>,
    },
    /// No answer in time.
    #[error("no answer to {request} within {:.1} s", limit.as_secs_f32())]
    TimedOut {
        /// Method and path.
        request: String,
        /// The limit.
        limit: Duration,
    },
    /// The API server answered, and said no.
    #[error("{request}: {status} {reason}: {message}")]
    Refused {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Kubernetes' reason, or the HTTP status's name.
        reason: String,
        /// What it said.
        message: String,
    },
    /// The API server has no such kind.
    #[error("the API server serves no {kind} of {api_version}")]
    NotServed {
        /// The kind.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
    /// An answer that is not what Kubernetes answers.
    #[error("{request} was answered with something else than expected: {message}")]
    Odd {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        message: String,
    },
}

impl ApiError {
    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the API server said that there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the connection failed because the server's certificate is not one that we trust, or
    /// not for the name by which we know it.
    pub fn untrusted(&self) -> bool {
        let Self::Unreachable { source, .. } = self else { return false };
        chain(source).any(is_certificate_error)
    }
}

/// An error and its causes, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e| (*e).source())
}

/// The innermost cause, which alone says what happened ("Connection refused").
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// rustls's errors hide in an `io::Error` in an `io::Error`, whose `source` leaves them out.
fn is_certificate_error(error: &(dyn Error + 'static)) -> bool {
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_certificate_error(inner);
    }
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}
