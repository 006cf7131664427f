//! The registry of checks as people, programs and the documentation get it.

use std::fmt::Write as _;

use checks::{ALL, Kind};
use serde::Serialize;

use crate::ui::Ui;

/// What is printed: the stable form of `-o json`, in docs/doctor.md.
#[derive(Debug, Serialize)]
struct List {
    version: u32,
    checks: &'static [Kind],
}

/// Prints every check of every verb.
pub(crate) fn print(ui: &Ui) {
    ui.output(&List { version: 1, checks: ALL }, || ALL.iter().map(entry).collect::<Vec<_>>().join("\n"));
}

fn entry(kind: &Kind) -> String {
    let mut text = format!("{} ({})\n  looks at {}\n", kind.label(), verbs(kind), kind.looks_at);
    let _ = writeln!(text, "  fails: {}", kind.fails);
    if let Some(warns) = kind.warns {
        let _ = writeln!(text, "  warns: {warns}");
    }
    let _ = writeln!(text, "  remedy: {}", kind.remedy);
    text
}

fn verbs(kind: &Kind) -> String {
    kind.verbs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const HEAD: &str = "\
# Checks

All that `up`, `join`, `start` and `upgrade` look at before they change anything, and `doctor` when it says whether a node would come back. Names are stable, and kubeadm's where kubeadm has
such a check. What a check is about follows a hyphen: `Port-6443`. A check that fails says the cause and the remedy of its case; `--ignore-preflight-errors` of the first four takes its name.
A check that could not be made says so and nothing else. `kubestrap doctor --list` prints this list, with `-o json` for programs.

<!-- Generated from the program: kubestrap reference checks > docs/checks.md -->

| check | made by | looks at | fails when | warns when | what to do |
| --- | --- | --- | --- | --- | --- |
";

/// docs/checks.md.
pub(crate) fn page() -> String {
    let row = |kind: &Kind| {
        let Kind { looks_at, fails, remedy, .. } = kind;
        let warns = kind.warns.unwrap_or_default();
        format!("| `{}` | {} | {looks_at} | {fails} | {warns} | {remedy} |\n", kind.label(), verbs(kind))
    };
    HEAD.to_owned() + &ALL.iter().map(row).collect::<String>()
}

#[cfg(test)]
mod tests {
    use checks::kind;

    use super::*;

    #[test]
    fn a_check_is_told_with_all_that_there_is_to_know_of_it() {
        assert_eq!(
            entry(&kind::NODE_READY),
            "NodeReady (upgrade)\n  looks at the nodes\n  fails: this node is not Ready\n  warns: another one is not\n  \
             remedy: mend it first: `kubectl describe node` says why\n"
        );
        assert!(entry(&kind::PORT).starts_with("Port-<port> (up, join, start)\n"));
        let json = serde_json::to_value(List { version: 1, checks: ALL }).unwrap();
        let port = json["checks"].as_array().unwrap().iter().find(|kind| kind["name"] == "Port").unwrap();
        assert_eq!(
            (&port["about"], &port["verbs"]),
            (&"port".into(), &serde_json::json!(["up", "join", "start"]))
        );
    }
}
