//! A plan as people read it.

use std::fmt;

use serde_json::Value;

use crate::diff::{Change, Field};
use crate::direction::Direction;
use crate::plan::{Plan, Step};

/// How many fields of one object are shown; JSON has all.
const SHOWN_FIELDS: usize = 8;
/// How long a value is shown, in characters.
const SHOWN_CHARS: usize = 90;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Same => writeln!(f, "The cluster has {}; its version stays.", self.from)?,
            Direction::Up => writeln!(f, "Upgrade from {} to {}.", self.from, self.to)?,
            Direction::Down => writeln!(f, "Downgrade from {} to {}.", self.from, self.to)?,
        }
        writeln!(f, "Possible from here: {}.", self.possible.join(", "))?;
        if let Some(run) = &self.unfinished {
            writeln!(
                f,
                "Goes on with the run of {} from {} to {}, which did not end.",
                run.began, run.from, run.to
            )?;
        }
        self.facts(f)?;
        for check in &self.checks {
            writeln!(f, "{check}")?;
        }
        let refused = self.checks.iter().filter(|check| check.is_failure()).count();
        if self.steps.is_empty() && refused > 0 {
            return f.write_str("No step: what failed above is not mended by an upgrade.");
        }
        if self.steps.is_empty() {
            return f.write_str("Nothing to do: everything is as it shall be.");
        }
        f.write_str("Steps:")?;
        for (number, step) in self.steps.iter().enumerate() {
            write!(f, "\n{:3}. {step}", number + 1)?;
        }
        Ok(())
    }
}

impl Plan {
    fn facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let kubelet = node.kubelet.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
            let ready = if node.ready { "Ready" } else { "not Ready" };
            let ready = if node.schedulable { ready.to_owned() } else { format!("{ready}, unschedulable") };
            let role = if node.control_plane { "control plane, " } else { "" };
            writeln!(f, "  node {}: {role}{ready}, kubelet {kubelet}", node.name)?;
        }
        let image = self.etcd.image.as_deref().unwrap_or(&self.etcd.endpoint);
        let health = self.etcd.problem.as_deref().unwrap_or("healthy");
        writeln!(f, "  etcd {image}: {health}; it stays as it is")?;
        if let Some(first) = self.certificates.iter().min_by_key(|c| c.not_after) {
            let renewed = self.certificates.iter().filter(|c| c.renewed).count();
            let renewed = if renewed > 0 { format!(", {renewed} are renewed") } else { String::new() };
            writeln!(
                f,
                "  {} certificates, the first ends at {} ({}){renewed}",
                self.certificates.len(),
                first.not_after,
                first.path
            )?;
        }
        Ok(())
    }
}

impl Step {
    /// What it does, in one line.
    pub fn title(&self) -> String {
        match self {
            Self::Snapshot { endpoint } => format!("take a snapshot of etcd at {endpoint}"),
            Self::Images { images } => format!("import {} images", images.len()),
            Self::Part { part, changes, .. } if changes.is_empty() => {
                format!("wait until {} is settled", part.name())
            }
            Self::Part { part, to: Some(to), .. } => format!("change {} to {to}", part.name()),
            Self::Part { part, .. } => format!("change {}", part.name()),
            Self::Kubelet { node, from, to, .. } => match from {
                Some(from) if from != to => format!("change the kubelet of {node} from {from} to {to}"),
                _ => format!("change programs and files of {node}"),
            },
            Self::Drain { node, pods } => format!("keep new pods off {node} and evict {}", pods.len()),
            Self::Uncordon { node } => format!("let pods onto {node} again"),
            Self::Keys { files } => format!("write {} files of the control plane on this node", files.len()),
            Self::Assets { files } => format!("write {} files of the asset directory", files.len()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())?;
        match self {
            Self::Snapshot { .. } | Self::Uncordon { .. } | Self::Assets { .. } => Ok(()),
            Self::Drain { pods, .. } => pods.iter().try_for_each(|pod| write!(f, "\n       {pod}")),
            Self::Images { images: lines } | Self::Keys { files: lines } => {
                lines.iter().try_for_each(|line| write!(f, "\n       {line}"))
            }
            Self::Part { changes, unsettled, .. } => {
                changes.iter().try_for_each(|change| write!(f, "\n       {change}"))?;
                match unsettled {
                    Some(why) if changes.is_empty() => write!(f, "\n       {why}"),
                    _ => Ok(()),
                }
            }
            Self::Kubelet { actions, .. } => actions.iter().try_for_each(|line| write!(f, "\n       {line}")),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.new {
            return write!(f, "{}: new", self.object);
        }
        write!(f, "{}", self.object)?;
        for field in self.fields.iter().take(SHOWN_FIELDS) {
            write!(f, "\n         {field}")?;
        }
        match self.fields.len().saturating_sub(SHOWN_FIELDS) {
            0 => Ok(()),
            more => write!(f, "\n         and {more} more fields"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (None, None) => write!(f, "{} (not shown)", self.path),
            (Some(from), None) => write!(f, "{}: - {}", self.path, shown(from)),
            (None, Some(to)) => write!(f, "{}: + {}", self.path, shown(to)),
            (Some(from), Some(to)) => write!(f, "{}: {} -> {}", self.path, shown(from), shown(to)),
        }
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > SHOWN_CHARS || text.lines().count() > 1 {
        let cut: String = line.chars().take(SHOWN_CHARS).collect();
        return format!("{cut}…");
    }
    line.to_owned()
}
