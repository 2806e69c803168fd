//! Counts as people write and read them: one parser for every place that takes one, one form wherever one is printed.

/// Reads a count: `1000000`, `1_000_000`, `1,000,000`, `1e6`, `1M`, `14.8T`. K, M, B (or G) and T are thousands, so 8K is 8,000.
///
/// # Errors
/// What is no whole number from 0, or more than 2⁶³.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || {
        let shown: String = text.chars().take(40).collect();
        format!("\"{shown}\" is no count. Write a whole number such as 1000000, 1_000_000, 1e6, 1M or 14.8T.")
    };
    let plain: String = text.trim().chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let (digits, thousands) = match plain.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&plain[..at], 3),
        Some((at, 'm' | 'M')) => (&plain[..at], 6),
        Some((at, 'b' | 'B' | 'g' | 'G')) => (&plain[..at], 9),
        Some((at, 't' | 'T')) => (&plain[..at], 12),
        _ => (plain.as_str(), 0),
    };
    let (digits, power) = match digits.split_once(['e', 'E']) {
        Some((digits, power)) => {
            (digits, power.strip_prefix('+').unwrap_or(power).parse::<u32>().map_err(|_| wrong())?)
        }
        None => (digits, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    // In whole numbers throughout: 14.8T through a float would be off by a few tokens.
    let part = part.trim_end_matches('0');
    let zeros = (thousands + power).checked_sub(part.len() as u32).ok_or_else(wrong)?;
    let mantissa: u64 = format!("0{whole}{part}").parse().map_err(|_| wrong())?;
    let count = match mantissa {
        0 => Some(0),
        _ => 10u64.checked_pow(zeros).and_then(|factor| mantissa.checked_mul(factor)),
    };
    count.filter(|count| *count <= i64::MAX as u64).ok_or_else(wrong)
}

/// With a comma before every three digits.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_people_write_them() {
        for (text, count) in [
            ("0", 0),
            ("40", 40),
            ("1e9", 1_000_000_000),
            ("1_000_000", 1_000_000),
            ("1,000,000", 1_000_000),
            ("14.8e12", 14_800_000_000_000),
            ("14.8T", 14_800_000_000_000),
            ("1T", 1_000_000_000_000),
            ("2.5M", 2_500_000),
            ("8k", 8_000),
            ("1B", 1_000_000_000),
            ("1.50e1", 15),
            (" 7 ", 7),
            ("3.0", 3),
        ] {
            assert_eq!(parse_count(text), Ok(count), "{text}");
            assert_eq!(parse_count(&thousands(count)), Ok(count));
        }
        assert_eq!(thousands(671_026_419_200), "671,026,419,200");
    }

    #[test]
    fn what_is_no_count() {
        for text in
            ["", "T", ".", "-5", "1.5", "nan", "inf", "1e308", "1e-3", "1.23456e2", "ten", "1 000", "99999999999T"]
        {
            let error = parse_count(text).unwrap_err();
            assert!(error.contains("is no count. Write"), "{error}");
        }
    }
}
