//! What a check found.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Name;

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and this should be seen to.
    Warning,
    /// The check could not be made; it says nothing about what it was to find.
    Unknown,
    /// With this it does not work: a verb does not go on, a node does not come back.
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

/// One check and what it found. Made by the functions below only: its name is of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// Its name: stable. What it is about follows a hyphen: `Certificates-kube-system/kube-apiserver`.
    pub name: String,
    /// How it ended.
    pub result: Outcome,
    /// What was found, as a clause; empty where nothing is to be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// What to do about it, as an imperative clause; none where nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// All is well, and no more is to be told.
    pub fn passed(name: impl Into<Name>) -> Self {
        Self::ok(name, "")
    }

    /// All is well.
    pub fn ok(name: impl Into<Name>, what: impl Into<String>) -> Self {
        Self { name: name.into().into(), result: Outcome::Ok, what: what.into(), remedy: None }
    }

    /// It works, and should be seen to.
    pub fn warning(name: impl Into<Name>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Warning, name, what, remedy)
    }

    /// It does not work.
    pub fn failed(name: impl Into<Name>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Failed, name, what, remedy)
    }

    /// It could not be found out.
    pub fn unknown(name: impl Into<Name>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::problem(Outcome::Unknown, name, what, remedy)
    }

    fn problem(
        result: Outcome,
        name: impl Into<Name>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name: name.into().into(), result, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// From lists of what is fatal and what is not: the worst counts, all of it is told.
    pub fn of_problems(
        name: impl Into<Name>,
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

    /// True when this must keep a verb from going on.
    pub fn is_failure(&self) -> bool {
        self.result == Outcome::Failed
    }

    /// True when there is something to tell.
    pub fn is_problem(&self) -> bool {
        self.result != Outcome::Ok
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.result.word())?;
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    #[test]
    fn a_check_says_what_is_wrong_and_what_to_do() {
        let check = Check::failed(&kind::SWAP, "swap is on", "turn it off with swapoff -a");
        assert_eq!(check.to_string(), "Swap failed: swap is on; turn it off with swapoff -a");
        assert_eq!(Check::passed(kind::PORT.of(6443)).to_string(), "Port-6443 ok");
        let unknown = Check::unknown(&kind::CLOCK, "it has none", "give it one");
        assert_eq!(unknown.to_string(), "Clock could not check: it has none; give it one");
    }

    #[test]
    fn the_worst_of_all_problems_counts() {
        let of = |fatal: &[&str], minor: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Check::of_problems(&kind::CLOCK, &owned(fatal), &owned(minor), "fine", "mend it")
        };
        assert_eq!(of(&[], &[]), Check::ok(&kind::CLOCK, "fine"));
        assert_eq!(of(&[], &["b"]), Check::warning(&kind::CLOCK, "b", "mend it"));
        assert_eq!(of(&["a"], &["b"]), Check::failed(&kind::CLOCK, "a; b", "mend it"));
    }

    #[test]
    fn the_json_is_what_the_documentation_says() {
        let json = |check: &Check| serde_json::to_value(check).unwrap();
        let unknown = Check::unknown(&kind::CLOCK, "no answer", "start it");
        let expected = serde_json::json!({"name": "Clock", "result": "unknown", "what": "no answer", "remedy": "start it"});
        assert_eq!(json(&unknown), expected);
        assert_eq!(json(&Check::passed(&kind::CLOCK)), serde_json::json!({"name": "Clock", "result": "ok"}));
        // A newer guardian may tell of a kind that this program does not know.
        let newer = serde_json::json!({"name": "Newer-x", "result": "failed", "what": "w", "remedy": "r"});
        assert_eq!(serde_json::from_value::<Check>(newer).unwrap().name, "Newer-x");
    }
}
