//! Everything that messages, comments for operators and the documentation tell people to type exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Command;

use crate::cli;

/// Programs of others whose flags stand in hints, too.
const OTHERS: [&str; 9] =
    ["kubectl", "systemctl", "journalctl", "mount", "iconv", "apt", "ctr", "openssl", "curl"];

/// What follows the project's name in sentences about it.
const PROSE: [&str; 3] = ["has", "did", "does"];

fn files(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for path in host::fs::list(dir).unwrap() {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
}

/// The sources of what users run and read, each with its text.
fn texts(ending: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    if ending == "md" {
        found.push(root.join("README.md"));
        files(&root.join("docs"), ending, &mut found);
    } else {
        files(&root.join("crates"), ending, &mut found);
        found.retain(|path| path.components().any(|part| part.as_os_str() == "src"));
        found.retain(|path| !path.ends_with("kubestrap/src/named.rs"));
    }
    found.into_iter().map(|path| (path.clone(), host::fs::read_to_string(&path).unwrap())).collect()
}

/// What stands between backticks, and whole lines of examples.
fn typed(text: &str) -> Vec<String> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let mut in_example = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_example = !in_example;
        } else if in_example {
            lines.push(line.split(" #").next().unwrap_or_default());
        }
    }
    // In messages the command often follows a colon: "check it with: kubestrap bundle verify".
    let is_prose = |rest: &&str| PROSE.iter().any(|word| rest.split(' ').next() == Some(word));
    let told = text
        .lines()
        .filter_map(|line| line.split(": kubestrap ").nth(1))
        .filter(|rest| !is_prose(rest))
        .map(|rest| format!("kubestrap {rest}"));
    let mut all: Vec<String> = spans.chain(lines).map(str::to_owned).collect();
    all.extend(told.map(|line| line.split(['"', '\\', ';', ',', '(']).next().unwrap_or_default().to_owned()));
    all
}

/// What of a command line does not exist; none when all does.
fn wrong(root: &Command, line: &str) -> Option<String> {
    let line = line.trim_start().trim_start_matches("$ ").trim_start_matches("sudo ");
    let rest = line.strip_prefix("kubestrap ")?;
    let mut command = root;
    let mut verb = true;
    for word in rest.split_ascii_whitespace() {
        let word = word.trim_matches(['[', ']', ',', ';', '.', ':', ')', '(', '…']);
        if word.is_empty() || word == "--" || matches!(word, "|" | "&&" | ">" | "<" | "\\") {
            break;
        }
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split(['=', '|', '[']).next().unwrap_or_default();
            let known = |c: &Command| c.get_arguments().any(|arg| arg.get_long() == Some(flag));
            if !known(command) && !known(root) && !matches!(flag, "help" | "version") {
                return Some(format!("{} has no flag --{flag}", command.get_name()));
            }
            verb = false;
        } else if verb && command.has_subcommands() {
            let names: Vec<&str> = word.split('|').collect();
            if !names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')) {
                break;
            }
            if let Some(missing) = names.iter().find(|name| command.find_subcommand(name).is_none()) {
                return Some(format!("{} has no verb {missing}", command.get_name()));
            }
            command = command.find_subcommand(names[0]).unwrap();
        } else {
            verb = false;
        }
    }
    None
}

#[test]
fn every_command_line_that_is_told_exists() {
    let root = cli::command();
    let mut problems = Vec::new();
    let mut seen = 0;
    for (path, text) in texts("rs").into_iter().chain(texts("md")) {
        for line in typed(&text) {
            seen += usize::from(line.trim_start().starts_with("kubestrap "));
            problems.extend(wrong(&root, &line).map(|why| format!("{}: `{line}`: {why}", path.display())));
        }
    }
    assert_eq!(problems, Vec::<String>::new(), "{}", problems.join("\n"));
    assert!(seen > 100, "only {seen} were found to look at");
}

#[test]
fn every_flag_in_a_hint_exists() {
    fn flags(command: &Command, found: &mut BTreeSet<String>) {
        found.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|verb| flags(verb, found));
    }
    let mut known = BTreeSet::new();
    flags(&cli::command(), &mut known);
    for (path, text) in
        texts("rs").into_iter().filter(|(path, _)| path.components().any(|c| c.as_os_str() == "kubestrap"))
    {
        let hints = text
            .lines()
            .filter(|line| line.contains("hint(") && !OTHERS.iter().any(|other| line.contains(other)));
        for word in hints.flat_map(|line| line.split(|c: char| !(c.is_ascii_lowercase() || c == '-'))) {
            let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) else { continue };
            assert!(known.contains(flag), "{}: there is no --{flag}", path.display());
        }
    }
}

#[test]
fn no_remedy_names_a_program_that_nobody_installs() {
    for (path, text) in texts("rs").into_iter().chain(texts("md")) {
        assert!(!text.contains("crictl"), "{}: crictl is in no bundle", path.display());
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let root = cli::command();
    assert_eq!(
        wrong(&root, "kubestrap bundle verify --bundle x"),
        Some("verify has no flag --bundle".to_owned())
    );
    assert_eq!(wrong(&root, "kubestrap unpivot"), Some("kubestrap has no verb unpivot".to_owned()));
    assert_eq!(wrong(&root, "kubestrap token create|burn"), Some("token has no verb burn".to_owned()));
    assert_eq!(wrong(&root, "kubestrap up --bundle DIR -o json"), None);
    assert_eq!(wrong(&root, "kubestrap sandbox exec a -- ls --all"), None);
    assert_eq!(wrong(&root, "kubectl get --no-such"), None);
}
