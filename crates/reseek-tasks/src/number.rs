//! Exact numbers: rationals where they fit 128 bits, whole numbers of any length beyond that. Never a float.

/// A number, in lowest terms, so that equal numbers are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// `numerator / denominator`, the denominator positive and the two coprime.
    Rational { numerator: i128, denominator: i128 },
    /// A whole number beyond 128 bits: its digits without leading zeros.
    Huge { negative: bool, digits: String },
}

impl From<i128> for Number {
    fn from(numerator: i128) -> Number {
        Number::Rational { numerator, denominator: 1 }
    }
}

impl Number {
    /// Reads `-12`, `1,234`, `3/4` or `0.75`. Exponents, NaN and infinities are no numbers here, nor is a fraction or
    /// decimal that needs more than 128 bits.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        if let Some((numerator, denominator)) = text.split_once('/') {
            return Number::ratio(integer(numerator.trim_end())?, integer(denominator.trim_start())?);
        }
        let Some((whole, fraction)) = text.split_once('.') else {
            return integer(text);
        };
        let is_decimal = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
        let (negative, whole) = signed(whole);
        if !is_decimal || fraction.len() > 36 || whole.starts_with(['-', '+']) {
            return None;
        }
        let scale = 10i128.pow(fraction.len() as u32);
        let Number::Rational { numerator: whole, .. } = integer(if whole.is_empty() { "0" } else { whole })? else {
            return None;
        };
        let magnitude = whole.checked_mul(scale)?.checked_add(fraction.parse().ok()?)?;
        Number::ratio(Number::from(if negative { -magnitude } else { magnitude }), Number::from(scale))
    }

    fn ratio(numerator: Number, denominator: Number) -> Option<Number> {
        let (Number::Rational { numerator: a, .. }, Number::Rational { numerator: b, .. }) = (numerator, denominator)
        else {
            return None;
        };
        let divisor = i128::try_from(gcd(a.unsigned_abs(), b.unsigned_abs())).ok()?;
        if b == 0 {
            return None;
        }
        let sign = if b < 0 { -1 } else { 1 };
        Some(Number::Rational {
            numerator: (a / divisor).checked_mul(sign)?,
            denominator: (b / divisor).checked_mul(sign)?,
        })
    }
}

/// Reads a whole number: an optional sign, then digits, with commas only where each divides a full group of three.
pub(crate) fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = signed(text);
    let mut groups = digits.split(',');
    let first = groups.next()?;
    let is_grouped = digits.contains(',');
    let first_fits = !first.is_empty() && (!is_grouped || first.len() <= 3);
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit() || b == b',');
    if !first_fits || !all_digits || !groups.all(|group| group.len() == 3) {
        return None;
    }
    let plain = digits.replace(',', "");
    let significant = plain.trim_start_matches('0');
    if significant.is_empty() {
        return Some(Number::from(0));
    }
    Some(match significant.parse::<i128>() {
        Ok(magnitude) => Number::from(if negative { -magnitude } else { magnitude }),
        Err(_) => Number::Huge { negative, digits: significant.to_string() },
    })
}

/// Reads a Chinese numeral from 零 to 九千九百九十九; 两 counts as 二.
pub(crate) fn chinese_numeral(text: &str) -> Option<i128> {
    const DIGITS: [char; 10] = ['零', '一', '二', '三', '四', '五', '六', '七', '八', '九'];
    if text == "零" {
        return Some(0);
    }
    let (mut total, mut digit, mut last_unit) = (0i128, None::<i128>, 10_000i128);
    let mut after_zero = false;
    for c in text.chars() {
        let unit = match c {
            '十' => 10,
            '百' => 100,
            '千' => 1000,
            _ => 1,
        };
        if unit == 1 {
            let value = if c == '两' { 2 } else { DIGITS.iter().position(|&d| d == c)? as i128 };
            // 零 only stands for a skipped place; two digits in a row are no numeral.
            if digit.is_some() || (value == 0 && (after_zero || total == 0)) {
                return None;
            }
            after_zero = value == 0;
            digit = (value != 0).then_some(value);
        } else {
            // A leading 十 is ten; any other unit needs its digit.
            let count = digit.take().or((unit == 10 && total == 0).then_some(1))?;
            if unit >= last_unit {
                return None;
            }
            (total, last_unit, after_zero) = (total + count * unit, unit, false);
        }
    }
    let total = total + digit.unwrap_or(0);
    (total > 0 && !after_zero).then_some(total)
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_128_bits_are_compared_by_their_digits() {
        let long = "9".repeat(5000);
        assert_eq!(integer(&format!("000{long}")), integer(&long));
        assert_ne!(integer(&format!("{long}0")), integer(&long));
        assert_ne!(integer(&format!("-{long}")), integer(&long));
        assert_eq!(Number::parse(&format!("1/{long}")), None);
        assert_eq!(Number::parse(&format!("0.{long}")), None);
        let edge = i128::MAX.to_string();
        assert!(Number::parse(&format!("-{edge}/-{edge}")) == Some(Number::from(1)));
    }

    #[test]
    fn chinese_numerals() {
        for (text, value) in
            [("零", 0), ("两", 2), ("十", 10), ("十二", 12), ("二十", 20), ("一百零五", 105), ("三千四百二十一", 3421)]
        {
            assert_eq!(chinese_numeral(text), Some(value), "{text}");
        }
        for text in ["", "二三", "零零", "百", "一百二百", "二十零", "甲", "十十"] {
            assert_eq!(chinese_numeral(text), None, "{text}");
        }
    }
}
