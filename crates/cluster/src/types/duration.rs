use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ParseError, text_type};

const MINUTES_AN_HOUR: u64 = 60;
const MINUTES_A_DAY: u64 = 24 * MINUTES_AN_HOUR;
/// What is renewed has a third of its life for that, and is looked at each minute.
const MIN_MINUTES: u64 = 10;
/// A century: X.509 ends in 9999, and nobody means more.
const MAX_MINUTES: u64 = 100 * 365 * MINUTES_A_DAY;

/// How long a certificate is valid: whole days (`365d`), hours (`8760h`) or minutes (`30m`), at least ten minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validity {
    minutes: u64,
}

impl Validity {
    /// A validity of that many days of 24 hours.
    pub fn from_days(days: u32) -> Self {
        Self { minutes: u64::from(days) * MINUTES_A_DAY }
    }

    /// The same as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(self.minutes * 60)
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.minutes;
        if minutes.is_multiple_of(MINUTES_A_DAY) {
            write!(f, "{}d", minutes / MINUTES_A_DAY)
        } else if minutes.is_multiple_of(MINUTES_AN_HOUR) {
            write!(f, "{}h", minutes / MINUTES_AN_HOUR)
        } else {
            write!(f, "{minutes}m")
        }
    }
}

impl FromStr for Validity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let units = [("d", MINUTES_A_DAY), ("h", MINUTES_AN_HOUR), ("m", 1)];
        let minutes = units.iter().find_map(|(unit, minutes)| {
            let count = text.strip_suffix(unit)?.parse::<u32>().ok()?;
            Some(u64::from(count) * minutes)
        });
        let fits = |minutes: &u64| (MIN_MINUTES..=MAX_MINUTES).contains(minutes);
        minutes.filter(fits).map(|minutes| Self { minutes }).ok_or_else(|| {
            ParseError::new("expected a duration of ten minutes or more, such as 365d, 8760h or 30m", text)
        })
    }
}

text_type!(Validity, "^[0-9]+[dhm]$", "365d");
