//! The scored checks of the CIS Kubernetes Benchmark on a running cluster, and the page that says how they end.

mod table;

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use e2e::node::Node;
use e2e::{runner, shared};
use serde_json::Value;

use self::table::{CHECKS, Check, Probe, Want};

/// What was true the last time that somebody looked.
const PAGE: &str = include_str!("../../../docs/cis.md");
const HEAD: &str = "\
# CIS Kubernetes Benchmark 1.12

How its scored checks end on a cluster that was made with no config at all. The case `cis` (`cargo xtask test --full cis`) asks each of them of a running
cluster and compares this page with the answers; what it finds is in its folder as `cis.md`. What fails is meant to, for the reason beside it.

| check | what | here |
| --- | --- | --- |
";

pub(crate) fn cis_benchmark() -> Result<()> {
    shared::cluster(|node| {
        let (mut page, mut wrong) = (HEAD.to_owned(), Vec::new());
        for check in CHECKS {
            let failed = failed(node, check)?;
            let here = match (check.design, &failed) {
                (None, None) => "passes".to_owned(),
                (Some(why), Some(_)) => format!("fails by design: {why}"),
                (None, Some(why)) => format!("fails: {why}"),
                (Some(_), None) => "passes, and was said to fail".to_owned(),
            };
            if check.design.is_some() != failed.is_some() {
                wrong.push(format!("{} {}: {here}", check.id, check.what));
            }
            writeln!(page, "| {} | {} | {here} |", check.id, check.what)?;
        }
        runner::keep("cis.md", page.as_bytes())?;
        ensure!(wrong.is_empty(), "{} of {} checks:\n{}", wrong.len(), CHECKS.len(), wrong.join("\n"));
        ensure!(page == PAGE, "docs/cis.md says something else than cis.md in this case's folder");
        Ok(())
    })
}

/// What speaks against a check, if anything does.
fn failed(node: &Node, check: &Check) -> Result<Option<String>> {
    for probe in check.probes {
        if let Some(why) = probed(node, *probe).with_context(|| check.id)? {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn probed(node: &Node, probe: Probe) -> Result<Option<String>> {
    match probe {
        Probe::Mode(files, most) => Ok(first(stat(node, files)?, |file| file.mode & !most != 0)),
        Probe::Root(files) => Ok(first(stat(node, files)?, |file| file.owner != "0:0")),
        Probe::NoManifest(component) => {
            let there = stat(node, "/etc/kubernetes/manifests/*.yaml")?;
            let open = |file: &File| {
                file.path.ends_with(&format!("/{component}.yaml"))
                    || file.mode & !0o600 != 0
                    || file.owner != "0:0"
            };
            Ok(first(there, open))
        }
        Probe::Flag(process, flag, want) => {
            let arguments = node.arguments(process)?;
            let value = |arg: &String| {
                Some(arg.strip_prefix("--")?.strip_prefix(flag)?.strip_prefix('=')?.to_owned())
            };
            let given = arguments.iter().find_map(value);
            Ok(unwanted(given.as_deref(), want).map(|why| format!("--{flag} {why}")))
        }
        Probe::Kubelet(key, want) => {
            let path = format!("/api/v1/nodes/{}/proxy/configz", node.name());
            let config: Value = serde_json::from_str(&node.get(&["get", "--raw", &path])?)?;
            let given = config["kubeletconfig"].pointer(key).map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            Ok(unwanted(given.as_deref(), want).map(|why| format!("{key} {why}")))
        }
        Probe::Loopback(port) => {
            let listeners = node.shell(&format!("ss -Hltn 'sport = :{port}'"))?;
            ensure!(!listeners.trim().is_empty(), "nobody listens on {port}");
            let at = |line: &str| line.split_whitespace().nth(3).unwrap_or_default().to_owned();
            let local = |at: &String| at.starts_with("127.") || at.starts_with("[::1]");
            Ok(listeners.lines().map(at).find(|at| !local(at)))
        }
    }
}

/// What is wrong with a value.
fn unwanted(given: Option<&str>, want: Want) -> Option<String> {
    let list = |given: &str, item: &str| given.split(',').any(|given| given == item);
    let good = match (want, given) {
        (Want::Absent | Want::Unless(_) | Want::Lacks(_), None) | (Want::Given, Some(_)) => true,
        (Want::Is(value) | Want::Unless(value), Some(given)) => given == value,
        (Want::Has(item), Some(given)) => list(given, item),
        (Want::Lacks(item), Some(given)) => !list(given, item),
        (Want::Least(least), Some(given)) => given.parse::<u64>().is_ok_and(|given| given >= least),
        _ => false,
    };
    (!good).then(|| given.map_or_else(|| "is not set".to_owned(), |given| format!("is {given}")))
}

struct File {
    path: String,
    mode: u32,
    owner: String,
}

fn stat(node: &Node, files: &str) -> Result<Vec<File>> {
    let lines = node.shell(&format!("stat -c '%a %u:%g %n' {files}"))?;
    let file = |line: &str| {
        let [mode, owner, path] = line.split(' ').collect::<Vec<_>>()[..] else { bail!("{line}") };
        let mode = u32::from_str_radix(mode, 8)?;
        Ok(File { path: path.to_owned(), mode, owner: owner.to_owned() })
    };
    lines.lines().map(file).collect()
}

fn first(files: Vec<File>, bad: impl Fn(&File) -> bool) -> Option<String> {
    let file = files.into_iter().find(bad)?;
    Some(format!("{} has mode {:o} and is of {}", file.path, file.mode, file.owner))
}
