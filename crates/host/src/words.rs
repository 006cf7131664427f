//! Figures as people read them.

use std::time::Duration;

use jiff::Timestamp;

/// A moment as it stands in the name of a file: `20261201T031500Z`, in UTC, so that names sort by their age.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A length of time in its largest unit: `12 d`, `5 h`, `40 min`, `7 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        172_800.. => format!("{} d", seconds / 86_400),
        7200.. => format!("{} h", seconds / 3600),
        120.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
