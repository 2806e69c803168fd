//! The generators, one file an area (the puzzle of knights and knaves has its own). Each draws parameters and writes the problem that they make in both languages.
//!
//! Level 1 is meant for a model of a million parameters that reads one digit a token: questions of at most about 25
//! tokens and one regular procedure a family, in which every step copies or looks up something small.

mod arithmetic;
mod knights;
mod logic;
mod numbers;
mod words;

use crate::answer::AnswerKind;
use crate::family::Family;
use crate::language::Language;
use crate::stream::Stream;

/// Draws one problem of `family` at `level`.
pub(crate) fn draw(family: Family, level: u8, stream: &mut Stream) -> Drawn {
    match family {
        Family::Addition => arithmetic::addition(level, stream),
        Family::Subtraction => arithmetic::subtraction(level, stream),
        Family::Multiplication => arithmetic::multiplication(level, stream),
        Family::ChainSum => arithmetic::chain_sum(level, stream),
        Family::Clock => arithmetic::clock(level, stream),
        Family::Extreme => numbers::extreme(level, stream),
        Family::SortNumbers => numbers::sort_numbers(level, stream),
        Family::Gcd => numbers::gcd(level, stream),
        Family::Remainder => numbers::remainder(level, stream),
        Family::Divisible => numbers::divisible(level, stream),
        Family::Sequence => numbers::sequence(level, stream),
        Family::ReverseWord => words::reverse_word(level, stream),
        Family::LetterCount => words::letter_count(level, stream),
        Family::LetterAt => words::letter_at(level, stream),
        Family::SortLetters => words::sort_letters(level, stream),
        Family::ShiftLetters => words::shift_letters(level, stream),
        Family::Boolean => logic::boolean(level, stream),
        Family::Ordering => logic::ordering(level, stream),
        Family::KnightsKnaves => knights::knights_knaves(level, stream),
    }
}

/// A drawn problem, before its wording and language are chosen.
pub(crate) struct Drawn {
    /// Canonical parameters: the same for every wording, language, level and order that asks the same thing.
    pub key: String,
    pub kind: AnswerKind,
    pub answer: Both,
    /// Wordings of the question.
    pub questions: Questions,
    /// The worked chain without its conclusion.
    pub steps: Both,
    /// A check of the answer by another way.
    pub check: Both,
    /// People: `@0`, `@1`, … in the texts stand for these, by their index in [`NAMES`].
    pub people: Vec<usize>,
}

/// Wordings of one question; the two languages need not have equally many.
pub(crate) struct Questions {
    pub english: Vec<String>,
    pub chinese: Vec<String>,
}

/// People in the problems of logic. The Chinese ones are the heavenly stems, the textbooks' A, B, C, and the earthly
/// branches, which go on from there.
pub(crate) const NAMES: [(&str, &str); 22] = [
    ("Tom", "甲"),
    ("Ann", "乙"),
    ("Ben", "丙"),
    ("Sue", "丁"),
    ("Max", "戊"),
    ("Eve", "己"),
    ("Sam", "庚"),
    ("Kim", "辛"),
    ("Joe", "壬"),
    ("Amy", "癸"),
    ("Bob", "子"),
    ("Dan", "丑"),
    ("Fay", "寅"),
    ("Gus", "卯"),
    ("Ida", "辰"),
    ("Jim", "巳"),
    ("Leo", "午"),
    ("Mia", "未"),
    ("Ned", "申"),
    ("Pam", "酉"),
    ("Ron", "戌"),
    ("Zoe", "亥"),
];

/// `count` different people, by their index in [`NAMES`].
pub(crate) fn people(count: usize, stream: &mut Stream) -> Vec<usize> {
    let drawn = stream.distinct(count, 0, NAMES.len() as i64 - 1);
    drawn.into_iter().map(|person| person as usize).collect()
}

impl Drawn {
    /// `text` with the people's names as a question in `language` has them.
    pub(crate) fn named(&self, text: &str, language: Language) -> String {
        let mut named = text.to_string();
        for (place, &person) in self.people.iter().enumerate() {
            let (english, chinese) = NAMES[person];
            let name = match language {
                Language::English => english,
                Language::Chinese => chinese,
            };
            named = named.replace(&format!("@{place}"), name);
        }
        named
    }
}

impl Questions {
    pub(crate) fn new<const N: usize, const M: usize>(english: [String; N], chinese: [String; M]) -> Questions {
        Questions { english: english.into(), chinese: chinese.into() }
    }

    pub(crate) fn wordings(&self, language: Language) -> &[String] {
        match language {
            Language::English => &self.english,
            Language::Chinese => &self.chinese,
        }
    }
}

/// One text in both languages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Both {
    pub english: String,
    pub chinese: String,
}

impl Both {
    pub(crate) fn new(english: impl Into<String>, chinese: impl Into<String>) -> Both {
        Both { english: english.into(), chinese: chinese.into() }
    }

    /// A text without words, the same in both.
    pub(crate) fn same(text: impl ToString) -> Both {
        Both::new(text.to_string(), text.to_string())
    }

    pub(crate) fn get(&self, language: Language) -> &str {
        match language {
            Language::English => &self.english,
            Language::Chinese => &self.chinese,
        }
    }
}

/// Sentences in both languages, each ended by its language's full stop.
#[derive(Default)]
pub(crate) struct Sentences(Both);

impl Sentences {
    /// Adds a sentence; neither text has its full stop yet.
    pub(crate) fn say(&mut self, english: impl AsRef<str>, chinese: impl AsRef<str>) {
        let Both { english: en, chinese: zh } = &mut self.0;
        if !en.is_empty() {
            en.push(' ');
        }
        en.push_str(english.as_ref());
        en.push('.');
        zh.push_str(chinese.as_ref());
        zh.push('。');
    }

    /// Adds a sentence without words. Its `, ` becomes the Chinese comma.
    pub(crate) fn show(&mut self, text: impl AsRef<str>) {
        self.say(text.as_ref(), text.as_ref().replace(", ", "，"));
    }

    pub(crate) fn done(self) -> Both {
        self.0
    }

    /// A single sentence without words.
    pub(crate) fn one(text: impl AsRef<str>) -> Both {
        let mut sentences = Sentences::default();
        sentences.show(text);
        sentences.done()
    }

    /// A single sentence.
    pub(crate) fn only(english: impl AsRef<str>, chinese: impl AsRef<str>) -> Both {
        let mut sentences = Sentences::default();
        sentences.say(english, chinese);
        sentences.done()
    }
}

/// `items` with `separator` between them.
pub(crate) fn joined<T: ToString>(items: &[T], separator: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}
