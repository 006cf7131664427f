//! A write that changes nothing, before an instance gets connections: `/readyz` is green a second or two before
//! the first write gets through. Admission plugins wait for what they watch when a write comes, not before
//! (`k8s.io/apiserver/pkg/admission`, `Handler.WaitForReady`), and on a busy machine that is a second that some
//! client would have waited.

use ask::{Answer, Question};
use steer::probe::{Probe, ProbeError};

/// A dry run goes all the way but for the last step, the write to etcd.
const PATH: &str = "/api/v1/namespaces/kube-system/events?dryRun=All";
/// Whoever steers may make Events: that is how it tells what it does.
const EVENT: &str = r#"{"apiVersion":"v1","kind":"Event","metadata":{"generateName":"rehearsal-","namespace":"kube-system"},"involvedObject":{"apiVersion":"v1","kind":"Pod","name":"kube-apiserver","namespace":"kube-system"},"reason":"Rehearsal","message":"a write that changes nothing","type":"Normal"}"#;

/// What the instance lacks to serve writes; none when it serves them.
pub(crate) async fn lacking(probe: &Probe, source_port: u16) -> Option<String> {
    verdict(probe.ask(source_port, Question { path: PATH, body: Some(EVENT) }).await)
}

fn verdict(answer: Result<Answer, ProbeError>) -> Option<String> {
    match answer {
        // Refused for what was asked or who asked it: it was thought over, and nobody else would have to wait.
        Ok(answer) if answer.status < 429 => None,
        Ok(answer) => Some(format!("a write: {}", answer.status)),
        Err(error) => Some(format!("a write: {}", host::error::chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ask::AskError;

    use super::*;

    #[test]
    fn a_refusal_is_an_answer_and_a_wait_is_none() {
        let of = |status| verdict(Ok(Answer { status, body: String::new(), date: None }));
        assert_eq!((of(201), of(403), of(404)), (None, None, None));
        assert_eq!(of(500).unwrap(), "a write: 500");
        let timed_out =
            AskError::TimedOut { address: "127.0.0.1:6443".parse().unwrap(), limit: Duration::from_secs(2) };
        assert!(verdict(Err(timed_out.into())).unwrap().contains("did not answer"));
    }

    #[test]
    fn the_event_is_json() {
        let event: serde_json::Value = serde_json::from_str(EVENT).unwrap();
        assert_eq!(event["kind"], "Event");
    }
}
