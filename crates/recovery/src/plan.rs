//! What is done, in its order.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::look::{DATA, Found};

/// Where a snapshot is unpacked: beside the data, since only there it can be put in its place at once.
const UNPACKED: &str = "restored";

/// What goes where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Where the snapshot is unpacked.
    pub unpacked: PathBuf,
    /// Where etcd looks.
    pub to: PathBuf,
    /// Where goes what is there now.
    pub kept: Option<PathBuf>,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Stops the kubelet, and ends etcd and the API servers of this node.
    End,
    /// Makes the snapshot a member's data.
    Unpack,
    /// Puts it in the place of what is there.
    Exchange,
    /// Starts the kubelet, which starts etcd.
    Start,
}

impl Step {
    const ALL: [Self; 4] = [Self::End, Self::Unpack, Self::Exchange, Self::Start];
}

impl Plan {
    /// A step, as people read it.
    pub fn told(&self, step: Step) -> String {
        let Self { unpacked, to, kept } = self;
        match (step, kept) {
            (Step::End, _) => "stop the kubelet, end etcd and the API servers of this node".to_owned(),
            (Step::Unpack, _) => format!("unpack the snapshot to {}", unpacked.display()),
            (Step::Exchange, None) => format!("put it to {}", to.display()),
            (Step::Exchange, Some(kept)) => {
                format!("put it in the place of {}, which is kept as {}", to.display(), kept.display())
            }
            (Step::Start, _) => "start the kubelet, and with it etcd".to_owned(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Step::ALL.map(|step| self.told(step)).join("\n"))
    }
}

/// What is done about what was found; what is kept is called after `now`.
pub fn plan(found: &Found, now: Timestamp) -> Plan {
    let dir = &found.member.dir;
    let aside = || dir.join(format!("{DATA}.before-{}", host::words::stamp(now)));
    Plan { unpacked: dir.join(UNPACKED), to: dir.join(DATA), kept: found.is_taken.then(aside) }
}
