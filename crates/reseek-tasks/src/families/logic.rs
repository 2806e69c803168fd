//! Logic: formulas of truth values, orders of people.

use super::{Both, Drawn, Questions, Sentences, joined, people};
use crate::answer::AnswerKind;
use crate::stream::Stream;

/// A formula of truth values, as it is built: its text in both languages, its value, and a key that is the same for
/// operands in either order.
struct Formula {
    text: Both,
    value: bool,
    key: String,
}

impl Formula {
    /// true, false or a comparison, negated in one of three draws.
    fn literal(is_comparison: bool, stream: &mut Stream, steps: &mut Sentences) -> Formula {
        let value = stream.chance(0.5);
        let plain = if is_comparison {
            Formula::comparison(value, stream, steps)
        } else {
            Formula { text: truth(value), value, key: String::from(if value { "T" } else { "F" }) }
        };
        if stream.chance(1.0 / 3.0) { plain.negated(steps) } else { plain }
    }

    /// Two digits, of which one is the greater: without them level 1 would be 160 formulas.
    fn comparison(value: bool, stream: &mut Stream, steps: &mut Sentences) -> Formula {
        let digits = stream.distinct(2, 0, 9);
        let sign = if (digits[0] > digits[1]) == value { '>' } else { '<' };
        let text = format!("{}{sign}{}", digits[0], digits[1]);
        let told = truth(value);
        steps.say(format!("{text} is {}", told.english), format!("{text}是{}", told.chinese));
        // 5>3 and 3<5 say the same.
        let (high, low) = (digits[0].max(digits[1]), digits[0].min(digits[1]));
        let key = if value { format!("{high}>{low}") } else { format!("{low}>{high}") };
        Formula { text: Both::same(text), value, key }
    }

    fn negated(self, steps: &mut Sentences) -> Formula {
        let value = !self.value;
        let (before, after) = (truth(self.value), truth(value));
        steps.say(
            format!("not {} is {}", before.english, after.english),
            format!("非{}是{}", before.chinese, after.chinese),
        );
        let text = Both::new(format!("not {}", self.text.english), format!("非{}", self.text.chinese));
        Formula { text, value, key: format!("!{}", self.key) }
    }

    fn join(self, operator: Operator, right: Formula, steps: &mut Sentences) -> Formula {
        let (english, chinese) = operator.words();
        let value = operator.apply(self.value, right.value);
        let (a, b, c) = (truth(self.value), truth(right.value), truth(value));
        steps.say(
            format!("{} {english} {} is {}", a.english, b.english, c.english),
            format!("{}{chinese}{}是{}", a.chinese, b.chinese, c.chinese),
        );
        let text = Both::new(
            format!("{} {english} {}", self.text.english, right.text.english),
            format!("{}{chinese}{}", self.text.chinese, right.text.chinese),
        );
        let mut keys = [self.key, right.key];
        keys.sort_unstable();
        Formula { text, value, key: format!("({} {english} {})", keys[0], keys[1]) }
    }

    fn bracketed(mut self) -> Formula {
        self.text = Both::new(format!("({})", self.text.english), format!("({})", self.text.chinese));
        self
    }
}

#[derive(Clone, Copy)]
enum Operator {
    And,
    Or,
    Xor,
}

impl Operator {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Operator::And => ("and", "且"),
            Operator::Or => ("or", "或"),
            Operator::Xor => ("xor", "异或"),
        }
    }

    fn apply(self, a: bool, b: bool) -> bool {
        match self {
            Operator::And => a && b,
            Operator::Or => a || b,
            Operator::Xor => a != b,
        }
    }
}

fn truth(value: bool) -> Both {
    if value { Both::new("true", "真") } else { Both::new("false", "假") }
}

/// The value of a formula with one comparison of digits, inner parts first: `5>3 is true. not true is false. false or
/// true is true.`
pub(super) fn boolean(level: u8, stream: &mut Stream) -> Drawn {
    let operators: &[Operator] =
        if level == 3 { &[Operator::And, Operator::Or, Operator::Xor] } else { &[Operator::And, Operator::Or] };
    let mut steps = Sentences::default();
    // The place of the comparison among three literals, or four.
    let mut compared = stream.below(if level == 1 { 3 } else { 4 }) as i32;
    let mut literal = |stream: &mut Stream, steps: &mut Sentences| {
        compared -= 1;
        Formula::literal(compared == -1, stream, steps)
    };
    let mut pair = |stream: &mut Stream, steps: &mut Sentences| {
        let (a, b) = (literal(stream, steps), literal(stream, steps));
        a.join(*stream.pick(operators), b, steps).bracketed()
    };
    let mut left = pair(stream, &mut steps);
    if level == 3 && stream.chance(0.5) {
        left = left.negated(&mut steps);
    }
    let right = if level == 1 { literal(stream, &mut steps) } else { pair(stream, &mut steps) };
    let last = *stream.pick(operators);
    let (left_value, right_value) = (truth(left.value), truth(right.value));
    let (last_en, last_zh) = last.words();
    let formula = left.join(last, right, &mut steps);
    let (en, zh, value) = (&formula.text.english, &formula.text.chinese, truth(formula.value));
    // "and", "or" and "xor" do not change with the order of their operands.
    let check = Sentences::only(
        format!("{} {last_en} {} is {}", right_value.english, left_value.english, value.english),
        format!("{}{last_zh}{}是{}", right_value.chinese, left_value.chinese, value.chinese),
    );
    Drawn {
        key: formula.key,
        kind: AnswerKind::TrueFalse,
        questions: Questions::new(
            [format!("What is {en}?"), format!("Evaluate {en}."), format!("True or false: {en}?")],
            [format!("{zh}的值是什么？"), format!("求{zh}的值。"), format!("判断真假：{zh}。")],
        ),
        answer: value,
        steps: steps.done(),
        check,
        people: Vec::new(),
    }
}

/// Words of a comparison: comparative, superlative and their opposites; in Chinese the two adjectives.
type Relation = ([&'static str; 4], [&'static str; 2]);

const RELATIONS: [Relation; 3] = [
    (["taller", "tallest", "shorter", "shortest"], ["高", "矮"]),
    (["older", "oldest", "younger", "youngest"], ["大", "小"]),
    (["faster", "fastest", "slower", "slowest"], ["快", "慢"]),
];

/// People in an order that is told pair by pair; the question asks for one of them. Level 1 tells it in order.
pub(super) fn ordering(level: u8, stream: &mut Stream) -> Drawn {
    let count = if level == 1 { 3 } else { 4 };
    let people = people(count, stream);
    let relation = stream.below(RELATIONS.len());
    let facts = comparisons(level, count, &RELATIONS[relation], stream);
    let place = match level {
        1 | 2 => *stream.pick(&[0, count - 1]),
        _ => stream.below(count),
    };
    let asked = superlative(place, count, &RELATIONS[relation]);
    let chain = (0..count).map(|i| format!("@{i}")).collect::<Vec<_>>();
    let mut steps = Sentences::default();
    let order = joined(&chain, " > ");
    steps.say(format!("The order is {order}"), format!("顺序是{order}"));
    let (from, from_zh) = if place * 2 < count { ("front", "前") } else { ("end", "后") };
    let counted: Vec<&String> =
        if place * 2 < count { chain[..=place].iter().collect() } else { chain[place..].iter().rev().collect() };
    let row = joined(&counted, ", ");
    steps.say(format!("From the {from}: {row}"), format!("从{from_zh}数：{}", row.replace(", ", "，")));
    let (en, zh) = (&facts.english, &facts.chinese);
    let (above, below) = (place, count - 1 - place);
    Drawn {
        key: format!("{relation} {place} {}", joined(&people, " ")),
        kind: AnswerKind::Text,
        answer: Both::same(format!("@{place}")),
        questions: Questions::new(
            [
                format!("{en} Who is {}?", asked.english),
                format!("{en} Who is the {} of them?", asked.english),
                format!("Who is {}? {en}", asked.english),
            ],
            [
                format!("{zh}谁{}？", asked.chinese),
                format!("{zh}他们中谁{}？", asked.chinese),
                format!("谁{}？{zh}", asked.chinese),
            ],
        ),
        steps: steps.done(),
        check: Sentences::only(
            format!("{above} before @{place}, {below} after"),
            format!("@{place}前有{above}人，后有{below}人"),
        ),
        people,
    }
}

/// What is told: one comparison for each two neighbours in the order @0, @1, …
fn comparisons(level: u8, count: usize, relation: &Relation, stream: &mut Stream) -> Both {
    let ([more, _, less, _], [more_zh, less_zh]) = relation;
    let tell = |a: usize| {
        let b = a + 1;
        if level == 3 && stream.chance(0.5) {
            Both::new(format!("@{b} is {less} than @{a}."), format!("@{b}比@{a}{less_zh}。"))
        } else {
            Both::new(format!("@{a} is {more} than @{b}."), format!("@{a}比@{b}{more_zh}。"))
        }
    };
    let mut told: Vec<Both> = (0..count - 1).map(tell).collect();
    if level > 1 {
        stream.shuffle(&mut told);
    }
    let english: Vec<&str> = told.iter().map(|fact| fact.english.as_str()).collect();
    let chinese: String = told.iter().map(|fact| fact.chinese.as_str()).collect();
    Both::new(english.join(" "), chinese)
}

/// What the person at `place` of `count` is: tallest, second tallest, …, shortest.
fn superlative(place: usize, count: usize, relation: &Relation) -> Both {
    let ([_, most, _, least], [more_zh, less_zh]) = relation;
    match place {
        0 => Both::new(*most, format!("最{more_zh}")),
        1 => Both::new(format!("second {most}"), format!("第二{more_zh}")),
        _ if place == count - 1 => Both::new(*least, format!("最{less_zh}")),
        _ => Both::new(format!("second {least}"), format!("第二{less_zh}")),
    }
}
