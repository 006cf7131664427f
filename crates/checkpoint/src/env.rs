//! Environment variables that come from Secrets and ConfigMaps, as plain values.
//!
//! What they say is read from the running instance: the environment that its first process was started
//! with. A copy gets the same.

use std::collections::{BTreeMap, BTreeSet};

use objects::{items, pod, text};
use serde_json::{Value, json};

use crate::error::BuildError;

/// The environment of a process.
pub type Environment = BTreeMap<String, String>;

/// Variables that the runtime or a shell gives to every process; no object of the API says them.
const OF_THE_RUNTIME: [&str; 6] = ["HOSTNAME", "TERM", "PWD", "OLDPWD", "SHLVL", "_"];
/// Ends the first of the variables that tell of a Service (`enableServiceLinks`).
const SERVICE_HOST: &str = "_SERVICE_HOST";
/// Fields of a pod that are not those of its copy: these are resolved, too.
const LOST_FIELDS: [&str; 3] = ["metadata.labels", "metadata.annotations", "spec.serviceAccountName"];

/// Reads the bytes of `/proc/<pid>/environ`; what is no UTF-8 is replaced.
pub fn parse_environment(environ: &[u8]) -> Environment {
    let variables = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    variables.filter_map(|v| v.split_once('=').map(|(name, value)| (name.into(), value.into()))).collect()
}

/// The containers of a pod whose environment has to be known for [`crate::build()`]: variables of theirs come
/// from Secrets or ConfigMaps.
pub(crate) fn needs_environment(pod: &Value) -> Vec<String> {
    let needing = pod::containers(pod).filter(|container| {
        items(&container["env"]).iter().any(from_object) || !items(&container["envFrom"]).is_empty()
    });
    needing.map(|container| text(&container["name"]).to_owned()).collect()
}

fn from_object(variable: &Value) -> bool {
    reference(variable).is_some()
}

fn reference(variable: &Value) -> Option<&Value> {
    let from = &variable["valueFrom"];
    ["secretKeyRef", "configMapKeyRef"].iter().map(|field| &from[*field]).find(|found| !found.is_null())
}

/// The container's `env` without references to objects, and with what `envFrom` gave.
pub(crate) fn resolved(
    pod: &Value,
    container: &Value,
    instance: Option<&Environment>,
) -> Result<Vec<Value>, BuildError> {
    let name = text(&container["name"]);
    let instance = || instance.ok_or_else(|| BuildError::NoEnvironment { container: name.to_owned() });
    let own = items(&container["env"]);
    let mut variables = Vec::new();
    if !items(&container["envFrom"]).is_empty() {
        variables.extend(from_lists(pod, own, instance()?));
    }
    for variable in own {
        if let Some(reference) = reference(variable) {
            let key = text(&variable["name"]);
            match instance()?.get(key) {
                Some(value) => variables.push(literal(key, value)),
                None if reference["optional"] == true => {}
                None => {
                    let (container, variable) = (name.to_owned(), key.to_owned());
                    return Err(BuildError::Variable { container, variable });
                }
            }
        } else {
            variables.push(lost_field(pod, variable).unwrap_or_else(|| variable.clone()));
        }
    }
    Ok(variables)
}

/// A variable with a fixed value. The kubelet reads `$(NAME)` in it as a reference and `$$` as `$`.
fn literal(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value.replace('$', "$$")})
}

/// All variables of the instance that no other rule explains: those of `envFrom`, and those of the image,
/// which do no harm as they are the same there.
fn from_lists(pod: &Value, own: &[Value], instance: &Environment) -> Vec<Value> {
    let named: BTreeSet<&str> = own.iter().map(|variable| text(&variable["name"])).collect();
    let services = service_prefixes(pod, instance);
    let of_service = |name: &str| {
        services.iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| {
                rest == SERVICE_HOST || rest.starts_with("_SERVICE_PORT") || is_port(rest)
            })
        })
    };
    let kept = instance.iter().filter(|(name, _)| {
        !named.contains(name.as_str()) && !OF_THE_RUNTIME.contains(&name.as_str()) && !of_service(name)
    });
    kept.map(|(name, value)| literal(name, value)).collect()
}

/// `_PORT`, `_PORT_443_TCP`, `_PORT_443_TCP_ADDR` and their like, as the kubelet writes them for a Service.
fn is_port(rest: &str) -> bool {
    rest.strip_prefix("_PORT").is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// The Services that the kubelet told this pod of: the API's own always, the others unless it was told not to.
fn service_prefixes<'a>(pod: &Value, instance: &'a Environment) -> Vec<&'a str> {
    let links = pod["spec"]["enableServiceLinks"] != false;
    let prefixes = instance.keys().filter_map(|name| name.strip_suffix(SERVICE_HOST));
    prefixes.filter(|prefix| links || *prefix == "KUBERNETES").collect()
}

/// What a field says that the copy does not have: labels, annotations and the service account.
fn lost_field(pod: &Value, variable: &Value) -> Option<Value> {
    let path = text(&variable["valueFrom"]["fieldRef"]["fieldPath"]);
    let (field, key) = match path.split_once("['") {
        Some((field, key)) => (field, key.strip_suffix("']")),
        None => (path, None),
    };
    if !LOST_FIELDS.contains(&field) {
        return None;
    }
    let pointer = format!("/{}", field.replace('.', "/"));
    let value = pod.pointer(&pointer).unwrap_or(&Value::Null);
    let value = key.map_or(value, |key| &value[key]);
    Some(literal(text(&variable["name"]), text(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(text: &str) -> Environment {
        parse_environment(text.replace(' ', "\0").as_bytes())
    }

    fn pairs(variables: &[Value]) -> Vec<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap_or("<reference>").to_owned();
        variables.iter().map(|v| (text(&v["name"]), text(&v["value"]))).collect()
    }

    #[test]
    fn a_key_becomes_what_the_instance_has_and_a_dollar_stays_one() {
        let container = json!({"name": "c", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "b", "optional": true}}},
            {"name": "C", "value": "$(A)"},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]});
        let instance = env("A=$(X)$ C=x");
        let variables = resolved(&json!({}), &container, Some(&instance)).unwrap();
        let expected = [("A", "$$(X)$$"), ("C", "$(A)"), ("D", "<reference>")];
        assert_eq!(pairs(&variables), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn what_the_instance_lacks_is_an_error() {
        let container = json!({"name": "c", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}]});
        let error = resolved(&json!({}), &container, Some(&env("B=1"))).unwrap_err();
        assert!(matches!(error, BuildError::Variable { .. }), "{error}");
        let error = resolved(&json!({}), &container, None).unwrap_err();
        assert!(matches!(error, BuildError::NoEnvironment { .. }), "{error}");
    }

    #[test]
    fn whole_lists_are_what_no_other_rule_explains() {
        let instance = env("FROM=list OWN=1 HOSTNAME=n PATH=/bin KUBERNETES_SERVICE_HOST=1 \
            KUBERNETES_PORT_443_TCP=x KUBERNETES_SERVICE_PORT_HTTPS=1 DB_SERVICE_HOST=1 DB_PORT=tcp DB_PORTAL=y");
        let container = json!({"name": "c", "envFrom": [{"secretRef": {"name": "s"}}],
            "env": [{"name": "OWN", "value": "1"}]});
        let names = |links: bool| -> Vec<String> {
            let pod = json!({"spec": {"enableServiceLinks": links}});
            let variables = resolved(&pod, &container, Some(&instance)).unwrap();
            pairs(&variables).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(true), ["DB_PORTAL", "FROM", "PATH", "OWN"]);
        assert_eq!(names(false), ["DB_PORT", "DB_PORTAL", "DB_SERVICE_HOST", "FROM", "PATH", "OWN"]);
    }

    #[test]
    fn fields_that_the_copy_has_not_become_values() {
        let pod = json!({"metadata": {"labels": {"a/b": "x"}}, "spec": {"serviceAccountName": "sa"}});
        let field = |path: &str| json!({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let container = json!({"name": "c", "env": [
            field("metadata.labels['a/b']"), field("metadata.annotations['none']"),
            field("spec.serviceAccountName"), field("metadata.name")]});
        let variables = resolved(&pod, &container, None).unwrap();
        let values: Vec<String> = pairs(&variables).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["x", "", "sa", "<reference>"]);
    }

    #[test]
    fn only_containers_with_references_need_their_environment() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "env": [{"name": "A", "value": "1"}]},
            {"name": "b", "envFrom": [{"configMapRef": {"name": "x"}}]}]}});
        assert_eq!(needs_environment(&pod), ["b"]);
    }
}
