//! Words for whoever runs a task.

use std::io::Write;

/// Says something on stderr.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
