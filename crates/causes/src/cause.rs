//! One entry of the catalogue, as it was found.

use std::fmt;

use checks::{Check, Name, Outcome};
use serde::Serialize;

/// What is in the way, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// What was found and what to do, as every verb tells checks. It only warns: the cluster holds with it.
    #[serde(flatten)]
    pub check: Check,
    /// The object that is in the way, for people: `LimitRange kube-system/small`.
    pub object: String,
    /// Whether pods of the control plane cannot be made because of it, so that no rollout comes to its end.
    pub stops_pods: bool,
}

impl Cause {
    pub(crate) fn new(
        name: impl Into<Name>,
        object: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check: Check::warning(name, what, remedy), object: object.into(), stops_pods: false }
    }

    pub(crate) fn stopping_pods(mut self, stops: bool) -> Self {
        self.stops_pods = stops;
        self
    }

    /// The check for who is about to roll something out: what stops pods has to go first.
    pub fn before_a_rollout(&self) -> Check {
        let mut check = self.check.clone();
        if self.stops_pods {
            check.result = Outcome::Failed;
        }
        check
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.check.what)?;
        self.check.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}
