//! A problem, and the rule that decides to which split it belongs.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::answer::AnswerKind;
use crate::language::Language;

/// What a problem is for. Each has its own part of the space of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To train on.
    Train,
    /// To choose settings by.
    Development,
    /// To score the models of a finished run; nothing is ever chosen by them.
    Test,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Development, Split::Test];

    /// `train`, `development` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Development => "development",
            Split::Test => "test",
        }
    }

    /// The split to which a problem of `family` with the canonical parameters `key` belongs. The first eight bytes of
    /// SHA-256(family, key), read as a little-endian number, leave a rest when divided by 8: 0 is development, 1 is
    /// test, the others are training.
    ///
    /// Neither seed nor level, language nor wording enters, and parameters that ask the same thing (3+5 and 5+3) have
    /// one key. So no test question occurs in training in other words, in the other language or under another seed.
    pub fn of(family: &str, key: &str) -> Split {
        let mut hash = Sha256::new();
        hash.update(b"reseek-split/1\0");
        hash.update(family.as_bytes());
        hash.update([0]);
        hash.update(key.as_bytes());
        let digest = hash.finalize();
        let number = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        match number % 8 {
            0 => Split::Development,
            1 => Split::Test,
            _ => Split::Train,
        }
    }
}

/// One problem with its worked solution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `family/level/language/split/index`, such as `addition/1/en/train/17`.
    pub id: String,
    /// Name of the generator's family, or the family that a user's file gives.
    pub family: String,
    /// From 1, the easiest.
    pub level: u8,
    /// The language of the question; the answer's reasoning should be in it too.
    pub language: Language,
    /// What is asked, without a template.
    pub question: String,
    /// The gold answer, in the question's language.
    pub answer: String,
    /// How an answer is compared with the gold one.
    pub answer_kind: AnswerKind,
    /// The worked chain in the question's language, ending in the answer; empty where a user's file gives none.
    pub solution: String,
    /// The same chain in the other language. The answer itself, and names, stay as the question has them.
    pub solution_other: Option<String>,
    /// A check of the answer by another way, in the question's language.
    pub check: Option<String>,
    /// The split that its parameters put it into.
    pub split: Split,
}

impl Problem {
    /// The worked chain in the language that the question is not in; None for a user's problems.
    ///
    /// Web text mixes languages, so part of the pre-training mixture does; R1-Zero then mixes them when it reasons,
    /// as the R1 report says, and R1's language-consistency reward has something to mend.
    pub fn mixed_language_solution(&self) -> Option<&str> {
        self.solution_other.as_deref()
    }
}
