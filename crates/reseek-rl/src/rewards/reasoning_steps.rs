//! Whether the reasoning goes in steps that can be told apart (Open R1).

use std::collections::BTreeSet;

use reseek_tasks::reasoning;

use super::{Answer, Grade, Graded, Question, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "reasoning_steps",
    about: "a third for each different step of the reasoning, three at most: a line that begins with `Step 1:`, `1.`, `- `, `* ` or `First,` and \
            goes on with three words at least. The same step said again is none",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(grade),
};

fn grade(answer: &Answer) -> Graded {
    match answer.question {
        Question::Problem(_) => Graded::Earned((steps(reasoning(answer.text)) as f64 / 3.0).min(1.0)),
        Question::General { .. } => Graded::NotAsked,
    }
}

/// Words that begin a step, with the comma behind them.
const OPENERS: [&str; 8] = ["first,", "second,", "third,", "next,", "then,", "finally,", "首先，", "然后，"];

/// Words of a step at least: a marker alone is no step.
const WORDS: usize = 3;

/// Different steps.
fn steps(text: &str) -> usize {
    let bodies = text.lines().filter_map(|line| {
        let line = line.trim().to_lowercase();
        let body = body(&line)?.trim();
        // A Chinese character is a word.
        let words = body.split_whitespace().map(|word| if word.is_ascii() { 1 } else { word.chars().count() });
        (words.sum::<usize>() >= WORDS).then(|| body.to_string())
    });
    bodies.collect::<BTreeSet<_>>().len()
}

/// What stands behind the marker of a step.
fn body(line: &str) -> Option<&str> {
    if let Some(body) = OPENERS.iter().chain(&["- ", "* "]).find_map(|opener| line.strip_prefix(opener)) {
        return Some(body);
    }
    let (numbered, ends) = match line.strip_prefix("step ") {
        Some(rest) => (rest, [':', '.']),
        None => (line, ['.', ')']),
    };
    let digits = numbered.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 3 {
        return None;
    }
    let rest = numbered[digits..].strip_prefix(ends)?;
    // 1.5 begins no step.
    (!rest.starts_with(|c: char| c.is_ascii_digit())).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_are_lines_that_differ() {
        for (text, expect) in [
            ("Step 1: add two and three\nStep 2: take away the four", 2),
            ("1. add two and three\n2) take one of them", 2),
            ("- add two and three\n* take one of them", 2),
            ("First, add two and three\nFinally, take one of them", 2),
            ("首先，把两个数相加\n然后，减去第三个数", 2),
            // What a policy would try.
            ("First,\nSecond,\nNext,\nFinally,", 0),
            ("1. a b c\n2. a b c\n3. a b c", 1),
            ("First, First, First, First, First,", 1),
            ("1.5 times two is three", 0),
            ("12345. add two and three", 0),
            ("", 0),
        ] {
            assert_eq!(steps(text), expect, "{text}");
        }
    }
}
