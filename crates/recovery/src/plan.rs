//! What is done, in its order.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::look::{DATA, Found};

/// Where a snapshot is unpacked: beside the data, since only there it can be put in its place at once.
const UNPACKED: &str = "restored";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// Makes the snapshot a member's data.
    Unpack {
        /// The snapshot.
        snapshot: PathBuf,
        /// Where it goes.
        dir: PathBuf,
    },
    /// Stops the kubelet, and ends etcd and the API servers of this node.
    End,
    /// Puts it in the place of what is there.
    Exchange {
        /// What was unpacked.
        from: PathBuf,
        /// Where etcd looks.
        to: PathBuf,
        /// Where goes what is there.
        kept: Option<PathBuf>,
    },
    /// Starts the kubelet, which starts etcd.
    Start,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpack { snapshot, dir } => {
                write!(f, "unpack {} to {}", snapshot.display(), dir.display())
            }
            Self::End => f.write_str("stop the kubelet, end etcd and the API servers of this node"),
            Self::Exchange { from, to, kept: None } => {
                write!(f, "put {} to {}", from.display(), to.display())
            }
            Self::Exchange { from, to, kept: Some(kept) } => write!(
                f,
                "put {} in the place of {}, which is kept as {}",
                from.display(),
                to.display(),
                kept.display()
            ),
            Self::Start => f.write_str("start the kubelet, and with it etcd"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// What is done about what was found; what is kept is called after `now`.
pub fn plan(found: &Found, now: Timestamp) -> Plan {
    let (dir, to) = (found.member.dir.join(UNPACKED), found.member.dir.join(DATA));
    let kept = found.is_taken.then(|| aside(&found.member.dir, now));
    Plan {
        steps: vec![
            Step::Unpack { snapshot: found.snapshot.clone(), dir: dir.clone() },
            Step::End,
            Step::Exchange { from: dir.join(DATA), to, kept },
            Step::Start,
        ],
    }
}

fn aside(dir: &Path, now: Timestamp) -> PathBuf {
    dir.join(format!("{DATA}.before-{}", now.strftime("%Y%m%dT%H%M%SZ")))
}
