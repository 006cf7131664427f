//! Points at which a test has the process killed, as a power cut or an `oom-kill` would at the worst moment.
//!
//! Off unless [`arm`]ed, which the program does once, at its edge, from `KUBESTRAP_FAULT`.

use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};

/// The environment variable that names a point.
pub const VARIABLE: &str = "KUBESTRAP_FAULT";

/// Every point, in the order in which a generation's life passes them.
pub const POINTS: [&str; 12] = [
    "checkpoint.write.files",
    "checkpoint.write.manifest",
    "checkpoint.write.rename",
    "checkpoint.write.synced",
    "checkpoint.promote",
    "checkpoint.promoted",
    "checkpoint.prune",
    "checkpoint.pruned",
    "place.write",
    "place.written",
    "remove",
    "removed",
];

static ARMED: OnceLock<&'static str> = OnceLock::new();

/// There is no such point.
#[derive(Debug, thiserror::Error)]
#[error("there is no fault point {0}; there are {list}", list = POINTS.join(", "))]
pub struct UnknownPoint(String);

/// Chooses the point at which this process will end; `None` arms nothing. The first call counts.
///
/// # Errors
/// When there is no such point: a test that waits for it would wait in vain.
pub fn arm(point: Option<String>) -> Result<(), UnknownPoint> {
    let Some(name) = point else { return Ok(()) };
    let Some(point) = POINTS.iter().find(|known| **known == name) else { return Err(UnknownPoint(name)) };
    ARMED.get_or_init(|| point);
    Ok(())
}

/// Ends the process with SIGKILL when this point is the one that was chosen.
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if ARMED.get() == Some(&name) {
        // It cannot fail: the process exists, and may signal itself.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_point_is_refused_with_a_list() {
        let error = arm(Some("nowhere".into())).unwrap_err().to_string();
        assert!(error.contains("nowhere; there are checkpoint.write.files, "), "{error}");
        arm(None).unwrap();
        point("remove");
    }
}
