//! `strftime_now` of chat templates: the date, as Python's `strftime` writes it.

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment in UTC.
struct Moment {
    year: i64,
    /// From 1.
    month: usize,
    day: i64,
    /// Of the week, from Monday.
    weekday: usize,
    /// Of the year, from 1.
    yearday: i64,
    second: i64,
}

impl Moment {
    /// Howard Hinnant's `civil_from_days` (chrono-Compatible Low-Level Date Algorithms): years begin in March, 400 of
    /// them are 146,097 days.
    fn new(unix_seconds: i64) -> Self {
        let (days, second) = (unix_seconds.div_euclid(86_400), unix_seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let yearday = if month > 2 { of_year + 60 + i64::from(is_leap) } else { of_year - 305 };
        Self { year, month: month as usize, day, weekday: (days + 3).rem_euclid(7) as usize, yearday, second }
    }
}

/// The moment by a format of Python's. A directive that is not known stands as it is.
pub(crate) fn strftime(format: &str, unix_seconds: i64) -> String {
    let now = Moment::new(unix_seconds);
    let (hour, minute, second) = (now.second / 3600, now.second / 60 % 60, now.second % 60);
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next();
        // glibc's "no padding".
        let is_bare = directive == Some('-');
        if is_bare {
            directive = rest.next();
        }
        let padded = |value: i64, width: usize| if is_bare { value.to_string() } else { format!("{value:0width$}") };
        out += &match directive {
            Some('Y') => now.year.to_string(),
            Some('y') => padded(now.year.rem_euclid(100), 2),
            Some('m') => padded(now.month as i64, 2),
            Some('d') => padded(now.day, 2),
            Some('e') => {
                if is_bare {
                    now.day.to_string()
                } else {
                    format!("{:2}", now.day)
                }
            }
            Some('j') => padded(now.yearday, 3),
            Some('B') => MONTHS[now.month - 1].to_owned(),
            Some('b' | 'h') => MONTHS[now.month - 1][..3].to_owned(),
            Some('A') => DAYS[now.weekday].to_owned(),
            Some('a') => DAYS[now.weekday][..3].to_owned(),
            Some('u') => (now.weekday + 1).to_string(),
            Some('w') => ((now.weekday + 1) % 7).to_string(),
            Some('H') => padded(hour, 2),
            Some('I') => padded(half, 2),
            Some('M') => padded(minute, 2),
            Some('S') => padded(second, 2),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('F') => format!("{}-{:02}-{:02}", now.year, now.month, now.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_owned(),
            Some('z') => "+0000".to_owned(),
            Some('s') => unix_seconds.to_string(),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{}{other}", if is_bare { "-" } else { "" }),
            None => "%".to_owned(),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_pythons() {
        let check = |seconds, expect: &str| assert_eq!(strftime("%Y-%m-%d %a %j %H:%M:%S", seconds), expect);
        check(0, "1970-01-01 Thu 001 00:00:00");
        check(951_782_399, "2000-02-28 Mon 059 23:59:59");
        check(951_782_400, "2000-02-29 Tue 060 00:00:00");
        check(951_868_800, "2000-03-01 Wed 061 00:00:00");
        check(4_107_542_399, "2100-02-28 Sun 059 23:59:59");
        check(4_107_542_400, "2100-03-01 Mon 060 00:00:00");
        check(-1, "1969-12-31 Wed 365 23:59:59");
        assert_eq!(
            strftime("%d %b %Y, %B %-d, %I %p, 100%, %q", 1_764_500_000),
            "30 Nov 2025, November 30, 10 AM, 100%, %q"
        );
    }
}
