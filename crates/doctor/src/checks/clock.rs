//! The clock: certificates and generations are judged by it. A clock that fell back (an empty
//! battery) makes every certificate "not valid yet".

use ::checks::{Check, Kind, kind};
use jiff::{SignedDuration, Timestamp};

/// The moment before which no clock can be right: 2026-01-01, before this program was.
const EARLIEST: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How far clocks of one host's past and present may differ: certificates begin five minutes early
/// for the same reason.
const SLACK: SignedDuration = SignedDuration::from_mins(5);

/// `seen` are times that lie in the past for certain, each with what happened then.
pub(crate) fn clock(now: Timestamp, seen: &[(String, Timestamp)]) -> Check {
    const NAME: &Kind = &kind::CLOCK;
    let remedy = "set the clock and see that it is kept right: timedatectl; systemctl status chronyd systemd-timesyncd";
    if now < EARLIEST {
        return Check::failed(NAME, format!("it cannot be {now}"), remedy);
    }
    let ahead =
        seen.iter().max_by_key(|(_, time)| *time).filter(|(_, time)| time.duration_since(now) > SLACK);
    match ahead {
        Some((what, time)) => {
            Check::failed(NAME, format!("it is {now} here, which is before {what} at {time}"), remedy)
        }
        None => Check::ok(NAME, format!("it is {now}, later than all that was written here")),
    }
}

#[cfg(test)]
mod tests {
    use ::checks::Outcome;

    use super::*;

    #[test]
    fn a_clock_that_fell_back_is_found() {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let seen =
            |text: &str| vec![("a generation was written".to_owned(), text.parse::<Timestamp>().unwrap())];
        assert_eq!(clock(now, &[]).result, Outcome::Ok);
        assert_eq!(clock(now, &seen("2026-06-01T00:04:00Z")).result, Outcome::Ok);
        let check = clock(now, &seen("2026-06-01T00:06:00Z"));
        assert_eq!(check.result, Outcome::Failed);
        assert!(
            check.what.contains("before a generation was written at 2026-06-01T00:06:00Z"),
            "{}",
            check.what
        );
        assert_eq!(clock(Timestamp::UNIX_EPOCH, &[]).result, Outcome::Failed);
    }
}
