//! Times as people write and read them.

use std::time::{Duration, SystemTime};

use descartes_client::protocol::Timestamp;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, ZonedDateTime};

/// A time for programs: RFC 3339, in UTC, to the millisecond. `None` for one that it cannot write.
pub(crate) fn rfc3339(time: Timestamp) -> Option<String> {
    instant(time).map(|time| format!("{time:.3}"))
}

/// A time for people: local, to the second.
pub(crate) fn local(time: Timestamp) -> String {
    instant(time).map_or_else(String::new, |time| {
        let zoned = time.to_zoned_datetime(TimeZone::system());
        zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
    })
}

/// The time between two, or since one.
pub(crate) fn between(from: Timestamp, to: Option<Timestamp>) -> Duration {
    let to = to.unwrap_or_else(Timestamp::now);
    let times = from.to_system_time().zip(to.to_system_time());
    times.map_or(Duration::ZERO, |(from, to)| {
        to.duration_since(from).unwrap_or_default()
    })
}

/// A duration in at most two units: `3m 20s`.
pub(crate) fn short(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{minutes}m {}s", secs % 60),
        3600..86_400 => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Reads a duration: a number of seconds, or with units (`90s`, `1h30m`, `2 days`).
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(secs) = text.parse::<f64>() {
        let out_of_range = |_| format!("{text} seconds are no duration that can be waited for");
        return Duration::try_from_secs_f64(secs).map_err(out_of_range);
    }
    let problem = || format!("{text:?} is no duration: write 90, 90s, 5m or 1h30m");
    let duration: SignedDuration = if let Ok(duration) = text.parse() {
        duration
    } else {
        // Days, which are of 24 hours here.
        let span: Span = text.parse().map_err(|_| problem())?;
        let days = jiff::SpanRelativeTo::days_are_24_hours();
        span.to_duration(days).map_err(|_| problem())?
    };
    Duration::try_from(duration).map_err(|_| problem())
}

/// Reads a point in time: one in RFC 3339, a local date or time, or how long ago it was.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(SystemTime::now()
            .checked_sub(ago)
            .unwrap_or(SystemTime::UNIX_EPOCH)
            .into());
    }
    let time = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let zoned = text
            .parse::<ZonedDateTime>()
            .ok()
            .map(|zoned| zoned.timestamp());
        let local = || {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            let zoned = civil.to_zoned_datetime(TimeZone::system()).ok()?;
            Some(zoned.timestamp())
        };
        zoned.or_else(local)
    });
    let problem = || {
        format!("{text:?} is no time: write 10m (ago), 2026-01-31T12:00:00 or 2026-01-31T12:00:00Z")
    };
    let time = time.and_then(|time| SystemTime::try_from(time).ok());
    Ok(time.ok_or_else(problem)?.into())
}

fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::try_from(time.to_system_time()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_and_without_units() {
        let secs = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!(secs("90"), Ok(90));
        assert_eq!(secs("5m"), Ok(300));
        assert_eq!(secs("1h30m"), Ok(5400));
        assert_eq!(secs("2 days"), Ok(172_800));
        for wrong in ["", "soon", "-5", "-5m", "5x"] {
            assert!(secs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_dates_and_as_ages() {
        let time = parse_time("2026-01-31T12:00:00Z").unwrap();
        assert_eq!(rfc3339(time).as_deref(), Some("2026-01-31T12:00:00.000Z"));
        let hour_ago = parse_time("1h").unwrap();
        let age = between(hour_ago, None).as_secs();
        assert!((3600..3700).contains(&age), "{age}");
        assert!(parse_time("2026-01-31").is_ok());
        assert!(parse_time("yesterday").is_err());
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let shown = [5, 200, 7260, 200_000].map(|secs| short(Duration::from_secs(secs)));
        assert_eq!(shown, ["5s", "3m 20s", "2h 1m", "2d 7h"]);
    }
}
