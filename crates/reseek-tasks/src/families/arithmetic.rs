//! Arithmetic: sums in columns, running totals, time of day.

use super::{Both, Drawn, Questions, Sentences, joined};
use crate::answer::AnswerKind;
use crate::stream::Stream;

/// a+b in columns from the right: `7+5=12, write 2 carry 1. 4+3+1=8.`
pub(super) fn addition(level: u8, stream: &mut Stream) -> Drawn {
    let (a, b) = match level {
        1 => (stream.range(10, 99), stream.range(1, 9)),
        2 => (stream.range(10, 99), stream.range(10, 99)),
        _ => (stream.range(100, 999), stream.range(100, 999)),
    };
    let (a, b) = if stream.chance(0.5) { (a, b) } else { (b, a) };
    let sum = a + b;
    let mut steps = Sentences::default();
    let columns = digits(a.max(b)).len();
    let mut carry = 0;
    for column in 0..columns {
        let (x, y) = (digit(a, column), digit(b, column));
        let carried = if column == 0 { String::new() } else { format!("+{carry}") };
        let total = x + y + carry;
        carry = total / 10;
        if column + 1 < columns {
            let written = total % 10;
            steps.say(
                format!("{x}+{y}{carried}={total}, write {written} carry {carry}"),
                format!("{x}+{y}{carried}={total}，写{written}进{carry}"),
            );
        } else {
            steps.show(format!("{x}+{y}{carried}={total}"));
        }
    }
    Drawn {
        key: format!("{}+{}", a.min(b), a.max(b)),
        kind: AnswerKind::Integer,
        answer: Both::same(sum),
        questions: Questions::new(
            [format!("What is {a}+{b}?"), format!("Compute {a}+{b}."), format!("Add {a} and {b}.")],
            [format!("{a}+{b}等于多少？"), format!("计算{a}+{b}。"), format!("求{a}与{b}的和。")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{sum}-{b}={a}")),
        people: Vec::new(),
    }
}

/// a-b in columns from the right: `12-7=5, borrow 1. 5-3-1=1.` A borrowed ten stands in the first number of a column.
pub(super) fn subtraction(level: u8, stream: &mut Stream) -> Drawn {
    let (a, b) = match level {
        1 => (stream.range(10, 99), stream.range(1, 9)),
        2 => ordered(stream.distinct(2, 10, 99)),
        _ => ordered(stream.distinct(2, 100, 999)),
    };
    let difference = a - b;
    let mut steps = Sentences::default();
    let columns = digits(a).len();
    let mut borrow = 0;
    for column in 0..columns {
        let (mut x, y) = (digit(a, column), digit(b, column));
        let borrowed = if column == 0 { String::new() } else { format!("-{borrow}") };
        let is_short = x < y + borrow;
        if is_short {
            x += 10;
        }
        let left = x - y - borrow;
        borrow = i64::from(is_short);
        if column + 1 < columns {
            steps.say(
                format!("{x}-{y}{borrowed}={left}, borrow {borrow}"),
                format!("{x}-{y}{borrowed}={left}，借{borrow}"),
            );
        } else {
            steps.show(format!("{x}-{y}{borrowed}={left}"));
        }
    }
    Drawn {
        key: format!("{a}-{b}"),
        kind: AnswerKind::Integer,
        answer: Both::same(difference),
        questions: Questions::new(
            [format!("What is {a}-{b}?"), format!("Compute {a}-{b}."), format!("Take {b} from {a}.")],
            [format!("{a}-{b}等于多少？"), format!("计算{a}-{b}。"), format!("求{a}减{b}的差。")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{difference}+{b}={a}")),
        people: Vec::new(),
    }
}

/// a*b with one digit b, in columns from the right: `4*3=12, write 2 carry 1. 3*3=9, 9+1=10.`
pub(super) fn multiplication(level: u8, stream: &mut Stream) -> Drawn {
    let (a, b) = match level {
        1 => (stream.range(11, 99), stream.range(2, 5)),
        2 => (stream.range(11, 99), stream.range(6, 9)),
        _ => (stream.range(101, 499), stream.range(2, 9)),
    };
    let product = a * b;
    let mut steps = Sentences::default();
    let columns = digits(a).len();
    let mut carry = 0;
    for column in 0..columns {
        let x = digit(a, column);
        let total = x * b + carry;
        let sum = if column == 0 { String::new() } else { format!(", {}+{carry}={total}", x * b) };
        carry = total / 10;
        let line = format!("{x}*{b}={}{sum}", x * b);
        if column + 1 < columns {
            let written = total % 10;
            steps.say(
                format!("{line}, write {written} carry {carry}"),
                format!("{}，写{written}进{carry}", line.replace(", ", "，")),
            );
        } else {
            steps.show(line);
        }
    }
    Drawn {
        key: format!("{a}*{b}"),
        kind: AnswerKind::Integer,
        answer: Both::same(product),
        questions: Questions::new(
            [format!("What is {a}*{b}?"), format!("Compute {a}*{b}."), format!("Multiply {a} by {b}.")],
            [format!("{a}*{b}等于多少？"), format!("计算{a}*{b}。"), format!("求{a}与{b}的积。")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{product}/{b}={a}")),
        people: Vec::new(),
    }
}

/// A sum of several terms as a running total that never goes below 0: `4+7=11. 11-2=9.`
pub(super) fn chain_sum(level: u8, stream: &mut Stream) -> Drawn {
    let (count, high, minus) = match level {
        1 => (3, 9, false),
        2 => (4, 9, true),
        _ => (4, 49, true),
    };
    let mut terms = vec![stream.range(1, high)];
    let mut total = terms[0];
    while terms.len() < count {
        let size = stream.range(1, high);
        let term = if minus && size <= total && stream.chance(0.5) { -size } else { size };
        terms.push(term);
        total += term;
    }
    let mut steps = Sentences::default();
    let mut running = terms[0];
    for term in &terms[1..] {
        steps.show(format!("{running}{term:+}={}", running + term));
        running += term;
    }
    let expression: String = terms.iter().skip(1).map(|term| format!("{term:+}")).collect();
    let expression = format!("{}{expression}", terms[0]);
    let last = terms[count - 1];
    // The order of the terms does not change what is asked.
    let mut canonical = terms.clone();
    canonical.sort_unstable();
    Drawn {
        key: joined(&canonical, " "),
        kind: AnswerKind::Integer,
        answer: Both::same(total),
        questions: Questions::new(
            [
                format!("What is {expression}?"),
                format!("Compute {expression}."),
                format!("Find the value of {expression}."),
            ],
            [format!("{expression}等于多少？"), format!("计算{expression}。"), format!("求{expression}的值。")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{total}{:+}={}", -last, total - last)),
        people: Vec::new(),
    }
}

/// A time of day and what it is later: within the hour, past the hour, past midnight.
pub(super) fn clock(level: u8, stream: &mut Stream) -> Drawn {
    let minute = 5 * stream.range(1, 10);
    let (hour, later) = match level {
        1 => (stream.range(1, 22), 5 * stream.range(1, (55 - minute) / 5)),
        2 => (stream.range(1, 22), 5 * stream.range((60 - minute) / 5, 11)),
        _ => (stream.range(12, 23), 60 * stream.range(1, 9) + 5 * stream.range(1, 11)),
    };
    let (hours, minutes) = (later / 60, later % 60);
    let mut steps = Sentences::default();
    let sum = minute + minutes;
    steps.show(format!("{minute}+{minutes}={sum}"));
    let mut at_hour = hour + hours;
    if hours > 0 {
        steps.show(format!("{hour}+{hours}={at_hour}"));
    }
    if sum >= 60 {
        steps.show(format!("{sum}-60={}", sum - 60));
        steps.show(format!("{at_hour}+1={}", at_hour + 1));
        at_hour += 1;
    }
    if at_hour >= 24 {
        steps.show(format!("{at_hour}-24={}", at_hour - 24));
        at_hour -= 24;
    }
    let (now, then) = (format!("{hour}:{minute:02}"), format!("{at_hour}:{:02}", sum % 60));
    let (span, span_zh) = if hours > 0 {
        let plural = if hours > 1 { "s" } else { "" };
        (format!("{hours} hour{plural} {minutes} minutes"), format!("{hours}小时{minutes}分钟"))
    } else {
        (format!("{minutes} minutes"), format!("{minutes}分钟"))
    };
    Drawn {
        key: format!("{now}+{later}"),
        kind: AnswerKind::Clock,
        answer: Both::same(&then),
        questions: Questions::new(
            [
                format!("It is {now}. What time is it {span} later?"),
                format!("What time is {span} after {now}?"),
                format!("The clock shows {now}. What will it show in {span}?"),
            ],
            [
                format!("现在是{now}，{span_zh}后是几点？"),
                format!("{now}过{span_zh}是几点？"),
                format!("钟上是{now}，再过{span_zh}是几点？"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::only(format!("{span} before {then} is {now}"), format!("{then}之前{span_zh}是{now}")),
        people: Vec::new(),
    }
}

/// Decimal digits, the units first.
fn digits(n: i64) -> Vec<i64> {
    n.to_string().bytes().rev().map(|b| i64::from(b - b'0')).collect()
}

/// The digit in `column` from the right, 0 where the number has none.
fn digit(n: i64, column: usize) -> i64 {
    digits(n).get(column).copied().unwrap_or(0)
}

/// The larger and the smaller of two.
fn ordered(pair: Vec<i64>) -> (i64, i64) {
    (pair[0].max(pair[1]), pair[0].min(pair[1]))
}
