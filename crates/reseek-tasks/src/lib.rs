//! Problems that can be checked by rule: seeded generators, their renderings, and verification.
//!
//! Item `i` comes from (family, level, language, split, seed, `i`) alone. Problems to train on, to choose settings by and
//! to test by are disjoint by construction: a hash of the canonical parameters decides, whatever the wording, language,
//! level or seed.
//! This room reads no file, prints nothing and knows no model.
//!
//! ```
//! use reseek_tasks::{Family, Language, Outcome, Split, accuracy, generate, zero_completion, zero_prompt};
//!
//! let problem = generate(Family::Addition, 1, Language::English, Split::Train, 1, 0);
//! let prompt = zero_prompt(&problem.question);
//! assert!(prompt.ends_with("Assistant:"));
//!
//! let completion = zero_completion(&problem.solution, &problem.answer);
//! assert_eq!(accuracy(&completion, &problem), Outcome::Correct);
//! assert!(reseek_tasks::format(&completion));
//! ```

#![deny(missing_docs)]

mod answer;
mod extract;
mod families;
mod family;
mod fingerprint;
mod general;
mod generate;
mod language;
mod number;
mod problem;
mod render;
mod space;
mod stream;
mod user;
mod verify;

pub use answer::{AnswerKind, normalise};
pub use extract::{EXTRACTIONS, Extraction, Judged, extraction};
pub use family::{Family, LEVELS, UnknownFamily};
pub use fingerprint::fingerprint;
pub use general::{Exchange, Flaw, PreferencePair, general, preference_pair};
pub use generate::{CHINESE_SHARE, MixError, TaskMix, generate, heldout_set, sample};
pub use language::{Language, language_share, language_share_quoting};
pub use problem::{Problem, Split};
pub use render::{FormMix, TEXTBOOK_FORMS, document, long_readable, textbook, zero_completion, zero_prompt};
pub use space::{Space, space, spaces};
pub use stream::Stream;
pub use user::{UserProblemError, parse_problems, parse_problems_in, question_key};
pub use verify::{
    ANSWER_BYTES_MAX, COMPLETION_BYTES_MAX, FormatError, JudgeFailure, Outcome, accuracy, compare, extract_answer,
    format, judge_completion, reasoning,
};
