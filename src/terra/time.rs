//! Terra's timestamps: ISO 8601, an offset "whenever possible".
//!
//! The local day is the text's own date, read before any conversion; the moment in UTC needs the offset. A text without
//! one is the wearer's local time: its moment is taken as if it were UTC, and `zoned` says that this is so.

use crate::model::Instant;
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

/// A timestamp in both readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Date and time as written.
    pub local: NaiveDateTime,
    /// The moment in UTC; with `zoned` false, the written time taken as UTC.
    pub instant: Instant,
    /// Whether the text had an offset.
    pub zoned: bool,
}

impl Moment {
    /// The local day: the date as written.
    pub fn date(&self) -> NaiveDate {
        self.local.date()
    }
}

/// Reads `YYYY-MM-DD`, optionally `T` or a space with `hh:mm[:ss[.fraction]]`, optionally `Z` or `±hh[:mm]`.
/// `None` for anything else and for years outside 1970–2199.
pub fn moment(text: &str) -> Option<Moment> {
    let bytes = text.trim().as_bytes();
    let date = date_of(bytes.get(..10)?)?;
    let Some((separator, rest)) = bytes.get(10..)?.split_first() else {
        return Some(at(date.and_time(NaiveTime::MIN), None));
    };
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let split = rest.iter().position(|b| matches!(b, b'Z' | b'z' | b'+' | b'-')).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(split);
    let offset = if zone.is_empty() { None } else { Some(offset_of(zone)?) };
    Some(at(date.and_time(time_of(clock)?), offset))
}

fn at(local: NaiveDateTime, offset: Option<i32>) -> Moment {
    let shift = TimeDelta::seconds(i64::from(offset.unwrap_or(0)));
    let utc = local.checked_sub_signed(shift).unwrap_or(local);
    Moment { local, instant: utc.and_utc(), zoned: offset.is_some() }
}

fn date_of(b: &[u8]) -> Option<NaiveDate> {
    if b.get(4) != Some(&b'-') || b.get(7) != Some(&b'-') {
        return None;
    }
    let year = digits(b.get(..4)?)?;
    if !(1970..=2199).contains(&year) {
        return None;
    }
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, digits(b.get(5..7)?)?, digits(b.get(8..10)?)?)
}

fn time_of(b: &[u8]) -> Option<NaiveTime> {
    let (hour, minute) = (digits(b.get(..2)?)?, digits(b.get(3..5)?)?);
    let second = match b.get(5) {
        None => 0,
        Some(b':') => digits(b.get(6..8)?)?,
        Some(_) => return None,
    };
    let nano = match b.get(8) {
        None => 0,
        Some(b'.' | b',') => fraction(b.get(9..)?)?,
        Some(_) => return None,
    };
    if b.get(2) != Some(&b':') {
        return None;
    }
    // A leap second is the last moment of its minute.
    NaiveTime::from_hms_nano_opt(hour, minute, second.min(59), nano).filter(|_| second <= 60)
}

/// Whole microseconds, as nanoseconds: Terra sends no more, and PostgreSQL keeps no more.
fn fraction(b: &[u8]) -> Option<u32> {
    if b.is_empty() || !b.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((0..6).fold(0, |micro, i| micro * 10 + b.get(i).map_or(0, |d| u32::from(d - b'0'))) * 1000)
}

/// Seconds east of UTC.
fn offset_of(b: &[u8]) -> Option<i32> {
    let (sign, rest) = b.split_first()?;
    let sign = match sign {
        b'Z' | b'z' => return rest.is_empty().then_some(0),
        b'+' => 1,
        _ => -1,
    };
    let hours = digits(rest.get(..2)?)?;
    let minutes = match rest.get(2..)? {
        [] => 0,
        [b':', m @ ..] | m if m.len() == 2 => digits(m)?,
        _ => return None,
    };
    (hours <= 18 && minutes < 60).then_some(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

fn digits(b: &[u8]) -> Option<u32> {
    b.iter().try_fold(0_u32, |n, d| d.is_ascii_digit().then(|| n.saturating_mul(10).saturating_add(u32::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_day_is_the_date_as_written_and_the_moment_is_in_utc() {
        let m = moment("2026-07-01T00:30:00.000000+01:00").unwrap();
        assert_eq!(
            (m.date().to_string(), m.instant.to_rfc3339(), m.zoned),
            ("2026-07-01".into(), "2026-06-30T23:30:00+00:00".into(), true)
        );
        let m = moment("2026-07-01T23:30:00-0730").unwrap();
        assert_eq!((m.date().to_string(), m.instant.to_rfc3339()), ("2026-07-01".into(), "2026-07-02T07:00:00+00:00".into()));
        let m = moment("2026-07-01 07:02").unwrap();
        assert_eq!((m.instant.to_rfc3339(), m.zoned), ("2026-07-01T07:02:00+00:00".into(), false));
        assert_eq!(moment("2026-07-01").unwrap().instant.to_rfc3339(), "2026-07-01T00:00:00+00:00");
        assert_eq!(moment("2026-07-01T07:02:03.25Z").unwrap().instant.timestamp_subsec_millis(), 250);
        assert_eq!(moment("2026-07-01T07:02:03+05").unwrap().instant.to_rfc3339(), "2026-07-01T02:02:03+00:00");
    }

    #[test]
    fn what_is_not_a_timestamp_is_refused() {
        for text in [
            "",
            "today",
            "2026-13-01",
            "2026-02-30",
            "0001-01-01",
            "2026-07-01X",
            "2026-07-01T25:00:00",
            "2026-07-01T07",
            "2026-07-01T07:02:03+",
            "2026-07-01T07:02:03+5",
            "2026-07-01T07:02:03.",
            "2026-07-01T07:02:03.1x",
            "1751328000",
            "２０２６-07-01",
            "2026-07-01T07:02:61",
            "2026-07-01T07:02:03+01:",
            "2026-07-01T07:02:03+99:00",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
