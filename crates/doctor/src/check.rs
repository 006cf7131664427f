//! What a check finds, and what all of them together say.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// The node comes back, and this should be seen to.
    Warning,
    /// The check could not be made; it says nothing about what it was to find.
    Unknown,
    /// With this the node does not come back.
    Failed,
}

impl Outcome {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "could not check",
            Self::Failed => "failed",
        }
    }
}

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name: stable. What it is about follows a hyphen: `Certificates-kube-system/kube-apiserver`.
    pub name: String,
    /// How it ended.
    pub result: Outcome,
    /// What was found, as a clause.
    pub what: String,
    /// What to do about it, as an imperative clause; none where nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self { name: name.into(), result: Outcome::Ok, what: what.into(), remedy: None }
    }

    /// It comes back, and should be seen to.
    pub fn warning(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Warning, name, what, remedy)
    }

    /// It does not come back.
    pub fn failed(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Failed, name, what, remedy)
    }

    /// It could not be found out.
    pub fn unknown(name: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Unknown, name, what, remedy)
    }

    fn problem(
        result: Outcome,
        name: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), result, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// From lists of what is fatal and what is not: the worst counts, all of it is told.
    pub(crate) fn of_problems(
        name: impl Into<String>,
        fatal: &[String],
        minor: &[String],
        ok: impl Into<String>,
        remedy: &str,
    ) -> Self {
        let all = || fatal.iter().chain(minor).cloned().collect::<Vec<_>>().join("; ");
        match (fatal.is_empty(), minor.is_empty()) {
            (true, true) => Self::ok(name, ok),
            (true, false) => Self::warning(name, all(), remedy),
            (false, _) => Self::failed(name, all(), remedy),
        }
    }
}

/// The answer to "would this node come back right now?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Yes.
    ComesBack,
    /// No check failed, but some could not be made.
    CouldNotCheck,
    /// No.
    WouldNot,
}

impl Verdict {
    /// What the checks of a node say together.
    pub fn of(checks: &[Check]) -> Self {
        match checks.iter().map(|check| check.result).max() {
            Some(Outcome::Failed) => Self::WouldNot,
            Some(Outcome::Unknown) | None => Self::CouldNotCheck,
            Some(Outcome::Ok | Outcome::Warning) => Self::ComesBack,
        }
    }

    /// As a clause for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::ComesBack => "would come back right now",
            Self::CouldNotCheck => "may come back: not everything could be checked",
            Self::WouldNot => "would NOT come back",
        }
    }
}

/// What was found on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The answer.
    pub verdict: Verdict,
    /// When the checks were made.
    pub time: Timestamp,
    /// The first certificate to end of those that were looked at; renewals by itself do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_end: Option<Timestamp>,
    /// Every check, also those that passed.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// Sums the checks up.
    pub fn new(checks: Vec<Check>, time: Timestamp) -> Self {
        Self { verdict: Verdict::of(&checks), time, first_end: None, checks }
    }

    /// The checks that did not pass, worst first.
    pub fn problems(&self) -> Vec<&Check> {
        let mut problems: Vec<_> = self.checks.iter().filter(|c| c.result != Outcome::Ok).collect();
        problems.sort_by_key(|check| std::cmp::Reverse(check.result));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let ok = Check::ok("A", "fine");
        let warning = Check::warning("B", "old", "renew it");
        let unknown = Check::unknown("C", "no answer", "start it");
        let failed = Check::failed("D", "gone", "put it back");
        let verdict = |checks: &[&Check]| Verdict::of(&checks.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(verdict(&[&ok, &warning]), Verdict::ComesBack);
        assert_eq!(verdict(&[&unknown, &ok, &warning]), Verdict::CouldNotCheck);
        assert_eq!(verdict(&[&ok, &failed, &unknown]), Verdict::WouldNot);
        assert_eq!(verdict(&[]), Verdict::CouldNotCheck, "no check is no yes");
        let all = Diagnosis::new(vec![ok, warning, unknown, failed], Timestamp::UNIX_EPOCH);
        assert_eq!(all.problems().iter().map(|c| c.name.as_str()).collect::<String>(), "DCB");
    }

    #[test]
    fn the_json_is_what_the_documentation_says() {
        let checks = vec![Check::ok("A", "fine"), Check::unknown("B", "no answer", "start it")];
        let json = serde_json::to_value(Diagnosis::new(checks, Timestamp::UNIX_EPOCH)).unwrap();
        let expected = serde_json::json!({
            "verdict": "couldNotCheck",
            "time": "1970-01-01T00:00:00Z",
            "checks": [
                {"name": "A", "result": "ok", "what": "fine"},
                {"name": "B", "result": "unknown", "what": "no answer", "remedy": "start it"},
            ],
        });
        assert_eq!(json, expected);
    }
}
