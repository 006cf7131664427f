//! What a failed try of one object means to the passes, and to whoever reads the report.

use api::{ApiError, Class};

use crate::removed;
use crate::report::Rejection;

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
        let local = |reason: &str| Rejection::local(reason, error.to_string());
        match &error {
            ApiError::Unreachable { .. } => Self::new(error.class(), local("Unreachable")),
            ApiError::TimedOut { .. } => Self::new(error.class(), local("TimedOut")),
            ApiError::Odd { .. } => Self::new(error.class(), local("OddAnswer")),
            ApiError::NotServed { kind, api_version } => {
                // A kind that is gone for good comes with no definition.
                let (class, hint) = match removed::instead_of(api_version, kind) {
                    Some(hint) => (Class::Final, hint),
                    None => {
                        (error.class(), "apply its CustomResourceDefinition, or correct apiVersion and kind")
                    }
                };
                Self::new(class, local("NotServed").with_hint(hint))
            }
            ApiError::Refused { status, reason, message, .. } => {
                let rejection = Rejection {
                    status: Some(*status),
                    hint: error.hint().map(str::to_owned),
                    ..Rejection::local(reason, message.clone())
                };
                Self::new(error.class(), rejection)
            }
        }
    }
}
