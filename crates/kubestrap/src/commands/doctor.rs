//! `doctor`: would the control-plane nodes come back right now, with no API and no registry? This node
//! is looked at itself, the others tell by their guardians' reports.

use std::fmt::Write as _;

use ::checks::{Check, Outcome};
use doctor::report::silent;
use doctor::status::{ApiView, NodeView};
use doctor::{Diagnosis, Verdict, words};
use jiff::Timestamp;
use serde::Serialize;

use super::cluster::{ClusterArgs, Here};
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Print the checks that passed, too
    #[arg(long)]
    all: bool,
    /// Print which checks there are, those of the other verbs too, and make none
    #[arg(long, conflicts_with = "all")]
    list: bool,
}

/// What is printed: the stable form of `-o json`, in docs/doctor.md.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    version: u32,
    time: Timestamp,
    /// The worst of all nodes.
    verdict: Verdict,
    nodes: Vec<Node>,
    /// What the API has that is in the way: it keeps no node from coming back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<Check>,
    /// Why nothing is said of other nodes; none when something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    #[serde(rename = "node")]
    name: String,
    /// `disk`: looked at now, on the node itself. `report`: what its guardian said.
    origin: &'static str,
    /// How long ago the checks were made, in seconds.
    age_seconds: i64,
    #[serde(flatten)]
    diagnosis: Diagnosis,
}

pub(crate) fn run(args: DoctorArgs, ui: &Ui) -> Result<(), Failure> {
    if args.list {
        super::check_list::print(ui);
        return Ok(());
    }
    super::run_async(async {
        let here = args.cluster.here()?;
        let told = args.cluster.ask(here.as_ref()).await?;
        if let Some(warning) = &told.warning {
            ui.warn(warning);
        }
        let cluster = told.causes.into_iter().map(|cause| cause.check).collect();
        let answer = Answer { cluster, ..answer(here, told.view).await };
        ui.output(&answer, || text(&answer, args.all));
        if let Some(why) =
            answer.unknown.as_ref().filter(|_| !args.cluster.is_local() && !answer.nodes.is_empty())
        {
            ui.warn(format!("nothing is known of other nodes: {why}"));
        }
        judge(&answer)
    })
}

async fn answer(here: Option<Here>, api: Result<ApiView, String>) -> Answer {
    let time = Timestamp::now();
    let mut nodes = Vec::new();
    let name = here.as_ref().map(|here| here.name.clone());
    if let Some(here) = &here {
        let diagnosis = doctor::diagnose(&here.options, time).await;
        nodes.push(Node { name: here.name.clone(), origin: "disk", age_seconds: 0, diagnosis });
    }
    let (others, unknown) = match api {
        Ok(view) => (view.nodes, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    nodes.extend(
        others.into_iter().filter(|node| Some(&node.name) != name.as_ref()).map(|node| reported(node, time)),
    );
    Answer::new(time, nodes, unknown)
}

impl Answer {
    fn new(time: Timestamp, nodes: Vec<Node>, unknown: Option<String>) -> Self {
        let verdict = nodes.iter().map(|node| node.diagnosis.verdict).max().unwrap_or(Verdict::CouldNotCheck);
        Self { version: 1, time, verdict, nodes, cluster: Vec::new(), unknown }
    }
}

fn reported(node: NodeView, now: Timestamp) -> Node {
    let diagnosis = match &node.report {
        Ok(report) => report.diagnosis(now),
        Err(why) => silent(why, now),
    };
    let age_seconds = now.duration_since(diagnosis.time).as_secs();
    Node { name: node.name, origin: "report", age_seconds, diagnosis }
}

fn text(answer: &Answer, all: bool) -> String {
    let mut parts: Vec<_> = answer.nodes.iter().map(|node| node_text(node, all)).collect();
    if !answer.cluster.is_empty() {
        let title = "in the cluster, which comes back all the same\n".to_owned();
        parts.push(title + &answer.cluster.iter().map(line).collect::<String>());
    }
    parts.join("\n")
}

fn node_text(node: &Node, all: bool) -> String {
    let age = jiff::SignedDuration::from_secs(node.age_seconds);
    let when = if node.origin == "disk" {
        String::new()
    } else {
        format!(" (as its guardian said {} ago)", words(age))
    };
    let mut text = format!("node {} {}{when}\n", node.name, node.diagnosis.verdict.words());
    for check in node.diagnosis.problems() {
        text.push_str(&line(check));
    }
    let passed: Vec<_> = node.diagnosis.checks.iter().filter(|check| check.result == Outcome::Ok).collect();
    if all {
        text.extend(passed.into_iter().map(line));
    } else {
        let _ = writeln!(text, "  {} checks passed", passed.len());
    }
    text
}

fn line(check: &Check) -> String {
    let mut line = format!("  {}: {}: {}\n", check.result.word(), check.name, check.what);
    if let Some(remedy) = &check.remedy {
        let _ = writeln!(line, "      {remedy}");
    }
    line
}

/// The exit code says it to scripts.
fn judge(answer: &Answer) -> Result<(), Failure> {
    let named = |verdict: Verdict| {
        let nodes = answer.nodes.iter().filter(|node| node.diagnosis.verdict == verdict);
        nodes.map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match answer.verdict {
        Verdict::ComesBack => Ok(()),
        Verdict::WouldNot => {
            let error = anyhow::anyhow!("would not come back: {}", named(Verdict::WouldNot));
            Err(Failure::new(Exit::WouldNotComeBack, error).hint("mend what failed and run this again"))
        }
        Verdict::CouldNotCheck if answer.nodes.is_empty() => {
            let why =
                answer.unknown.clone().unwrap_or_else(|| "the API knows no control-plane node".to_owned());
            let error = anyhow::anyhow!(
                "this machine is no control-plane node, and of others nothing is known: {why}"
            );
            Err(Failure::new(Exit::CouldNotCheck, error)
                .hint("run it on a control-plane node, or give --kubeconfig"))
        }
        Verdict::CouldNotCheck => {
            let error = anyhow::anyhow!("could not check all of: {}", named(Verdict::CouldNotCheck));
            Err(Failure::new(Exit::CouldNotCheck, error)
                .hint("see to what could not be checked and run this again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use ::checks::kind;

    use super::*;

    fn node(name: &str, check: Check) -> Node {
        let diagnosis = Diagnosis::new(vec![check], Timestamp::UNIX_EPOCH);
        Node { name: name.to_owned(), origin: "report", age_seconds: 120, diagnosis }
    }

    fn answer(nodes: Vec<Node>) -> Answer {
        Answer::new(Timestamp::UNIX_EPOCH, nodes, None)
    }

    #[test]
    fn the_worst_node_gives_the_exit_code() {
        let ok = || node("a", Check::ok(&kind::CLOCK, "fine"));
        let unknown = || node("b", Check::unknown(&kind::CLOCK, "no answer", "start it"));
        let failed = || node("c", Check::failed(&kind::CLOCK, "gone", "put it back"));
        assert!(judge(&answer(vec![ok()])).is_ok());
        let code = |nodes| judge(&answer(nodes)).unwrap_err().exit;
        assert_eq!(code(vec![ok(), unknown()]), Exit::CouldNotCheck);
        let failure = judge(&answer(vec![ok(), unknown(), failed()])).unwrap_err();
        assert_eq!(
            (failure.exit, failure.error.to_string().as_str()),
            (Exit::WouldNotComeBack, "would not come back: c")
        );
        assert_eq!(code(vec![]), Exit::CouldNotCheck);
    }

    #[test]
    fn what_is_in_the_way_is_told_and_keeps_nobody_from_coming_back() {
        let hook = Check::warning(kind::WEBHOOK.of("dead"), "nobody answers", "remove it");
        let answer =
            Answer { cluster: vec![hook], ..answer(vec![node("a", Check::ok(&kind::CLOCK, "fine"))]) };
        assert!(judge(&answer).is_ok());
        let told = text(&answer, false);
        let end = "\nin the cluster, which comes back all the same\n  warning: Webhook-dead: nobody answers\n      remove it\n";
        assert!(told.ends_with(end), "{told}");
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["cluster"][0]["name"], "Webhook-dead");
    }

    #[test]
    fn a_problem_is_told_with_its_remedy() {
        let text =
            text(&answer(vec![node("c", Check::failed(&kind::DISK_CONTAINERS, "full", "make room"))]), false);
        assert_eq!(
            text,
            "node c would NOT come back (as its guardian said 2 min ago)\n  failed: DiskContainers: full\n      make room\n  0 checks passed\n"
        );
    }
}
