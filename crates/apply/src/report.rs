//! What became of each object.

use std::fmt;

use objects::ObjectRef;
use serde::Serialize;

/// What applying an object did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was not there before.
    Created,
    /// It was there and is different now.
    Configured,
    /// It was there and is as it was.
    Unchanged,
}

/// Why an object is not in the cluster as its manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// The HTTP status, when an API server answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why, as one word: Kubernetes' own where an API server answered.
    pub reason: String,
    /// Why, as a sentence.
    pub message: String,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether a later try may succeed: it was given up only for lack of time.
    pub transient: bool,
}

impl Rejection {
    /// A refusal of our own: the API server was not asked, or its answer was not what counts.
    pub(crate) fn local(reason: &str, message: String) -> Self {
        Self { status: None, reason: reason.to_owned(), message, hint: None, transient: false }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// What became of one object: exactly one of `action` and `error` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Which object it is.
    pub object: ObjectRef,
    /// Where it is from.
    pub source: String,
    /// What was done; none when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Why it failed; none when it was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Rejection>,
}

impl Outcome {
    pub(crate) fn applied(object: ObjectRef, source: String, action: Action) -> Self {
        Self { object, source, action: Some(action), error: None }
    }

    pub(crate) fn refused(object: ObjectRef, source: String, error: Rejection) -> Self {
        Self { object, source, action: None, error: Some(error) }
    }
}

/// What became of all objects, in the order of the plan, those refused before it at the end.
/// `Display` is a summary with what failed and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each object.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether every object is in the cluster.
    pub fn complete(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Those that are not in the cluster as their manifest has them.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|o| o.error.is_some())
    }

    /// How many had this done to them.
    pub fn count(&self, action: Action) -> usize {
        self.outcomes.iter().filter(|o| o.action == Some(action)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed().count();
        let applied = self.outcomes.len() - failed;
        write!(f, "{applied} of {} objects applied", self.outcomes.len())?;
        write!(
            f,
            " ({} created, {} configured, {} unchanged)",
            self.count(Action::Created),
            self.count(Action::Configured),
            self.count(Action::Unchanged)
        )?;
        if failed > 0 {
            write!(f, ", {failed} failed:")?;
        }
        for Outcome { object, source, error, .. } in self.failed() {
            write!(f, "\n  {object} ({source})")?;
            let Some(error) = error else { continue };
            // Kubernetes puts a list of causes on lines of their own.
            write!(f, "\n    {}", error.to_string().trim_end().replace('\n', "\n    "))?;
            if let Some(hint) = &error.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}
