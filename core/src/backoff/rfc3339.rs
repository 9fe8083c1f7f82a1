//! Moments as Anthropic writes them: `2026-01-01T00:00:00Z`.

use crate::time::Timestamp;

const MS_PER_DAY: i64 = 86_400_000;

/// Reads a moment, with a fraction of a second and an offset if it has them. `None` if it is none, or before 1970.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_moment = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && (1970..10_000).contains(&year);
    if !is_moment {
        return None;
    }
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let seconds = (hour * 60 + minute) * 60 + second - offset_minutes(zone)? * 60;
    let ms = days_before(year, month, day) * MS_PER_DAY + seconds * 1000 + number(&thousandths)?;
    u64::try_from(ms).ok().map(Timestamp)
}

/// Writes a moment, rounded up to the second: whoever waits for it is not to come early.
pub(crate) fn rfc3339_of(moment: Timestamp) -> String {
    // What lies beyond the year 9999 has no such form.
    const LAST: i64 = 253_402_300_799;
    let seconds = i64::try_from(moment.0.div_ceil(1000)).unwrap_or(LAST).min(LAST);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date_after(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn number(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn offset_minutes(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, zone) = zone.split_at_checked(1)?;
    let (hours, minutes) = zone.split_once(':')?;
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some(if sign == "-" { -minutes } else { minutes })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: Howard Hinnant's `days_from_civil`, for years from 1970.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let year = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse: Hinnant's `civil_from_days`.
fn date_after(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_in_every_form() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000),
            ("2026-01-01T01:30:00.25+01:30", 1_767_225_600_250),
            ("2025-12-31T22:30:00-01:30", 1_767_225_600_000),
            ("2024-02-29T23:59:59z", 1_709_251_199_000),
            ("2026-01-01 00:00:00.123456-00:00", 1_767_225_600_123),
        ] {
            assert_eq!(rfc3339(text), Some(Timestamp(ms)), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "2026-00001-01T00:00:00Z",
            "2026-+1-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "1969-12-31T00:00:00Z",
            "2026-01-01T00:00:00",
            "T+:",
            "2026-01-01T00:00:00+é",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_a_cycle_of_the_calendar_is_written_and_read_alike() {
        for day in 0..=146_097 {
            let moment = Timestamp(day * 86_400_000);
            assert_eq!(rfc3339(&rfc3339_of(moment)), Some(moment));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0_u64..253_402_300_800) {
            prop_assert_eq!(rfc3339(&rfc3339_of(Timestamp(seconds * 1000))), Some(Timestamp(seconds * 1000)));
        }

        #[test]
        fn any_text_and_any_moment_are_borne(text in "\\PC{0,40}", ms in any::<u64>()) {
            let _ = rfc3339(&text);
            prop_assert_eq!(rfc3339_of(Timestamp(ms)).len(), 20);
        }
    }
}
