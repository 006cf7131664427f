//! What a guardian publishes of its node, so that others need not go there: JSON in an annotation of
//! the installer's pod of that node. The guardian writes it, `status` and `doctor` read it.

use std::fmt;

use ::checks::{Check, Kind, kind};
use jiff::{SignedDuration, Timestamp};
use objects::Origin;
use serde::{Deserialize, Serialize};

use crate::check::{Diagnosis, Verdict};

/// The version of the form below. A reader takes this one and none after it.
pub const VERSION: u32 = 1;
/// A guardian that works publishes at least once in this time, so an older report says nothing of
/// now.
pub const OLDEST: SignedDuration = SignedDuration::from_mins(10);

/// What a guardian knows of its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// The form of this: [`VERSION`].
    pub version: u32,
    /// The node's name.
    pub node: String,
    /// When this was true.
    pub time: Timestamp,
    /// Every component that has checkpoints, or should.
    pub components: Vec<ComponentReport>,
    /// Whether the guardian steers connections to the apiserver.
    pub steering: SteeringReport,
    /// The last time a copy had to take the place of a revision that does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_revert: Option<News>,
    /// Whether the node would come back; none before it was looked at for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<DoctorReport>,
}

/// One component on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its generations, the oldest first.
    pub generations: Vec<GenerationReport>,
    /// What of it runs, Ready or not.
    #[serde(default)]
    pub running: Vec<Origin>,
    /// The generation whose static pod is in the kubelet's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<String>,
    /// What happened last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<News>,
}

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationReport {
    /// Its name.
    pub id: String,
    /// When it was written.
    pub made: Timestamp,
    /// Whether it is the last known good one.
    pub good: bool,
    /// The revision of the pod that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// Something that the guardian told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct News {
    /// When.
    pub time: Timestamp,
    /// One word: the reason of the Kubernetes Event.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Whether connections are steered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SteeringReport {
    /// True while the guardian says which apiserver gets connections.
    pub on: bool,
    /// Why not, or why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A [`Diagnosis`] without what is well: small enough for an annotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// The answer.
    pub verdict: Verdict,
    /// When the checks were made.
    pub time: Timestamp,
    /// The checks that did not pass, worst first.
    pub problems: Vec<Check>,
    /// The first certificate of a checkpoint to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_end: Option<Timestamp>,
}

impl From<&Diagnosis> for DoctorReport {
    fn from(diagnosis: &Diagnosis) -> Self {
        let problems = diagnosis.problems().into_iter().cloned().collect();
        Self { verdict: diagnosis.verdict, time: diagnosis.time, problems, first_end: diagnosis.first_end }
    }
}

/// Why a report is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is no JSON of this form.
    #[error("the guardian's report cannot be understood")]
    Malformed(#[source] serde_json::Error),
    /// A newer guardian wrote it.
    #[error("the guardian's report is of version {0}, which this kubestrap does not know")]
    Version(u32),
}

impl NodeReport {
    /// Reads the annotation's value.
    ///
    /// # Errors
    /// [`ReportError`] when it is of another form.
    pub fn parse(text: &str) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // The version first: a newer form need not be one that the rest of this understands.
        let Versioned { version } = serde_json::from_str(text).map_err(ReportError::Malformed)?;
        if version != VERSION {
            return Err(ReportError::Version(version));
        }
        serde_json::from_str(text).map_err(ReportError::Malformed)
    }

    /// How old it is.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.time)
    }

    /// What it says of the node now. A report that is too old says nothing.
    pub fn diagnosis(&self, now: Timestamp) -> Diagnosis {
        const NAME: &Kind = &kind::GUARDIAN_REPORT;
        let remedy = format!(
            "see that the guardian runs there: kubectl -n kube-system get pods -l k8s-app=kubestrap-guardian -o wide; \
             or run `kubestrap doctor` on {}",
            self.node
        );
        let Some(doctor) = &self.doctor else {
            let check = Check::unknown(NAME, "the guardian has not looked at its node yet", remedy);
            return Diagnosis::new(vec![check], self.time);
        };
        let age = now.duration_since(doctor.time.min(self.time));
        if age > OLDEST {
            let what = format!("the guardian's report is {} old", crate::words(age));
            return Diagnosis::new(vec![Check::unknown(NAME, what, remedy)], doctor.time);
        }
        let mut checks = doctor.problems.clone();
        checks.push(Check::ok(NAME, format!("the guardian looked {} ago", crate::words(age))));
        let mut diagnosis = Diagnosis::new(checks, doctor.time);
        // Its own word counts: it may know more kinds of problems than this program.
        diagnosis.verdict = diagnosis.verdict.max(doctor.verdict);
        diagnosis.first_end = doctor.first_end;
        diagnosis
    }
}

/// A node whose guardian says nothing.
pub fn silent(why: impl fmt::Display, now: Timestamp) -> Diagnosis {
    let remedy = "see that kubestrap-guardian runs there, or run `kubestrap doctor` on that node";
    Diagnosis::new(vec![Check::unknown(&kind::GUARDIAN_REPORT, why.to_string(), remedy)], now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> NodeReport {
        let time: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
        let problems =
            vec![Check::warning(kind::CERTIFICATES_OF.of("x/y"), "a.crt expires soon", "renew it")];
        NodeReport {
            version: VERSION,
            node: "a".to_owned(),
            time,
            components: vec![ComponentReport {
                namespace: "kube-system".to_owned(),
                name: "kube-apiserver".to_owned(),
                generations: vec![GenerationReport {
                    id: "000001-a".to_owned(),
                    made: time,
                    good: true,
                    revision: None,
                }],
                running: vec![Origin::Api, Origin::Checkpoint { generation: "000001-a".to_owned() }],
                placed: None,
                last_event: Some(News { time, reason: "Promoted".to_owned(), message: "m".to_owned() }),
            }],
            steering: SteeringReport::default(),
            last_revert: None,
            doctor: Some(DoctorReport { verdict: Verdict::ComesBack, time, problems, first_end: None }),
        }
    }

    #[test]
    fn a_report_survives_the_annotation() {
        let text = serde_json::to_string(&report()).unwrap();
        assert_eq!(NodeReport::parse(&text).unwrap(), report());
        // As a guardian of version 1 wrote it: what is added later has to be optional.
        let oldest = r#"{"version":1,"node":"a","time":"2026-11-01T12:00:00Z","steering":{"on":false},
            "components":[{"namespace":"n","name":"c","generations":[]}]}"#;
        assert!(NodeReport::parse(oldest).is_ok());
        let error = NodeReport::parse(r#"{"version":2,"what":"ever"}"#).unwrap_err();
        assert!(matches!(error, ReportError::Version(2)));
        assert!(matches!(NodeReport::parse("{}").unwrap_err(), ReportError::Malformed(_)));
    }

    #[test]
    fn an_old_report_says_nothing_of_now() {
        let report = report();
        let after = |minutes: i64| report.diagnosis(report.time + SignedDuration::from_mins(minutes));
        assert_eq!(after(9).verdict, Verdict::ComesBack);
        assert_eq!(after(9).problems().len(), 1, "a warning is told");
        assert_eq!(after(11).verdict, Verdict::CouldNotCheck);
        assert_eq!(after(11).checks[0].what, "the guardian's report is 11 min old");
        let mut unseen = report.clone();
        unseen.doctor = None;
        assert_eq!(unseen.diagnosis(report.time).verdict, Verdict::CouldNotCheck);
    }

    #[test]
    fn the_guardian_s_own_verdict_counts() {
        let mut report = report();
        report.doctor.as_mut().unwrap().verdict = Verdict::WouldNot;
        assert_eq!(report.diagnosis(report.time).verdict, Verdict::WouldNot);
    }
}
