//! Unit files as systemd has them, as far as a node's services need: see systemd.unit(5),
//! systemd.service(5), systemd.exec(5), systemd.kill(5). What is not known is ignored and named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::words;

/// Where units are read from. One place: what a node runs is what was installed in it.
pub(crate) const UNIT_DIR: &str = "/etc/systemd/system";

/// Why a unit cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnitError {
    /// There is no such file.
    #[error("Unit {0} could not be found.")]
    NotFound(String),
    /// It, or a file that it names, cannot be read.
    #[error("unit {unit} cannot be read")]
    Read {
        /// The unit.
        unit: String,
        /// The file operation.
        source: host::fs::FsError,
    },
    /// A setting that has no meaning.
    #[error("unit {unit}: bad {key}: `{value}`")]
    Bad {
        /// The unit.
        unit: String,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
    /// Nothing to run.
    #[error("unit {0} has no ExecStart")]
    NoExecStart(String),
}

/// When a service is started again after it ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    No,
    OnFailure,
    Always,
}

/// Which processes are killed when a service stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillMode {
    ControlGroup,
    Mixed,
    Process,
}

/// A command line of a unit, not expanded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecLine {
    pub(crate) words: Vec<String>,
    /// Its failure does not matter (`-` in front).
    pub(crate) optional: bool,
}

/// A service.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) after: Vec<String>,
    pub(crate) pre: Vec<ExecLine>,
    pub(crate) main: ExecLine,
    pub(crate) environment: Vec<(String, String)>,
    /// Path, and whether it may be missing.
    pub(crate) environment_files: Vec<(PathBuf, bool)>,
    pub(crate) directory: PathBuf,
    pub(crate) restart: Restart,
    pub(crate) restart_after: Duration,
    pub(crate) stop_limit: Duration,
    pub(crate) kill_mode: KillMode,
    /// Resource name as in the unit file (`NOFILE`), and its value; the greatest number is infinity.
    pub(crate) limits: Vec<(String, u64)>,
    pub(crate) wanted_by: Vec<String>,
}

/// The full name of a unit: `kubelet` is `kubelet.service`.
pub(crate) fn full_name(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{name}.service") }
}

/// Reads a unit with its drop-ins (`<unit>.d/*.conf`) from `dir`.
pub(crate) fn load(dir: &Path, name: &str) -> Result<Unit, UnitError> {
    let path = dir.join(name);
    if name.contains('/') || !path.is_file() {
        return Err(UnitError::NotFound(name.to_owned()));
    }
    let read = |source| UnitError::Read { unit: name.to_owned(), source };
    let mut texts = vec![host::fs::read_to_string(&path).map_err(read)?];
    for drop_in in host::fs::list(&dir.join(format!("{name}.d"))).map_err(read)? {
        if drop_in.extension().is_some_and(|e| e == "conf") {
            texts.push(host::fs::read_to_string(&drop_in).map_err(read)?);
        }
    }
    parse(name, &texts)
}

/// Puts a unit together from its file and drop-ins: later settings win, lists grow, an empty
/// setting empties its list.
pub(crate) fn parse(name: &str, texts: &[String]) -> Result<Unit, UnitError> {
    let mut draft = Draft::new(name);
    for text in texts {
        for (section, key, value) in settings(text) {
            let bad = || UnitError::Bad { unit: name.to_owned(), key: key.clone(), value: value.clone() };
            draft.set(&section, &key, &value).ok_or_else(bad)?;
        }
    }
    let Some(main) = draft.start.pop() else { return Err(UnitError::NoExecStart(name.to_owned())) };
    Ok(Unit { main, ..draft.unit })
}

struct Draft {
    unit: Unit,
    start: Vec<ExecLine>,
}

impl Draft {
    fn new(name: &str) -> Self {
        let unit = Unit {
            name: name.to_owned(),
            description: name.to_owned(),
            after: Vec::new(),
            pre: Vec::new(),
            main: ExecLine { words: Vec::new(), optional: false },
            environment: Vec::new(),
            environment_files: Vec::new(),
            directory: PathBuf::from("/"),
            restart: Restart::No,
            // systemd's defaults: systemd-system.conf(5), DefaultRestartSec, DefaultTimeoutStopSec.
            restart_after: Duration::from_millis(100),
            stop_limit: Duration::from_secs(90),
            kill_mode: KillMode::ControlGroup,
            limits: Vec::new(),
            wanted_by: Vec::new(),
        };
        Self { unit, start: Vec::new() }
    }

    /// `None` when the value has no meaning.
    fn set(&mut self, section: &str, key: &str, value: &str) -> Option<()> {
        let unit = &mut self.unit;
        match (section, key) {
            ("Unit", "Description") => value.clone_into(&mut unit.description),
            ("Unit", "After") => extend(&mut unit.after, value, |v| Some(words_of(v)))?,
            ("Install", "WantedBy") => extend(&mut unit.wanted_by, value, |v| Some(words_of(v)))?,
            ("Service", "ExecStartPre") => extend(&mut unit.pre, value, |v| Some(vec![exec_line(v)?]))?,
            ("Service", "ExecStart") => extend(&mut self.start, value, |v| Some(vec![exec_line(v)?]))?,
            ("Service", "Environment") => extend(&mut unit.environment, value, assignments)?,
            ("Service", "EnvironmentFile") => {
                extend(&mut unit.environment_files, value, |v| {
                    let (path, optional) = v.strip_prefix('-').map_or((v, false), |p| (p, true));
                    Some(vec![(PathBuf::from(path), optional)])
                })?;
            }
            ("Service", "WorkingDirectory") => unit.directory = PathBuf::from(value.trim_start_matches('-')),
            ("Service", "Restart") => unit.restart = restart(value)?,
            ("Service", "RestartSec") => unit.restart_after = span(value)?,
            ("Service", "TimeoutStopSec") => unit.stop_limit = span(value)?,
            ("Service", "KillMode") => unit.kill_mode = kill_mode(value)?,
            ("Service", key) if key.starts_with("Limit") => {
                unit.limits.push((key["Limit".len()..].to_owned(), limit(value)?));
            }
            _ => tracing::info!(unit = unit.name, section, key, "setting ignored"),
        }
        Some(())
    }
}

fn extend<T>(list: &mut Vec<T>, value: &str, parse: impl FnOnce(&str) -> Option<Vec<T>>) -> Option<()> {
    if value.is_empty() {
        list.clear();
    } else {
        list.extend(parse(value)?);
    }
    Some(())
}

/// All settings of a file as (section, key, value); continued lines are joined.
fn settings(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some(next) = lines.next() else { break };
            // A comment between continued lines belongs to neither.
            if next.trim_start().starts_with(['#', ';']) {
                line.push('\\');
            } else {
                line.push(' ');
                line.push_str(next.trim());
            }
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            all.push((section.clone(), key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

fn words_of(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn exec_line(value: &str) -> Option<ExecLine> {
    // `+` and `!` choose privileges; all of a node's services have all of them.
    let line = value.trim_start_matches(['-', '+', '!', ':']);
    let optional = value[..value.len() - line.len()].contains('-');
    let words = words::split(line)?;
    let program = words.first()?;
    (!program.starts_with('@')).then_some(ExecLine { words, optional })
}

fn assignments(value: &str) -> Option<Vec<(String, String)>> {
    words::split(value)?
        .iter()
        .map(|w| w.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
        .collect()
}

/// The variables of an environment file.
pub(crate) fn environment_file(text: &str) -> Vec<(String, String)> {
    let variable = |line: &str| {
        let (key, value) = line.trim().split_once('=')?;
        let value = words::split(value).map_or_else(|| value.to_owned(), |w| w.join(" "));
        (!key.starts_with(['#', ';'])).then(|| (key.trim().to_owned(), value))
    };
    text.lines().filter_map(variable).collect()
}

fn restart(value: &str) -> Option<Restart> {
    Some(match value {
        "no" => Restart::No,
        "always" => Restart::Always,
        "on-failure" | "on-abnormal" | "on-abort" | "on-watchdog" => Restart::OnFailure,
        _ => return None,
    })
}

fn kill_mode(value: &str) -> Option<KillMode> {
    Some(match value {
        "control-group" => KillMode::ControlGroup,
        "mixed" => KillMode::Mixed,
        "process" => KillMode::Process,
        _ => return None,
    })
}

/// A time span: `5`, `5s`, `1min 30s`, `100ms`; `infinity` is a year, which no node reaches.
fn span(value: &str) -> Option<Duration> {
    if value == "infinity" {
        return Some(Duration::from_hours(365 * 24));
    }
    let mut total = Duration::ZERO;
    for word in value.split_ascii_whitespace() {
        let split = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let (number, unit) = word.split_at(split);
        let seconds = match unit {
            "" | "s" | "sec" => 1.0,
            "ms" => 0.001,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    }
    Some(total)
}

/// A resource limit: `infinity`, `1024`, `512:1024` (soft and hard; the hard one counts).
fn limit(value: &str) -> Option<u64> {
    let hard = value.rsplit(':').next()?;
    if hard == "infinity" { Some(u64::MAX) } else { hard.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD: &str = r#"
[Unit]
Description=containerd
After=network.target local-fs.target

[Service]
# a comment
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd \
  --log-level warn
Environment="A=1" 'B=two words'
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitNOFILE=1024:524288

[Install]
WantedBy=multi-user.target
"#;

    #[test]
    fn a_service_as_upstream_writes_it() {
        let unit = parse("containerd.service", &[CONTAINERD.to_owned()]).unwrap();
        assert_eq!(unit.main.words, ["/usr/local/bin/containerd", "--log-level", "warn"]);
        assert_eq!(
            unit.pre,
            [ExecLine { words: vec!["/sbin/modprobe".into(), "overlay".into()], optional: true }]
        );
        assert_eq!(unit.environment, [("A".into(), "1".into()), ("B".into(), "two words".into())]);
        assert_eq!((unit.kill_mode, unit.restart), (KillMode::Process, Restart::Always));
        assert_eq!(unit.restart_after, Duration::from_secs(5));
        assert_eq!(unit.limits, [("NPROC".into(), u64::MAX), ("NOFILE".into(), 524_288)]);
        assert_eq!(unit.after, ["network.target", "local-fs.target"]);
        assert_eq!(unit.wanted_by, ["multi-user.target"]);
    }

    #[test]
    fn a_drop_in_replaces_the_command() {
        let drop_in = "[Service]\nExecStart=\nExecStart=/bin/other $ARGS\n".to_owned();
        let unit = parse("c.service", &[CONTAINERD.to_owned(), drop_in]).unwrap();
        assert_eq!(unit.main.words, ["/bin/other", "$ARGS"]);
    }

    #[test]
    fn what_has_no_meaning_is_named() {
        let bad = |line: &str| {
            parse("a.service", &[format!("[Service]\nExecStart=/bin/true\n{line}\n")])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(bad("Restart=maybe"), "unit a.service: bad Restart: `maybe`");
        assert_eq!(bad("RestartSec=5 fortnights"), "unit a.service: bad RestartSec: `5 fortnights`");
        assert!(matches!(parse("a.service", &[]), Err(UnitError::NoExecStart(_))));
    }

    #[test]
    fn time_spans() {
        assert_eq!(span("1min 30s"), Some(Duration::from_secs(90)));
        assert_eq!(span("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(span("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(span("x"), None);
    }

    #[test]
    fn an_environment_file_has_quotes_and_comments() {
        let all = environment_file("# no\nA=1\nB=\"two words\"\n\nC=--x=y\n");
        assert_eq!(
            all,
            [("A".into(), "1".into()), ("B".into(), "two words".into()), ("C".into(), "--x=y".into())]
        );
    }
}
