//! `systemctl` for nodes: as much of it as installing and running services needs, with systemd's
//! words and exit codes (systemctl(1)), so that kubeadm and crate `node` find nothing new.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::init::{Answer, Request, UNIT_DIR, ask, full_name, load, log_path};

/// What it prints, and its exit status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// For stdout.
    pub out: String,
    /// For stderr.
    pub err: String,
    /// The exit status.
    pub code: u8,
}

/// Exit statuses of systemctl(1), as LSB has them.
const NOT_RUNNING: u8 = 3;
const NO_SUCH_UNIT: u8 = 4;

/// The last lines of a service's log that `status` shows.
const STATUS_LINES: usize = 10;

impl Reply {
    fn note(&mut self, message: impl AsRef<str>) {
        self.err.push_str(message.as_ref());
        self.err.push('\n');
    }

    fn fail(&mut self, message: impl AsRef<str>, code: u8) {
        self.note(message);
        self.code = self.code.max(code);
    }

    fn say(&mut self, line: impl AsRef<str>) {
        self.out.push_str(line.as_ref());
        self.out.push('\n');
    }
}

/// What the command line says.
#[derive(Debug, Default)]
struct Line {
    verb: String,
    units: Vec<String>,
    now: bool,
    quiet: bool,
    value: bool,
    properties: Vec<String>,
}

fn parse(args: &[String]) -> Line {
    let mut line = Line::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--now" => line.now = true,
            "-q" | "--quiet" => line.quiet = true,
            "--value" => line.value = true,
            "-p" => line.properties.extend(args.next().cloned()),
            other if other.starts_with("--property=") => {
                line.properties.extend(other["--property=".len()..].split(',').map(str::to_owned));
            }
            other if other.starts_with('-') => {}
            other if line.verb.is_empty() => other.clone_into(&mut line.verb),
            other => line.units.push(full_name(other)),
        }
    }
    line
}

/// Does what `systemctl <args>` asks for, inside of a node.
pub fn run(args: &[String]) -> Reply {
    let line = parse(args);
    let mut reply = Reply::default();
    if line.verb == "daemon-reload" {
        order(&Request::Reload, &mut reply);
        return reply;
    }
    if line.units.is_empty() {
        reply.fail(format!("systemctl of a sandbox node: `{}` needs a unit, or is not known", line.verb), 1);
    }
    for unit in &line.units {
        one(&line, unit, &mut reply);
    }
    if line.quiet {
        reply.out.clear();
    }
    reply
}

fn one(line: &Line, unit: &str, reply: &mut Reply) {
    match line.verb.as_str() {
        "start" => order(&Request::Start(unit.into()), reply),
        "stop" => order(&Request::Stop(unit.into()), reply),
        "restart" | "try-restart" | "reload-or-restart" => order(&Request::Restart(unit.into()), reply),
        "enable" => {
            enable(unit, reply);
            if line.now && reply.code == 0 {
                order(&Request::Start(unit.into()), reply);
            }
        }
        "disable" => {
            disable(unit, reply);
            if line.now {
                order(&Request::Stop(unit.into()), reply);
            }
        }
        "is-enabled" => is_enabled(unit, reply),
        "is-active" => is_active(unit, reply),
        "is-failed" => {
            let answer = show(unit, reply);
            reply.say(&answer.active);
            reply.code = u8::from(answer.active != "failed");
        }
        "status" => status(unit, reply),
        "show" => properties(line, unit, reply),
        "cat" => cat(unit, reply),
        other => reply.fail(format!("systemctl of a sandbox node does not know `{other}`"), 1),
    }
}

/// Lets pid 1 do it.
fn order(request: &Request, reply: &mut Reply) {
    match ask(request) {
        Ok(Answer { error: None, .. }) => {}
        Ok(Answer { error: Some(error), loaded, .. }) => {
            let missing = !loaded && !matches!(request, Request::Reload);
            reply.fail(error, if missing { NO_SUCH_UNIT + 1 } else { 1 });
        }
        Err(error) => reply.fail(format!("cannot reach pid 1: {error}"), 1),
    }
}

fn show(unit: &str, reply: &mut Reply) -> Answer {
    ask(&Request::Show(unit.into())).unwrap_or_else(|error| {
        reply.fail(format!("cannot reach pid 1: {error}"), 1);
        Answer::default()
    })
}

fn is_active(unit: &str, reply: &mut Reply) {
    let answer = show(unit, reply);
    reply.say(&answer.active);
    if answer.active != "active" {
        reply.code = reply.code.max(NOT_RUNNING);
    }
}

fn wanted(unit: &str) -> PathBuf {
    Path::new(UNIT_DIR).join("multi-user.target.wants").join(unit)
}

fn enable(unit: &str, reply: &mut Reply) {
    match load(Path::new(UNIT_DIR), unit) {
        Err(error) => return reply.fail(crate::error::chain(&error), 1),
        Ok(found) if found.wanted_by.is_empty() => {
            return reply.fail(format!("unit {unit} has no [Install] section: nothing to enable"), 1);
        }
        Ok(_) => {}
    }
    let link = wanted(unit);
    if fs::symlink_metadata(&link).is_ok() {
        return;
    }
    let target = Path::new(UNIT_DIR).join(unit);
    let made = link.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| symlink(&target, &link));
    match made {
        Ok(()) => {
            reply.note(format!("Created symlink {} → {}.", link.display(), target.display()));
        }
        Err(error) => reply.fail(format!("cannot make {}: {error}", link.display()), 1),
    }
}

fn disable(unit: &str, reply: &mut Reply) {
    let link = wanted(unit);
    match host::fs::remove_file(&link) {
        Ok(true) => reply.note(format!("Removed {}.", link.display())),
        Ok(false) => {}
        Err(error) => reply.fail(crate::error::chain(&error), 1),
    }
}

fn is_enabled(unit: &str, reply: &mut Reply) {
    if !Path::new(UNIT_DIR).join(unit).exists() {
        reply.fail(format!("Failed to get unit file state for {unit}: No such file or directory"), 1);
    } else if fs::symlink_metadata(wanted(unit)).is_ok() {
        reply.say("enabled");
    } else {
        reply.say("disabled");
        reply.code = reply.code.max(1);
    }
}

fn status(unit: &str, reply: &mut Reply) {
    let answer = show(unit, reply);
    if !answer.loaded {
        let why = answer.error.unwrap_or_else(|| format!("Unit {unit} could not be found."));
        reply.say(why);
        reply.code = reply.code.max(NO_SUCH_UNIT);
        return;
    }
    let enabled = if fs::symlink_metadata(wanted(unit)).is_ok() { "enabled" } else { "disabled" };
    reply.say(format!("● {unit} - {}", answer.description));
    reply.say(format!("     Loaded: loaded ({UNIT_DIR}/{unit}; {enabled})"));
    reply.say(format!("     Active: {} (restarted {} times)", answer.active, answer.restarts));
    if answer.main_pid > 0 {
        reply.say(format!("   Main PID: {}", answer.main_pid));
    }
    let log = log_path(unit);
    reply.say(format!("        Log: {}\n", log.display()));
    let text = fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(STATUS_LINES).collect();
    lines.iter().rev().for_each(|l| reply.say(l));
    if answer.active != "active" {
        reply.code = reply.code.max(NOT_RUNNING);
    }
}

fn properties(line: &Line, unit: &str, reply: &mut Reply) {
    let answer = show(unit, reply);
    let enabled = if fs::symlink_metadata(wanted(unit)).is_ok() { "enabled" } else { "disabled" };
    for (key, value) in [
        ("Id", unit.to_owned()),
        ("LoadState", if answer.loaded { "loaded" } else { "not-found" }.to_owned()),
        ("ActiveState", answer.active),
        ("UnitFileState", if answer.loaded { enabled.to_owned() } else { String::new() }),
        ("MainPID", answer.main_pid.to_string()),
        ("NRestarts", answer.restarts.to_string()),
        ("FragmentPath", if answer.loaded { format!("{UNIT_DIR}/{unit}") } else { String::new() }),
    ] {
        if line.properties.is_empty() || line.properties.iter().any(|p| p == key) {
            reply.say(if line.value { value } else { format!("{key}={value}") });
        }
    }
}

fn cat(unit: &str, reply: &mut Reply) {
    let path = Path::new(UNIT_DIR).join(unit);
    let mut paths = vec![path.clone()];
    paths.extend(host::fs::list(&path.with_extension("service.d")).unwrap_or_default());
    for path in paths {
        match host::fs::read_to_string(&path) {
            Ok(text) => reply.say(format!("# {}\n{text}", path.display())),
            Err(_) => reply.fail(format!("No files found for {unit}."), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_systemctl() {
        let args: Vec<String> =
            ["--now", "enable", "kubelet", "-p", "MainPID", "a.timer"].map(String::from).into();
        let line = parse(&args);
        assert_eq!((line.verb.as_str(), line.now), ("enable", true));
        assert_eq!(line.units, ["kubelet.service", "a.timer"]);
        assert_eq!(line.properties, ["MainPID"]);
    }

    #[test]
    fn an_unknown_verb_is_an_error() {
        let reply = run(&["hibernate".to_owned()]);
        assert_eq!(reply.code, 1);
        assert!(reply.err.contains("hibernate"), "{}", reply.err);
    }
}
