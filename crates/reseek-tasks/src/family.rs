//! The families of generated problems.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A family of generated problems, each with levels 1 to [`LEVELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// 47+35, in columns.
    Addition,
    /// 52-37, in columns.
    Subtraction,
    /// 34*3: two or three digits by one.
    Multiplication,
    /// 4+7-2: a running total.
    ChainSum,
    /// What time it is some minutes later.
    Clock,
    /// The largest or smallest of some numbers.
    Extreme,
    /// Numbers into order.
    SortNumbers,
    /// Greatest common divisor by Euclid's algorithm.
    Gcd,
    /// Remainder of a division.
    Remainder,
    /// Divisibility by a rule for the digits.
    Divisible,
    /// The next term of a sequence.
    Sequence,
    /// A word backwards.
    ReverseWord,
    /// How often a letter occurs.
    LetterCount,
    /// The letter at a place.
    LetterAt,
    /// Letters into alphabetical order.
    SortLetters,
    /// Each letter moved along the alphabet.
    ShiftLetters,
    /// The value of a formula of truth values.
    Boolean,
    /// Who is tallest, given who is taller than whom.
    Ordering,
    /// Who tells the truth.
    KnightsKnaves,
}

/// Every family has the levels 1 to `LEVELS`.
pub const LEVELS: u8 = 3;

/// A name that no family has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no task family {name:?}. The families are {}.", Family::ALL.map(Family::name).join(", "))]
pub struct UnknownFamily {
    /// What was asked for.
    pub name: String,
}

impl Family {
    /// Every family, in the order in which they are drawn from: another order would give other problems.
    pub const ALL: [Family; 19] = [
        Family::Addition,
        Family::Subtraction,
        Family::Multiplication,
        Family::ChainSum,
        Family::Clock,
        Family::Extreme,
        Family::SortNumbers,
        Family::Gcd,
        Family::Remainder,
        Family::Divisible,
        Family::Sequence,
        Family::ReverseWord,
        Family::LetterCount,
        Family::LetterAt,
        Family::SortLetters,
        Family::ShiftLetters,
        Family::Boolean,
        Family::Ordering,
        Family::KnightsKnaves,
    ];

    /// The name used in files, ids and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Family::Addition => "addition",
            Family::Subtraction => "subtraction",
            Family::Multiplication => "multiplication",
            Family::ChainSum => "chain_sum",
            Family::Clock => "clock",
            Family::Extreme => "extreme",
            Family::SortNumbers => "sort_numbers",
            Family::Gcd => "gcd",
            Family::Remainder => "remainder",
            Family::Divisible => "divisible",
            Family::Sequence => "sequence",
            Family::ReverseWord => "reverse_word",
            Family::LetterCount => "letter_count",
            Family::LetterAt => "letter_at",
            Family::SortLetters => "sort_letters",
            Family::ShiftLetters => "shift_letters",
            Family::Boolean => "boolean",
            Family::Ordering => "ordering",
            Family::KnightsKnaves => "knights_knaves",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(name: &str) -> Result<Family, UnknownFamily> {
        let found = Family::ALL.into_iter().find(|family| family.name() == name);
        found.ok_or_else(|| UnknownFamily { name: name.to_string() })
    }
}
