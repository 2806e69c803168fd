//! Answers worked out anew from the question's text alone, by the plainest method, for comparison with the generators.

mod logic;
mod words;

use reseek_tasks::{Family, Language, Problem};

use self::logic::{Formula, knights, ordering};
use self::words::words;

/// The answer to a generated question, in the form in which [`Problem::answer`] has it.
pub fn solve(family: Family, problem: &Problem) -> String {
    let question = problem.question.as_str();
    let n = numbers(question);
    let english = problem.language == Language::English;
    match family {
        Family::Addition => n.iter().sum::<i64>().to_string(),
        Family::Subtraction => (n[0].max(n[1]) - n[0].min(n[1])).to_string(),
        Family::Multiplication => n.iter().product::<i64>().to_string(),
        Family::ChainSum => value(longest_expression(question)).to_string(),
        Family::Clock => clock(question),
        Family::Extreme if question.contains("largest") || question.contains("最大") => {
            n.iter().max().unwrap().to_string()
        }
        Family::Extreme => n.iter().min().unwrap().to_string(),
        Family::SortNumbers => sorted(n, question),
        Family::Gcd => {
            let divides_both = |d: &i64| n[0] % d == 0 && n[1] % d == 0;
            (1..=n[0]).rev().find(divides_both).unwrap().to_string()
        }
        Family::Remainder => (n[0] % n[1]).to_string(),
        Family::Divisible => {
            let divides = n[0].max(n[1]) % n[0].min(n[1]) == 0;
            let words = if english { ["no", "yes"] } else { ["否", "是"] };
            words[usize::from(divides)].to_string()
        }
        Family::Sequence => {
            let (first, last) = (n[1] - n[0], n[3] - n[2]);
            (n[3] + last + (last - first) / 2).to_string()
        }
        Family::ReverseWord | Family::LetterCount | Family::LetterAt | Family::SortLetters | Family::ShiftLetters => {
            words(family, question)
        }
        Family::Boolean => {
            let words = if english { ["false", "true"] } else { ["假", "真"] };
            words[usize::from(Formula::parse(question).value())].to_string()
        }
        Family::Ordering => ordering(question, english),
        Family::KnightsKnaves => knights(question, english),
    }
}

/// Runs of digits, as numbers.
pub fn numbers(text: &str) -> Vec<i64> {
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.filter_map(|run| run.parse().ok()).collect()
}

fn longest_expression(text: &str) -> &str {
    let parts = text.split(|c: char| !"0123456789+-*/".contains(c));
    parts.max_by_key(|part| part.len()).unwrap()
}

/// The value of a sum of products and quotients.
pub fn value(expression: &str) -> i64 {
    let (mut total, mut term, mut operator) = (0, 0, '+');
    let mut digits = String::new();
    for c in expression.chars().chain(['+']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let number: i64 = digits.parse().unwrap_or_else(|_| panic!("no expression: {expression:?}"));
        digits.clear();
        match operator {
            '*' => term *= number,
            '/' => term = if term % number == 0 { term / number } else { panic!("{expression} leaves a rest") },
            sign => {
                total += term;
                term = if sign == '-' { -number } else { number };
            }
        }
        operator = c;
    }
    total + term
}

fn clock(question: &str) -> String {
    let colon = question.find(':').unwrap();
    let start = question[..colon]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + question[at..].chars().next().unwrap().len_utf8());
    let time = numbers(&question[start..colon + 3]);
    let span = numbers(&(question[..start].to_string() + " " + &question[colon + 3..]));
    let minutes = match span[..] {
        [minutes] => minutes,
        [hours, minutes] => 60 * hours + minutes,
        _ => panic!("{question:?} has no span"),
    };
    let then = (60 * time[0] + time[1] + minutes) % 1440;
    format!("{}:{:02}", then / 60, then % 60)
}

fn sorted(mut numbers: Vec<i64>, question: &str) -> String {
    numbers.sort_unstable();
    if question.contains("large to small") || question.contains("从大到小") {
        numbers.reverse();
    }
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// What stands at the `{}` of `pattern`, where `text` fits it.
fn holes<'a>(text: &'a str, pattern: &str) -> Option<Vec<&'a str>> {
    let mut parts = pattern.split("{}");
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut found = Vec::new();
    let parts: Vec<&str> = parts.collect();
    for (i, part) in parts.iter().enumerate() {
        let is_last = i + 1 == parts.len();
        let at = if is_last { rest.len().checked_sub(part.len())? } else { rest.find(part)? };
        if !rest.is_char_boundary(at) || !rest[at..].starts_with(part) {
            return None;
        }
        found.push(&rest[..at]);
        rest = &rest[at + part.len()..];
    }
    Some(found)
}

/// The holes of the first pattern that fits; a trailing `!` swaps two holes.
fn fit<'a>(question: &'a str, patterns: &[&str]) -> Vec<&'a str> {
    let fitted = patterns.iter().find_map(|pattern| match pattern.strip_suffix('!') {
        Some(swapped) => holes(question, swapped).map(|found| found.into_iter().rev().collect()),
        None => holes(question, pattern),
    });
    fitted.unwrap_or_else(|| panic!("{question:?} fits no pattern"))
}
