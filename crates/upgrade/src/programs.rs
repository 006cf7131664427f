//! Programs of the target are asked whether they take the flags that they would get.
//!
//! No table of flags could be as true as the program of that very patch release, run with the very flags:
//! it finds what was dropped, what is misspelt, gates that are gone and values that do not parse.

use std::path::Path;
use std::time::Duration;

use host::command::{Command, CommandError};
use objects::pod;
use serde_json::Value;

use crate::observed::FlagAnswer;

/// How long a program may take to say something.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a program with flags that it would get, and `--version`, which makes it parse them and end.
pub(crate) fn ask(name: &str, program: &Path, flags: &[String]) -> Result<Option<FlagAnswer>, CommandError> {
    let command = Command::new(program).args(flags).arg("--version").env_clear().timeout(LIMIT);
    let (status, output) = command.run_unchecked()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    Ok(judge(name, status.success(), &stderr))
}

fn judge(name: &str, success: bool, stderr: &str) -> Option<FlagAnswer> {
    let answer = |said: String, refused| Some(FlagAnswer { program: name.to_owned(), said, refused });
    if !success {
        let error = stderr.lines().rfind(|line| line.contains("rror") || line.contains("err="));
        let error = error.or_else(|| stderr.lines().last()).unwrap_or("it failed and said nothing");
        // klog's head says when and where, which is of no use here.
        let error = error.split_once("] ").map_or(error, |(_, said)| said);
        return answer(error.trim().to_owned(), true);
    }
    let deprecated: Vec<&str> = stderr.lines().filter(|line| line.contains("deprecated")).collect();
    if deprecated.is_empty() { None } else { answer(deprecated.join("; "), false) }
}

/// The flags of a workload's first container with its variables filled in.
pub(crate) fn flags(workload: &Value, node: &str, address: &str) -> Vec<String> {
    let Some(container) = pod::app_containers(workload).first() else { return Vec::new() };
    let mut values: Vec<(String, String)> = Vec::new();
    for variable in objects::items(&container["env"]) {
        let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
        let value = match (variable["value"].as_str(), field) {
            (Some(value), _) => value,
            (None, Some("status.hostIP" | "status.podIP")) => address,
            _ => node,
        };
        let name = variable["name"].as_str().unwrap_or_default();
        values.push((format!("$({name})"), value.to_owned()));
    }
    let fill = |flag: &str| {
        values.iter().fold(flag.to_owned(), |flag, (name, value)| flag.replace(name.as_str(), value))
    };
    objects::items(&container["args"]).iter().filter_map(Value::as_str).map(fill).collect()
}

/// Where a Kubernetes image has its program.
pub(crate) fn program_path(name: &str) -> String {
    format!("/usr/local/bin/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(judge("p", true, ""), None);
        let refused = judge(
            "p",
            false,
            "E1122 22:49:57.8 6373 run.go:72] \"command failed\" err=\"unrecognized feature gate: X\"\n",
        );
        assert_eq!(refused.unwrap().said, "\"command failed\" err=\"unrecognized feature gate: X\"");
        let refused = judge("p", false, "Error: unknown flag: --x\nUsage:\n");
        assert_eq!(refused.unwrap().said, "Error: unknown flag: --x");
        let old = judge("p", true, "Flag --x has been deprecated, use y\n").unwrap();
        assert!(!old.refused);
    }

    #[test]
    fn variables_in_flags_are_filled() {
        let workload = json!({"kind": "DaemonSet", "spec": {"template": {"spec": {"containers": [{
            "args": ["--advertise-address=$(HOST_IP)", "--name=$(N)", "--v=2"],
            "env": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        }]}}}});
        let filled = flags(&workload, "a", "10.0.0.1");
        assert_eq!(filled, ["--advertise-address=10.0.0.1", "--name=a", "--v=2"]);
    }
}
