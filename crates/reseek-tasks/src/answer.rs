//! What an answer can be, how it is read, and when two answers are the same. Comparison is exact: no tolerance, no
//! credit for a part, since each of those can be exploited by a policy that is trained on it.

use serde::{Deserialize, Serialize};

use crate::number::{Number, chinese_numeral, integer};

/// How the answers of a problem are read and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// A whole number of any length: `-1,234`.
    Integer,
    /// A small count; Chinese numerals are read too: `2`, `二`, `两`.
    Count,
    /// A rational number: `3/4`, `0.75`, `-2`.
    Number,
    /// Numbers in order, divided by commas or spaces: `2, 5, 7`.
    List,
    /// A time of day: `9:05`.
    Clock,
    /// A spelled word; spaces between the letters do not matter: `t a c`.
    Letters,
    /// `yes` or `no`, `是` or `否`.
    YesNo,
    /// `true` or `false`, `真` or `假`.
    TrueFalse,
    /// `knight` or `knave`, `骑士` or `无赖`.
    KnightKnave,
    /// Words and numbers, compared without case: a name, a month.
    Text,
}

/// An answer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(Number),
    List(Vec<Number>),
    /// Minutes since midnight.
    Clock(u32),
    Choice(bool),
    Text(String),
}

/// Spellings of the two sides of a choice, the affirmative side first; all in lower case.
type Spellings = (&'static [&'static str], &'static [&'static str]);

const YES_NO: Spellings = (&["yes", "是", "是的", "能"], &["no", "否", "不是", "不能"]);
const TRUE_FALSE: Spellings = (&["true", "真", "真的"], &["false", "假", "假的"]);
const KNIGHT_KNAVE: Spellings = (&["knight", "a knight", "骑士"], &["knave", "a knave", "无赖"]);

impl AnswerKind {
    /// The kind of a user's gold answer, from how it looks.
    pub fn infer(gold: &str) -> AnswerKind {
        let order =
            [AnswerKind::Integer, AnswerKind::Number, AnswerKind::Clock, AnswerKind::YesNo, AnswerKind::TrueFalse];
        let is_list = |gold: &str| gold.contains([',', '，', '、']) && AnswerKind::List.read(gold).is_ok();
        match order.into_iter().find(|kind| kind.read(gold).is_ok()) {
            Some(kind) => kind,
            None if is_list(gold) => AnswerKind::List,
            None => AnswerKind::Text,
        }
    }

    /// Reads an answer of this kind.
    ///
    /// # Errors
    /// A sentence that says what was expected, where `text` is no answer of this kind.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let plain = normalise(text);
        let value = match self {
            AnswerKind::Integer => integer(&plain).map(Value::Number),
            AnswerKind::Count => {
                integer(&plain).or_else(|| chinese_numeral(&plain).map(Number::from)).map(Value::Number)
            }
            AnswerKind::Number => Number::parse(&plain).map(Value::Number),
            AnswerKind::List => list(&plain).map(Value::List),
            AnswerKind::Clock => clock(&plain).map(Value::Clock),
            AnswerKind::Letters => letters(&plain).map(Value::Text),
            AnswerKind::YesNo => choice(&plain, YES_NO).map(Value::Choice),
            AnswerKind::TrueFalse => choice(&plain, TRUE_FALSE).map(Value::Choice),
            AnswerKind::KnightKnave => choice(&plain, KNIGHT_KNAVE).map(Value::Choice),
            AnswerKind::Text => words(&plain).map(Value::Text),
        };
        value.ok_or_else(|| format!("{:?} is not {}", shortened(text), self.expectation()))
    }

    fn expectation(self) -> &'static str {
        match self {
            AnswerKind::Integer => "a whole number",
            AnswerKind::Count => "a count",
            AnswerKind::Number => "a number",
            AnswerKind::List => "a list of numbers",
            AnswerKind::Clock => "a time such as 9:05",
            AnswerKind::Letters => "a run of letters",
            AnswerKind::YesNo => "yes or no",
            AnswerKind::TrueFalse => "true or false",
            AnswerKind::KnightKnave => "knight or knave",
            AnswerKind::Text => "plain words (letters, digits, spaces, hyphens)",
        }
    }
}

/// Folds what carries no meaning: full-width forms become ASCII, the minus sign a hyphen, the ideographic full stop a
/// point and comma a comma, runs of white space one space; outer white space and one final point go.
///
/// Look-alikes of other scripts are not folded (a Cyrillic а is no a), nor are control and zero-width characters.
pub fn normalise(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let folded = match c {
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            '−' => '-',
            '。' => '.',
            '、' => ',',
            c if c.is_whitespace() => ' ',
            c => c,
        };
        if folded != ' ' || !plain.ends_with(' ') {
            plain.push(folded);
        }
    }
    let trimmed = plain.trim();
    trimmed.strip_suffix('.').unwrap_or(trimmed).trim_end().to_string()
}

/// The first 40 characters of `text`, for messages.
fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A list in order, in brackets or not. An empty element makes it no list. Commas divide, or spaces where there is no comma.
fn list(plain: &str) -> Option<Vec<Number>> {
    let inner = [('[', ']'), ('(', ')')]
        .into_iter()
        .find_map(|(open, close)| plain.strip_prefix(open)?.strip_suffix(close))
        .unwrap_or(plain);
    // A thousands separator cannot be told from a divider, so an element has none.
    let element = |text: &str| Number::parse(text.trim());
    if inner.contains(',') {
        inner.split(',').map(element).collect()
    } else {
        inner.trim().split(' ').map(element).collect()
    }
}

fn clock(plain: &str) -> Option<u32> {
    let (hours, minutes) = plain.split_once(':')?;
    let digits = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let fits = lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (digits(hours, 1..=2)?, digits(minutes, 2..=2)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn letters(plain: &str) -> Option<String> {
    let joined: String = plain.chars().filter(|&c| c != ' ').flat_map(char::to_lowercase).collect();
    (!joined.is_empty() && joined.chars().all(char::is_alphabetic)).then_some(joined)
}

fn choice(plain: &str, (affirmative, negative): Spellings) -> Option<bool> {
    let lower = plain.to_lowercase();
    if affirmative.contains(&lower.as_str()) { Some(true) } else { negative.contains(&lower.as_str()).then_some(false) }
}

/// Plain words only: a formula that is merely compared as text would punish every other way to write it.
fn words(plain: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '\'' | '’');
    (!plain.is_empty() && plain.chars().all(is_plain)).then(|| plain.to_lowercase().replace('’', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(kind: AnswerKind, gold: &str, answer: &str) -> bool {
        let gold = kind.read(gold).expect("a readable gold answer");
        kind.read(answer).is_ok_and(|answer| answer == gold)
    }

    #[test]
    fn equal_answers() {
        for (kind, gold, answer) in [
            (AnswerKind::Integer, "1234", "1,234"),
            (AnswerKind::Integer, "12", " １２ "),
            (AnswerKind::Integer, "-7", "−7."),
            (AnswerKind::Integer, "-7", "－７。"),
            (AnswerKind::Integer, "0", "-0"),
            (AnswerKind::Count, "2", "两"),
            (AnswerKind::Count, "12", "十二"),
            (AnswerKind::Number, "0.5", "1/2"),
            (AnswerKind::Number, "-3/6", "-0.50"),
            (AnswerKind::List, "2, 5, 7", "[2,5,7]"),
            (AnswerKind::List, "2, 5, 7", "2、5、7。"),
            (AnswerKind::List, "2, 5, 7", "2 5  7"),
            (AnswerKind::Clock, "9:05", "09:05"),
            (AnswerKind::Clock, "9:05", "9：05"),
            (AnswerKind::Letters, "t a c", "TAC"),
            (AnswerKind::YesNo, "yes", "是的。"),
            (AnswerKind::TrueFalse, "假", "False"),
            (AnswerKind::KnightKnave, "knave", "无赖"),
            (AnswerKind::Text, "Tom", " tom. "),
            (AnswerKind::Text, "New York", "new  york"),
        ] {
            assert!(same(kind, gold, answer), "{kind:?}: {answer:?} should equal {gold:?}");
        }
    }

    #[test]
    fn different_answers() {
        for (kind, gold, answer) in [
            (AnswerKind::Integer, "12", "1,2"),
            (AnswerKind::Integer, "12", "12 or 13"),
            (AnswerKind::Integer, "12", "24/2"),
            (AnswerKind::Integer, "12", "12.0001"),
            (AnswerKind::Integer, "12", "十二"),
            (AnswerKind::Integer, "12", "١٢"),
            (AnswerKind::Integer, "12", "1 2"),
            (AnswerKind::Integer, "12", "12\u{200b}"),
            (AnswerKind::Integer, "12", "12\u{0}"),
            (AnswerKind::Integer, "12", "--12"),
            (AnswerKind::Integer, "12", ""),
            (AnswerKind::Number, "1/2", "1/0"),
            (AnswerKind::Number, "1/2", "NaN"),
            (AnswerKind::Number, "1/2", "inf"),
            (AnswerKind::Number, "1000", "1e3"),
            (AnswerKind::List, "2, 5, 7", "2, 5"),
            (AnswerKind::List, "2, 5, 7", "2, 5, 7, 9"),
            (AnswerKind::List, "2, 5, 7", "2, 7, 5"),
            (AnswerKind::List, "2, 5, 7", "2, 5, 7,"),
            (AnswerKind::List, "2, 5, 7", "2,,5,7"),
            (AnswerKind::Clock, "9:05", "9:5"),
            (AnswerKind::Clock, "0:30", "24:30"),
            (AnswerKind::Letters, "t a c", "t a c s"),
            (AnswerKind::Letters, "cat", "c\u{430}t"),
            (AnswerKind::YesNo, "yes", "yes and no"),
            (AnswerKind::YesNo, "yes", "true"),
            (AnswerKind::KnightKnave, "knight", "knight or knave"),
            (AnswerKind::Text, "Tom", "Tom or Ann"),
            (AnswerKind::Text, "Tom", "T\u{43e}m"),
        ] {
            assert!(!same(kind, gold, answer), "{kind:?}: {answer:?} should differ from {gold:?}");
        }
    }

    #[test]
    fn kinds_are_inferred_from_the_gold_answer() {
        for (gold, kind) in [
            ("72", AnswerKind::Integer),
            ("1,234", AnswerKind::Integer),
            ("3/4", AnswerKind::Number),
            ("2, 5, 7", AnswerKind::List),
            ("9:05", AnswerKind::Clock),
            ("否", AnswerKind::YesNo),
            ("Paris", AnswerKind::Text),
        ] {
            assert_eq!(AnswerKind::infer(gold), kind, "{gold:?}");
        }
    }
}
