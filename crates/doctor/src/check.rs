//! What the checks of a node say together.

use ::checks::{Check, Outcome};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    use ::checks::kind;

    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let ok = Check::ok(&kind::CLOCK, "fine");
        let warning = Check::warning(kind::CURRENT.of("b"), "old", "renew it");
        let unknown = Check::unknown(&kind::CRI, "no answer", "start it");
        let failed = Check::failed(&kind::ETCD_DATA, "gone", "put it back");
        let verdict = |checks: &[&Check]| Verdict::of(&checks.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(verdict(&[&ok, &warning]), Verdict::ComesBack);
        assert_eq!(verdict(&[&unknown, &ok, &warning]), Verdict::CouldNotCheck);
        assert_eq!(verdict(&[&ok, &failed, &unknown]), Verdict::WouldNot);
        assert_eq!(verdict(&[]), Verdict::CouldNotCheck, "no check is no yes");
        let all = Diagnosis::new(vec![ok, warning, unknown, failed], Timestamp::UNIX_EPOCH);
        let names: Vec<_> = all.problems().iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["EtcdData", "CRI", "Current-b"]);
    }

    #[test]
    fn the_json_is_what_the_documentation_says() {
        let checks =
            vec![Check::ok(&kind::CLOCK, "fine"), Check::unknown(&kind::CRI, "no answer", "start it")];
        let json = serde_json::to_value(Diagnosis::new(checks, Timestamp::UNIX_EPOCH)).unwrap();
        let expected = serde_json::json!({
            "verdict": "couldNotCheck",
            "time": "1970-01-01T00:00:00Z",
            "checks": [
                {"name": "Clock", "result": "ok", "what": "fine"},
                {"name": "CRI", "result": "unknown", "what": "no answer", "remedy": "start it"},
            ],
        });
        assert_eq!(json, expected);
    }
}
