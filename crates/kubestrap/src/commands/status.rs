//! `status`: what runs where, from which source, what is kept of it, who leads. Without an API it says
//! so, and still tells what this node's disk and runtime know.

use std::fmt::Write as _;

use ::checks::Check;
use doctor::status::{
    ApiStatus, EtcdStatus, KnownFrom, Leader, NodeStatus, PodStatus, Status, combine, look,
};
use doctor::words;
use jiff::Timestamp;
use objects::Origin;

use super::cluster::ClusterArgs;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(crate) fn run(args: StatusArgs, ui: &Ui) -> Result<(), Failure> {
    super::run_async(async {
        let here = args.cluster.here()?;
        let told = args.cluster.ask(here.as_ref()).await?;
        if let Some(warning) = &told.warning {
            ui.warn(warning);
        }
        let api = told.view;
        let now = Timestamp::now();
        let local = match here {
            Some(here) => Some(look(&here.options, here.name, now).await),
            None => None,
        };
        if let (Err(why), None) = (&api, &local) {
            let error =
                anyhow::anyhow!("this machine is no control-plane node, and the API does not answer: {why}");
            return Err(Failure::new(Exit::CouldNotCheck, error)
                .hint("run it on a control-plane node, or give --kubeconfig"));
        }
        let status = combine(&api, local, &told.causes, now);
        ui.output(&status, || text(&status));
        Ok(())
    })
}

fn text(status: &Status) -> String {
    let mut text = api(&status.api);
    text.push_str(&in_the_way(&status.in_the_way));
    text.push_str(&pods(status));
    for node in &status.nodes {
        text.push_str(&node_text(node, status.time));
    }
    text.push_str(&leaders(&status.leaders, status.time));
    text.push_str(&etcd(&status.etcd));
    text
}

fn api(api: &ApiStatus) -> String {
    match (&api.version, &api.why) {
        (Some(version), _) => format!("The API answers: {version}\n"),
        (None, why) => {
            let why = why.as_deref().unwrap_or_default();
            format!(
                "The API tells nothing ({why}).\nWhat follows is what this node's disk and runtime know.\n"
            )
        }
    }
}

/// What is in the way comes first: it is why what follows is as it is.
fn in_the_way(checks: &[Check]) -> String {
    let lines = checks.iter().map(|check| {
        let remedy = check.remedy.as_ref().map(|remedy| format!("    {remedy}\n")).unwrap_or_default();
        format!("{}\n{remedy}", check.what)
    });
    section("In the way", &lines.collect::<String>())
}

fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header);
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

/// `text` as a section of its own, nothing when there is none.
fn section(title: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\n{title}\n{text}") }
}

fn pods(status: &Status) -> String {
    let row = |node: &NodeStatus, pod: &PodStatus| {
        [
            node.name.clone(),
            pod.component.clone(),
            source(&pod.source),
            pod.version.clone(),
            pod.state.clone(),
            pod.restarts.to_string(),
            ago(pod.since, status.time),
            pod.pod.clone(),
        ]
    };
    let rows = status.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| row(node, pod)));
    let table = table(["NODE", "COMPONENT", "SOURCE", "VERSION", "STATE", "RESTARTS", "AGE", "POD"], rows);
    section("Control plane", &table)
}

fn source(source: &Origin) -> String {
    match source {
        Origin::Api => "API".to_owned(),
        Origin::Checkpoint { generation } => format!("checkpoint {generation}"),
        Origin::Temporary => "temporary".to_owned(),
        Origin::Static => "static pod".to_owned(),
    }
}

fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| words(now.duration_since(time)))
}

fn node_text(node: &NodeStatus, now: Timestamp) -> String {
    let mut lines = Vec::new();
    if node.ready == Some(false) {
        lines.push("its kubelet does not report that it is ready".to_owned());
    }
    lines.extend(node.verdict.map(|verdict| format!("it {}, as its guardian said last", verdict.words())));
    lines.extend(node.steering.as_ref().map(|steering| {
        let state = if steering.on { "on" } else { "off" };
        steering.why.as_ref().map_or(format!("steering: {state}"), |why| format!("steering: {state} ({why})"))
    }));
    lines.extend(
        node.last_revert.as_ref().map(|news| {
            format!("last revert, {} ago: {}", words(now.duration_since(news.time)), news.message)
        }),
    );
    lines.extend(node.held_up.iter().map(|what| format!("held up: {what}")));
    lines.extend(node.mixed.iter().map(|what| format!("mixed: {what}")));
    lines.extend(node.unknown.iter().map(|why| format!("unknown: {why}")));
    let rows = node.components.iter().flat_map(|component| {
        component.generations.iter().rev().map(move |generation| {
            let placed = component.placed.as_ref() == Some(&generation.id);
            let marks = [(generation.good, "last known good"), (placed, "placed")];
            let marks: Vec<_> = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
            [
                component.name.clone(),
                generation.id.clone(),
                ago(Some(generation.made), now),
                generation.revision.clone().unwrap_or_else(|| "-".to_owned()),
                marks.join(", "),
            ]
        })
    });
    let generations = table(["COMPONENT", "GENERATION", "AGE", "REVISION", ""], rows);
    let from = match (node.origin, node.as_of) {
        (KnownFrom::Disk, _) => "from its disk".to_owned(),
        (KnownFrom::Report, Some(time)) => {
            format!("as its guardian said {} ago", words(now.duration_since(time)))
        }
        (KnownFrom::Report | KnownFrom::Nothing, _) => "its guardian says nothing".to_owned(),
    };
    let lines: String = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    let mut text = section(&format!("Node {} ({from})", node.name), &(lines + &generations));
    text.push_str(&certificates(node, now));
    text
}

/// Of each component the certificates that end first.
fn certificates(node: &NodeStatus, now: Timestamp) -> String {
    let rows = node.certificates.iter().map(|certificate| {
        [
            certificate.component.clone(),
            certificate.file.clone(),
            certificate.subject.clone(),
            certificate.not_after.to_string(),
            words(certificate.not_after.duration_since(now)),
        ]
    });
    section(
        &format!("Certificates in the checkpoints of {}", node.name),
        &table(["COMPONENT", "FILE", "SUBJECT", "VALID UNTIL", "LEFT"], rows),
    )
}

fn leaders(leaders: &[Leader], now: Timestamp) -> String {
    let rows = leaders.iter().map(|leader| {
        let holder = match &leader.holder {
            None => "nobody".to_owned(),
            Some(holder) if leader.expired => format!("{holder} (its lease has run out)"),
            Some(holder) => holder.clone(),
        };
        [leader.component.clone(), holder, ago(leader.renewed, now)]
    });
    section("Leaders", &table(["COMPONENT", "LEADER", "RENEWED"], rows))
}

fn etcd(etcd: &EtcdStatus) -> String {
    let rows = etcd.members.iter().map(|member| {
        let name = if member.name.is_empty() { "(not started)" } else { &member.name };
        let role = if member.learner { "learner" } else { "voter" };
        [name.to_owned(), member.id.clone(), role.to_owned(), member.client_urls.join(",")]
    });
    let mut text = table(["NAME", "ID", "ROLE", "ENDPOINTS"], rows);
    if let Some(why) = &etcd.unknown {
        let _ = writeln!(text, "unknown: {why}");
    }
    section("etcd members", &text)
}

#[cfg(test)]
mod tests {
    use ::checks::kind;

    use super::*;

    #[test]
    fn what_is_in_the_way_comes_first_with_what_ends_it() {
        let gone = Check::warning(
            kind::NODE_OBJECT.of("a"),
            "the API has no Node a",
            "`kubestrap up` brings it back",
        );
        let status = Status {
            version: 1,
            time: Timestamp::UNIX_EPOCH,
            api: ApiStatus { answers: true, version: Some("v1.37.2".to_owned()), why: None },
            nodes: Vec::new(),
            leaders: vec![Leader {
                component: "kube-scheduler".to_owned(),
                holder: None,
                renewed: None,
                expired: true,
            }],
            etcd: EtcdStatus::default(),
            in_the_way: vec![gone],
        };
        assert_eq!(
            text(&status),
            "The API answers: v1.37.2\n\nIn the way\nthe API has no Node a\n    `kubestrap up` brings it back\n\nLeaders\n\
             COMPONENT       LEADER  RENEWED\nkube-scheduler  nobody  -\n"
        );
        let well = Status { in_the_way: Vec::new(), ..status };
        assert!(!text(&well).contains("In the way"));
    }
}
