use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ParseError, text_type};

const HOURS_A_DAY: u64 = 24;
/// A century: X.509 ends in 9999, and nobody means more.
const MAX_HOURS: u64 = 100 * 365 * HOURS_A_DAY;

/// How long a certificate is valid: whole days (`365d`) or hours (`8760h`), at least one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validity {
    hours: u64,
}

impl Validity {
    /// A validity of that many days of 24 hours.
    pub fn from_days(days: u32) -> Self {
        Self { hours: u64::from(days) * HOURS_A_DAY }
    }

    /// The same as a duration.
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(self.hours * 60 * 60)
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hours.is_multiple_of(HOURS_A_DAY) {
            write!(f, "{}d", self.hours / HOURS_A_DAY)
        } else {
            write!(f, "{}h", self.hours)
        }
    }
}

impl FromStr for Validity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let hours = match (text.strip_suffix('d'), text.strip_suffix('h')) {
            (Some(days), _) => days.parse::<u32>().ok().map(|days| u64::from(days) * HOURS_A_DAY),
            (None, Some(hours)) => hours.parse::<u32>().ok().map(u64::from),
            (None, None) => None,
        };
        hours.filter(|hours| (1..=MAX_HOURS).contains(hours)).map(|hours| Self { hours }).ok_or_else(|| {
            ParseError::new("expected a duration in days or hours such as 365d or 8760h", text)
        })
    }
}

text_type!(Validity, "^[0-9]+[dh]$", "365d");
