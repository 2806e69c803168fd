//! What can go wrong with data, each with the place and the mend.

use std::path::PathBuf;

use reseek_tasks::{MixError, UserProblemError};
use reseek_text::TextError;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum DataError {
    /// A folder or file that cannot be read.
    #[error("{}: {source}. Check the path and its permissions.", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A folder without any file that could be data.
    #[error(
        "{}: no .txt, .md or .jsonl file in the folder ({ignored} other files). Put text or problems there.", path.display()
    )]
    NoFiles { path: PathBuf, ignored: usize },
    /// A file that is not UTF-8.
    #[error("{}: byte {offset} is not UTF-8. Convert the file, as with `iconv -t UTF-8`.", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    /// A line of a file of documents that is not a document.
    #[error(
        "{}:{line}: {reason}. Each line is {{\"text\": \"...\"}}, and optionally \"source\".", path.display()
    )]
    BadLine { path: PathBuf, line: usize, reason: String },
    /// A file of problems with a mistake in it.
    #[error(transparent)]
    Problems(#[from] UserProblemError),
    /// Text of which nothing is left after cleaning.
    #[error(
        "{place}: {documents} usable documents, at least 2 are needed (one to train on, one held out). \
         Add text in pieces of at least {bytes_min} bytes that are not copies of each other."
    )]
    TooFewDocuments { place: String, documents: usize, bytes_min: usize },
    /// A setting of the mixture that cannot be used.
    #[error("{key} is {value}, which is not {expected}. {hint}")]
    Setting { key: &'static str, value: String, expected: &'static str, hint: &'static str },
    /// A task mixture that cannot be drawn from.
    #[error(transparent)]
    TaskMix(#[from] MixError),
    /// A cursor that does not fit the mixture.
    #[error(
        "the data cursor stands at token {offset} of item {item}, which has {tokens} tokens. \
         Corpus, tokenizer, seed and mixture must be those of the run that wrote the cursor."
    )]
    Cursor { item: u64, offset: u64, tokens: usize },
    /// A needle document that does not fit its length.
    #[error("a needle document needs at least {tokens} tokens, {asked} were asked for. Raise the length.")]
    NeedleLength { tokens: usize, asked: usize },
    /// A corpus without text to hide needles in.
    #[error("the corpus has no sentence to hide needles in. Add prose, or set needles.share to 0.")]
    NoHaystack,
    /// Problems that cannot be divided into training and held out.
    #[error(
        "the folder has {problems} usable problems, at least 2 are needed (one to train on, one held out). \
         Add problems, or leave them out altogether to use the generated ones."
    )]
    TooFewProblems { problems: usize },
    /// A folder whose files are all named as tests.
    #[error(
        "{}: every problem is held out, as its file is named test, and {left_out} more are asked there too. Nothing is left to train on. Add \
         a file named train.jsonl with other questions, or give the file another name to have its problems divided by a hash.",
        path.display()
    )]
    OnlyTests { path: PathBuf, left_out: usize },
    /// The tokenizer refused.
    #[error(transparent)]
    Text(#[from] TextError),
}
