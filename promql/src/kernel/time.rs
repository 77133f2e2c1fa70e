//! Calendar parts of a Unix time in UTC (proleptic Gregorian, as Go's `time`).

/// Which part of a date.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DatePart {
    DaysInMonth,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hour,
    Minute,
    Month,
    Year,
}

/// Year, month (1-12) and day (1-31) of a day counted from 1970-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    // Days since 0000-03-01 in eras of 400 years: leap days fall at the end of a year that starts in March.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_month)
}

fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

const DAYS_BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
const DAYS_IN_MONTH: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Seconds from 1 March of the year -292277022400, where Go begins to count in 64 bits, to the epoch; whole days.
const SECONDS_BEFORE_EPOCH: u64 = 9_223_372_028_741_760_000;

/// A float as whole seconds, as Go converts it on amd64: what has no place in 64 bits becomes the least number.
pub(crate) fn whole_seconds(value: f64) -> i64 {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if (-TWO_TO_63..TWO_TO_63).contains(&value) { value as i64 } else { i64::MIN }
}

/// One part of the date `seconds` after the epoch. Times before the year that Go begins with come after its last year.
pub(crate) fn date_part(seconds: i64, part: DatePart) -> f64 {
    let seconds = SECONDS_BEFORE_EPOCH.wrapping_add_signed(seconds);
    let day = (seconds / 86_400) as i64 - (SECONDS_BEFORE_EPOCH / 86_400) as i64;
    let second_of_day = (seconds % 86_400) as i64;
    let (year, month, day_of_month) = civil(day);
    let leap_day = |is_counted: bool| i64::from(is_counted && is_leap(year));
    let month_index = (month - 1) as usize;
    let value = match part {
        DatePart::DaysInMonth => DAYS_IN_MONTH[month_index] + leap_day(month == 2),
        DatePart::DayOfMonth => day_of_month,
        DatePart::DayOfWeek => (day + 4).rem_euclid(7),
        DatePart::DayOfYear => DAYS_BEFORE_MONTH[month_index] + day_of_month + leap_day(month > 2),
        DatePart::Hour => second_of_day / 3_600,
        DatePart::Minute => second_of_day / 60 % 60,
        DatePart::Month => month,
        DatePart::Year => year,
    };
    value as f64
}

/// `2006-01-02T15:04:05Z` of a time in milliseconds.
pub(crate) fn rfc3339(time_ms: i64) -> String {
    let seconds = time_ms.div_euclid(1000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_are_taken_apart() {
        // 2024-02-29 23:59:00, a Thursday.
        let seconds = 1_709_251_140;
        let parts = [
            DatePart::Year,
            DatePart::Month,
            DatePart::DayOfMonth,
            DatePart::Hour,
            DatePart::Minute,
            DatePart::DayOfWeek,
            DatePart::DayOfYear,
            DatePart::DaysInMonth,
        ];
        let values = parts.map(|part| date_part(seconds, part));
        assert_eq!(values, [2024.0, 2.0, 29.0, 23.0, 59.0, 4.0, 60.0, 29.0]);
        assert_eq!(rfc3339(seconds * 1000), "2024-02-29T23:59:00Z");
    }

    #[test]
    fn times_before_the_epoch_are_taken_apart() {
        assert_eq!(date_part(-1, DatePart::Year), 1969.0);
        assert_eq!(date_part(-1, DatePart::Hour), 23.0);
    }

    #[test]
    fn times_without_a_place_are_those_that_go_makes_of_them() {
        // Asked of Prometheus with NaN, 1e300, -1e300: all convert to the least number.
        for value in [f64::NAN, f64::INFINITY, 1e300, -1e300, 9_223_372_036_854_775_808.0] {
            let seconds = whole_seconds(value);
            let parts =
                [DatePart::Year, DatePart::Month, DatePart::DayOfMonth, DatePart::DayOfWeek, DatePart::Hour];
            let values = parts.map(|part| date_part(seconds, part));
            assert_eq!(values, [292_277_026_596.0, 12.0, 4.0, 0.0, 15.0], "{value}");
        }
        assert_eq!(whole_seconds(-1.9), -1);
        assert_eq!(date_part(i64::MAX, DatePart::Year), 292_277_026_596.0);
    }
}
