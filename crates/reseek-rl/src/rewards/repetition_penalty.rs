//! What is said again and again (Yeo et al. 2025, arXiv 2502.03373, appendix; Open R1).

use std::collections::HashSet;

use super::{Answer, Grade, Graded, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "repetition_penalty",
    about: "−(1 − different/all) of the runs of three words, a Chinese character being a word: 0 where none comes twice, and where there are fewer \
            than three words",
    range: (-1.0, 0.0),
    learned: false,
    grade: Grade::Each(|answer: &Answer| Graded::Earned(of(answer.text))),
};

/// Words of a run.
const RUN: usize = 3;

fn of(text: &str) -> f64 {
    let text = text.to_lowercase();
    let mut words: Vec<&str> = Vec::new();
    for part in text.split_whitespace() {
        if part.is_ascii() {
            words.push(part);
        } else {
            words.extend(part.char_indices().map(|(at, c)| &part[at..at + c.len_utf8()]));
        }
    }
    let runs = words.windows(RUN);
    let all = runs.len();
    match all {
        0 => 0.0,
        all => runs.collect::<HashSet<_>>().len() as f64 / all as f64 - 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn runs_that_come_again_cost() {
        for (text, expect) in [
            ("one two three four", 0.0),
            ("a b", 0.0),
            ("", 0.0),
            ("so so so so so", 1.0 / 3.0 - 1.0),
            ("So SO so so so", 1.0 / 3.0 - 1.0),
            // a b c, b c a, c a b, a b c
            ("a b c a b c", 3.0 / 4.0 - 1.0),
            ("我们我们我们", 2.0 / 4.0 - 1.0),
        ] {
            assert!((of(text) - expect).abs() < 1e-12, "{text}: {}", of(text));
        }
    }
}
