//! Number theory: order, divisors, remainders, sequences.

use super::{Both, Drawn, Questions, Sentences, joined};
use crate::answer::AnswerKind;
use crate::stream::Stream;

/// The largest or smallest of some numbers, by keeping the best so far: `34<51, keep 51. 51>17, keep 51.`
pub(super) fn extreme(level: u8, stream: &mut Stream) -> Drawn {
    let numbers = match level {
        1 => stream.distinct(3, 10, 99),
        2 => stream.distinct(4, 10, 99),
        _ => {
            let base = 100 * stream.range(1, 9);
            stream.distinct(4, base, base + 99)
        }
    };
    let largest = stream.chance(0.5);
    let mut steps = Sentences::default();
    let mut best = numbers[0];
    for &next in &numbers[1..] {
        let sign = if best < next { '<' } else { '>' };
        let kept = if largest { best.max(next) } else { best.min(next) };
        steps.say(format!("{best}{sign}{next}, keep {kept}"), format!("{best}{sign}{next}，留{kept}"));
        best = kept;
    }
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    let list = joined(&numbers, ", ");
    let (word, word_zh, sign) = if largest { ("largest", "最大", '>') } else { ("smallest", "最小", '<') };
    let others: Vec<i64> = numbers.iter().copied().filter(|&n| n != best).collect();
    let check = others.iter().map(|n| format!("{best}{sign}{n}")).collect::<Vec<_>>();
    Drawn {
        key: format!("{word} {}", joined(&sorted, " ")),
        kind: AnswerKind::Integer,
        answer: Both::same(best),
        questions: Questions::new(
            [
                format!("Which is {word}: {list}?"),
                format!("What is the {word} of {list}?"),
                format!("Find the {word} number: {list}."),
            ],
            [
                format!("{list}中哪个{word_zh}？"),
                format!("求{list}中{word_zh}的数。"),
                format!("找出{word_zh}的数：{list}。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::one(joined(&check, ", ")),
        people: Vec::new(),
    }
}

/// Numbers into order by taking the least (or greatest) of the rest again and again.
pub(super) fn sort_numbers(level: u8, stream: &mut Stream) -> Drawn {
    let numbers = match level {
        1 => stream.distinct(3, 1, 30),
        2 => stream.distinct(3, 10, 99),
        _ => stream.distinct(4, 10, 99),
    };
    let rising = level == 1 || stream.chance(0.5);
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    let key = joined(&sorted, " ");
    if !rising {
        sorted.reverse();
    }
    let mut steps = Sentences::default();
    let mut rest = numbers.clone();
    for &taken in &sorted {
        let left = joined(&rest, ",");
        steps.say(format!("From {left} take {taken}"), format!("从{left}取{taken}"));
        rest.retain(|&n| n != taken);
    }
    // Without spaces: each would cost a nano model a token, and two-digit numbers do not look like thousands.
    let list = joined(&numbers, ",");
    let (order, order_zh, sign) =
        if rising { ("small to large", "从小到大", "<") } else { ("large to small", "从大到小", ">") };
    Drawn {
        key: format!("{order_zh} {key}"),
        kind: AnswerKind::List,
        answer: Both::same(joined(&sorted, ",")),
        questions: Questions::new(
            [
                format!("Sort from {order}: {list}."),
                format!("Put {list} in order from {order}."),
                format!("Write {list} from {order}."),
            ],
            [
                format!("把{list}{order_zh}排列。"),
                format!("{order_zh}排序：{list}。"),
                format!("将{list}按{order_zh}写出。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::one(joined(&sorted, sign)),
        people: Vec::new(),
    }
}

/// Greatest common divisor by Euclid's algorithm: `18=1*12+6. 12=2*6+0.`
pub(super) fn gcd(level: u8, stream: &mut Stream) -> Drawn {
    let (factor_max, part_max, steps_max) = match level {
        1 => (9, 9, 2),
        2 => (12, 12, 3),
        _ => (25, 15, 4),
    };
    let (a, b, rows) = loop {
        let factor = stream.range(1, factor_max);
        let parts = stream.distinct(2, 1, part_max);
        let (a, b) = (factor * parts[0].max(parts[1]), factor * parts[0].min(parts[1]));
        let rows = euclid(a, b);
        if b > 1 && rows.len() <= steps_max {
            break (a, b, rows);
        }
    };
    let mut steps = Sentences::default();
    for &[n, d, quotient, rest] in &rows {
        steps.show(format!("{n}={quotient}*{d}+{rest}"));
    }
    let divisor = rows[rows.len() - 1][1];
    steps.say("The rest is 0", "余数是0");
    let (x, y) = if stream.chance(0.5) { (a, b) } else { (b, a) };
    Drawn {
        key: format!("{a} {b}"),
        kind: AnswerKind::Integer,
        answer: Both::same(divisor),
        questions: Questions::new(
            [
                format!("What is the greatest common divisor of {x} and {y}?"),
                format!("Find gcd({x}, {y})."),
                format!("Find the greatest common divisor of {x} and {y}."),
            ],
            [
                format!("{x}和{y}的最大公约数是多少？"),
                format!("求{x}与{y}的最大公约数。"),
                format!("求gcd({x}, {y})。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{a}={divisor}*{}, {b}={divisor}*{}", a / divisor, b / divisor)),
        people: Vec::new(),
    }
}

/// Rows [n, d, quotient, rest] of Euclid's algorithm for a > b > 0; the last rest is 0.
fn euclid(a: i64, b: i64) -> Vec<[i64; 4]> {
    let mut rows = vec![[a, b, a / b, a % b]];
    while let [_, d, _, rest] = rows[rows.len() - 1]
        && rest != 0
    {
        rows.push([d, rest, d / rest, d % rest]);
    }
    rows
}

/// The remainder of a division by one digit, digit by digit from the left: `7*5=35, 37-35=2. 7*3=21, 24-21=3.` Level 1
/// needs one step of the multiplication table.
pub(super) fn remainder(level: u8, stream: &mut Stream) -> Drawn {
    let (n, d) = match level {
        1 => {
            let d = stream.range(3, 9);
            (stream.range(10, 10 * d - 1), d)
        }
        2 => {
            let d = stream.range(2, 8);
            (stream.range(10 * d, 99), d)
        }
        _ => (stream.range(100, 999), stream.range(3, 9)),
    };
    let mut steps = Sentences::default();
    let (mut rest, mut has_begun) = (0, false);
    for digit in n.to_string().bytes().map(|b| i64::from(b - b'0')) {
        let part = 10 * rest + digit;
        rest = part % d;
        // A first digit below the divisor only joins the next one.
        has_begun |= part >= d;
        if has_begun {
            let taken = part - rest;
            steps.show(format!("{d}*{}={taken}, {part}-{taken}={rest}", part / d));
        }
    }
    Drawn {
        key: format!("{n}%{d}"),
        kind: AnswerKind::Integer,
        answer: Both::same(rest),
        questions: Questions::new(
            [
                format!("What is the remainder of {n} divided by {d}?"),
                format!("Divide {n} by {d}. What remains?"),
                format!("What is {n} mod {d}?"),
            ],
            [format!("{n}除以{d}的余数是多少？"), format!("求{n}除以{d}的余数。"), format!("{n}除以{d}余几？")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{d}*{}+{rest}={n}", n / d)),
        people: Vec::new(),
    }
}

/// Divisibility by a rule: last digit (2, 5), sum of the digits (3, 9), last two digits (4).
pub(super) fn divisible(level: u8, stream: &mut Stream) -> Drawn {
    let d = *match level {
        1 => stream.pick(&[2, 5]),
        2 => stream.pick(&[3, 9]),
        _ => stream.pick(&[4, 9]),
    };
    // Three digits alone would be 1,800 problems a level.
    let (low, high) = if level == 3 || stream.below(3) == 0 { (1000, 9999) } else { (100, 999) };
    // Half of the answers are yes, whatever the divisor.
    let is_divisible = stream.chance(0.5);
    let n = loop {
        let n = stream.range(low, high);
        if (n % d == 0) == is_divisible {
            break n;
        }
    };
    let mut steps = Sentences::default();
    let part = match d {
        2 | 5 => n % 10,
        4 => n % 100,
        _ => n.to_string().bytes().map(|b| i64::from(b - b'0')).sum(),
    };
    match d {
        2 | 5 => steps.say(format!("The last digit is {part}"), format!("末位是{part}")),
        4 => steps.say(format!("The last two digits make {part}"), format!("末两位是{part}")),
        _ => {
            let spread = n.to_string().chars().map(String::from).collect::<Vec<_>>().join("+");
            steps.say(format!("Digits: {spread}={part}"), format!("各位：{spread}={part}"));
        }
    }
    let rest = part % d;
    steps.say(
        format!("{part}={}*{d}+{rest}, the rest is {rest}", part / d),
        format!("{part}={}*{d}+{rest}，余数是{rest}", part / d),
    );
    Drawn {
        key: format!("{d}|{n}"),
        kind: AnswerKind::YesNo,
        answer: if is_divisible { Both::new("yes", "是") } else { Both::new("no", "否") },
        questions: Questions::new(
            [
                format!("Is {n} divisible by {d}?"),
                format!("Does {d} divide {n}?"),
                format!("Is {n} a multiple of {d}?"),
            ],
            [format!("{n}是否能被{d}整除？"), format!("{n}是不是{d}的倍数？"), format!("{d}是否整除{n}？")],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{}*{d}+{}={n}", n / d, n % d)),
        people: Vec::new(),
    }
}

/// The next term: equal differences (levels 1 and 2), differences that grow evenly (level 3).
pub(super) fn sequence(level: u8, stream: &mut Stream) -> Drawn {
    let (start, step, growth) = match level {
        1 => (stream.range(1, 30), stream.range(1, 9), 0),
        2 if stream.chance(0.5) => (stream.range(46, 99), -stream.range(2, 11), 0),
        2 => (stream.range(10, 60), stream.range(6, 15), 0),
        _ => (stream.range(1, 20), stream.range(1, 9), stream.range(1, 4)),
    };
    let mut terms = vec![start];
    for i in 0..4 {
        terms.push(terms[i as usize] + step + i * growth);
    }
    let next = terms.pop().expect("five terms");
    let mut steps = Sentences::default();
    for pair in terms.windows(2) {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        steps.show(format!("{high}-{low}={}", high - low));
    }
    let (last, change) = (terms[3], next - terms[3]);
    steps.show(format!("{last}{change:+}={next}"));
    let list = joined(&terms, ", ");
    Drawn {
        key: joined(&terms, " "),
        kind: AnswerKind::Integer,
        answer: Both::same(next),
        questions: Questions::new(
            [
                format!("What comes next: {list}?"),
                format!("What is the next number in {list}?"),
                format!("Continue the sequence {list} by one number."),
            ],
            [
                format!("{list}的下一个数是多少？"),
                format!("数列{list}接下来是几？"),
                format!("写出{list}之后的一个数。"),
            ],
        ),
        steps: steps.done(),
        check: Sentences::one(format!("{next}{:+}={last}", -change)),
        people: Vec::new(),
    }
}
