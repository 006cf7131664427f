//! APIs that somebody else serves: while one of them is not there, namespaces do not end and discovery is not whole.

use checks::kind;
use objects::{items, name, text};
use serde_json::Value;

use crate::cause::Cause;
use crate::seen::Seen;

/// The APIServices that nobody serves.
pub(crate) fn find(seen: &Seen) -> Vec<Cause> {
    seen.api_services.iter().filter_map(broken).collect()
}

fn broken(service: &Value) -> Option<Cause> {
    let behind = &service["spec"]["service"];
    let conditions = items(&service["status"]["conditions"]);
    let available = conditions.iter().find(|condition| condition["type"] == "Available")?;
    // One without a Service is the apiserver's own.
    if !behind.is_object() || available["status"] == "True" {
        return None;
    }
    let (name, message) = (name(service), text(&available["message"]));
    let what = format!(
        "APIService {name} is not served ({message}): no namespace comes to its end, and clients that ask for all APIs fail"
    );
    let remedy = format!(
        "see to its Service {}/{}, or remove it: kubectl delete apiservice {name}",
        text(&behind["namespace"]),
        text(&behind["name"])
    );
    Some(Cause::new(kind::API_SERVICE.of(name), format!("APIService {name}"), what, remedy))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_nobody_serves_is_named() {
        let service = |status: &str, behind: Value| {
            json!({"metadata": {"name": "v1.a.b"}, "spec": {"service": behind},
                "status": {"conditions": [{"type": "Available", "status": status, "message": "no endpoints"}]}})
        };
        let behind = || json!({"namespace": "default", "name": "nobody"});
        let found = |service: Value| find(&Seen { api_services: vec![service], ..Seen::default() });
        let cause = found(service("False", behind())).pop().unwrap();
        assert_eq!(
            cause.to_string(),
            "APIService v1.a.b is not served (no endpoints): no namespace comes to its end, and clients that ask for all \
             APIs fail; see to its Service default/nobody, or remove it: kubectl delete apiservice v1.a.b"
        );
        assert!(found(service("True", behind())).is_empty());
        assert!(found(service("False", json!(null))).is_empty());
        assert!(found(json!({"spec": {"service": behind()}})).is_empty(), "nobody has looked at it yet");
    }
}
