//! What was read from a user's folder and on which side it lies, for people to see before anything is done with it.

/// A folder as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Files with text or problems, by their paths.
    pub files: Vec<FileReading>,
    /// Files with other endings.
    pub passed_over: Vec<String>,
    /// Pieces of text that say the same as one before them, letter by letter.
    pub copies: usize,
    /// Texts of which less than a document's least length is left after cleaning.
    pub too_short: usize,
    /// Problems left out of training because their question is held out.
    pub asked_in_test: usize,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReading {
    /// Path under the folder, with `/` between its parts.
    pub name: String,
    /// What was in it.
    pub holds: Holds,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// So many texts. A hash of each document's text decides which are held out.
    Texts(usize),
    /// So many problems, on the side that the file's name says.
    Problems(usize, Side),
}

/// What the problems of a file are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The name says nothing: a hash of each question decides.
    ByHash,
    /// To train on.
    Train,
    /// To test by: never trained on.
    Test,
    /// A validation file beside a test file: settings are chosen by it.
    Development,
}

/// Words in a file's or folder's name that say what its problems are for.
const TRAIN: [&str; 3] = ["train", "training", "trainset"];
const TEST: [&str; 6] = ["test", "tests", "testset", "testing", "heldout", "holdout"];
const VALIDATION: [&str; 8] = ["validation", "valid", "val", "dev", "devset", "development", "eval", "evaluation"];

/// What a name says of a file, before the other files are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Train,
    Test,
    Validation,
    Nothing,
}

/// Reads a path such as `gsm8k/train.jsonl`, `my_test-2.jsonl` or `test/0001.jsonl`: the file's own name first, then its folders' from the
/// inside out. A name that says two things says nothing.
pub(crate) fn named(path: &str) -> Named {
    let of_part = |part: &str| {
        let part = part.to_lowercase().replace("held_out", "heldout").replace("held-out", "heldout");
        let words =
            part.split(|c: char| !c.is_alphanumeric()).map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
        let words: Vec<&str> = words.collect();
        let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
        match (has(&TRAIN), has(&TEST), has(&VALIDATION)) {
            (true, false, false) => Named::Train,
            (false, true, false) => Named::Test,
            (false, false, true) => Named::Validation,
            _ => Named::Nothing,
        }
    };
    path.rsplit('/').map(of_part).find(|named| *named != Named::Nothing).unwrap_or(Named::Nothing)
}

/// The side of each file, by all of their names. Validation files are the test where there is no other; where nothing is named as the test,
/// training files are divided by hash like the rest, as something must be held out.
pub(crate) fn sides(names: &[Named]) -> Vec<Side> {
    let has = |named| names.contains(&named);
    let side = |named: &Named| match named {
        Named::Test => Side::Test,
        Named::Validation if has(Named::Test) => Side::Development,
        Named::Validation => Side::Test,
        Named::Train if has(Named::Test) || has(Named::Validation) => Side::Train,
        Named::Train | Named::Nothing => Side::ByHash,
    };
    names.iter().map(side).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are_for() {
        for (path, expect) in [
            ("train.jsonl", Named::Train),
            ("gsm8k/Test.JSONL", Named::Test),
            ("train-00000-of-00001.jsonl", Named::Train),
            ("my_test2.jsonl", Named::Test),
            ("test/0001.jsonl", Named::Test),
            ("held_out.jsonl", Named::Test),
            ("dev.jsonl", Named::Validation),
            ("math/validation/a.jsonl", Named::Validation),
            ("train/test.jsonl", Named::Test),
            ("train_test.jsonl", Named::Nothing),
            ("contest.jsonl", Named::Nothing),
            ("strain.jsonl", Named::Nothing),
            ("problems.jsonl", Named::Nothing),
        ] {
            assert_eq!(named(path), expect, "{path}");
        }
    }

    #[test]
    fn something_is_held_out_and_validation_is_the_test_where_there_is_no_other() {
        use Named::{Nothing, Test, Train, Validation};
        assert_eq!(sides(&[Train, Test]), [Side::Train, Side::Test]);
        assert_eq!(sides(&[Train, Nothing]), [Side::ByHash, Side::ByHash]);
        assert_eq!(sides(&[Train, Validation]), [Side::Train, Side::Test]);
        assert_eq!(sides(&[Train, Validation, Test]), [Side::Train, Side::Development, Side::Test]);
        assert_eq!(sides(&[Nothing, Test]), [Side::ByHash, Side::Test]);
    }
}
