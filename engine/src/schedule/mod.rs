//! Schedules: when a script runs by itself.
//!
//! The lists of a schedule are about local time in its zone. A fixed hour happens once a day also when clocks change: one that is
//! left out happens as much later, one that comes twice happens the first time. With open hours every minute that passes counts.

mod keeper;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

pub(crate) use keeper::Keeper;

use crate::config::{Schedule, Weekday};

/// Days looked ahead: 29 February on a given weekday comes every 28 years, and not within a century's turn.
const MAX_DAYS: u32 = 41 * 366;

/// The first time after `after_ms` (milliseconds since the Unix epoch) that the schedule names; `None` when there is none, such as
/// 31 February.
pub fn next_after(schedule: &Schedule, after_ms: u64) -> Option<u64> {
    let zone = TimeZone::get(&schedule.timezone).ok()?;
    let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?.to_zoned(zone.clone());
    let mut date = after.date();
    for _ in 0..MAX_DAYS {
        if is_day(schedule, date)
            && let Some(found) = on_day(schedule, date, &zone, &after)
        {
            return u64::try_from(found.timestamp().as_millisecond()).ok();
        }
        date = date.tomorrow().ok()?;
    }
    None
}

fn is_day(schedule: &Schedule, date: Date) -> bool {
    let is_date = schedule.days.is_empty() || schedule.days.iter().any(|day| i8::try_from(*day) == Ok(date.day()));
    is_date && (schedule.weekdays.is_empty() || schedule.weekdays.iter().any(|day| weekday(*day) == date.weekday()))
}

fn weekday(day: Weekday) -> jiff::civil::Weekday {
    use jiff::civil::Weekday as Civil;
    match day {
        Weekday::Mon => Civil::Monday,
        Weekday::Tue => Civil::Tuesday,
        Weekday::Wed => Civil::Wednesday,
        Weekday::Thu => Civil::Thursday,
        Weekday::Fri => Civil::Friday,
        Weekday::Sat => Civil::Saturday,
        Weekday::Sun => Civil::Sunday,
    }
}

/// The first of the day's times after `after`.
fn on_day(schedule: &Schedule, date: Date, zone: &TimeZone, after: &Zoned) -> Option<Zoned> {
    if schedule.hours.is_empty() {
        passing_minutes(schedule, date, zone, after)
    } else {
        fixed_times(schedule, date, zone, after)
    }
}

fn fixed_times(schedule: &Schedule, date: Date, zone: &TimeZone, after: &Zoned) -> Option<Zoned> {
    let every: Vec<u8> = (0..60).collect();
    let minutes = if schedule.minutes.is_empty() { &every } else { &schedule.minutes };
    let at = |hour: u8, minute: u8| {
        let time = Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()?;
        date.to_datetime(time).to_zoned(zone.clone()).ok()
    };
    let times = schedule.hours.iter().flat_map(|hour| minutes.iter().filter_map(move |minute| at(*hour, *minute)));
    times.filter(|time| time > after).min()
}

fn passing_minutes(schedule: &Schedule, date: Date, zone: &TimeZone, after: &Zoned) -> Option<Zoned> {
    let start = date.to_zoned(zone.clone()).ok()?;
    let mut time = if *after < start {
        start
    } else {
        let second = i64::from(after.second());
        after
            .checked_sub(second.seconds())
            .ok()?
            .checked_sub(after.subsec_nanosecond().nanoseconds())
            .ok()?
            .checked_add(1.minute())
            .ok()?
    };
    while time.date() == date {
        let is_minute =
            schedule.minutes.is_empty() || schedule.minutes.iter().any(|minute| i8::try_from(*minute) == Ok(time.minute()));
        if is_minute && time > *after {
            return Some(time);
        }
        time = time.checked_add(1.minute()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        toml::from_str(text).unwrap()
    }

    /// The next `count` times after `after`, all as RFC 3339.
    fn times(text: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(text);
        let after = after.parse::<Timestamp>().unwrap().as_millisecond() as u64;
        let following = std::iter::successors(Some(after), |at| next_after(&schedule, *at)).skip(1).take(count);
        following.map(|at| Timestamp::from_millisecond(at as i64).unwrap().to_string()).collect()
    }

    #[test]
    fn every_list_narrows_it() {
        let text = "minutes = [0, 30]\nhours = [9]\ndays = [1, 15]\nweekdays = ['mon']";
        assert_eq!(
            times(text, "2026-01-01T00:00:00Z", 3),
            ["2026-06-01T09:00:00Z", "2026-06-01T09:30:00Z", "2026-06-15T09:00:00Z"]
        );
        assert_eq!(times("minutes = [5]", "2026-01-01T00:05:00Z", 2), ["2026-01-01T01:05:00Z", "2026-01-01T02:05:00Z"]);
        assert_eq!(times("", "2026-01-01T00:00:59.5Z", 2), ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]);
        assert_eq!(times("hours = [23]", "2026-01-01T23:58:00Z", 2), ["2026-01-01T23:59:00Z", "2026-01-02T23:00:00Z"]);
    }

    #[test]
    fn a_day_that_never_comes_has_no_time_and_a_rare_one_does() {
        assert_eq!(times("days = [32]", "2026-01-01T00:00:00Z", 1), [""; 0]);
        let rare = "minutes = [0]\nhours = [0]\ndays = [29]\nweekdays = ['sun']";
        assert_eq!(times(rare, "2026-11-30T00:00:00Z", 1), ["2027-08-29T00:00:00Z"]);
    }

    #[test]
    fn a_fixed_hour_happens_once_when_clocks_go_back_or_forward() {
        let berlin = "minutes = [30]\nhours = [2]\ntimezone = 'Europe/Berlin'";
        // 29 March 2026: 02:00 becomes 03:00. 25 October 2026: 03:00 becomes 02:00.
        assert_eq!(
            times(berlin, "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(times(berlin, "2026-10-24T22:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn open_hours_follow_the_minutes_that_pass() {
        let berlin = "minutes = [0, 30]\ntimezone = 'Europe/Berlin'";
        assert_eq!(
            times(berlin, "2026-10-25T00:00:00Z", 4),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
        );
        assert_eq!(times(berlin, "2026-03-29T00:30:00Z", 2), ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
    }
}
