//! A corpus: documents to train on, documents held out, and a user's problems.

use std::collections::BTreeSet;
use std::path::Path;

use reseek_tasks::Problem;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::clean::{DOCUMENT_BYTES_MIN, clean, copy_key, split_documents};
use crate::embedded;
use crate::error::DataError;
use crate::folder;
use crate::reading::Reading;

/// One document in this many is held out.
const HELDOUT_EVERY: u64 = 50;

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// Clean text: no control characters but line ends, no white space at its ends.
    pub text: String,
    /// Where it is from: `collection/title/part`, or a file's path in the user's folder.
    pub source: String,
}

impl Document {
    /// Decides whether the document is held out, by its text alone: SHA-256's first eight bytes, big-endian.
    fn hash(&self) -> u64 {
        let digest = Sha256::digest(self.text.as_bytes());
        u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}

/// All text of a run.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// To train on, in reading order.
    pub documents: Vec<Document>,
    /// Never trained on.
    pub heldout: Vec<Document>,
    /// Problems of the user's folder, empty if it has none.
    pub problems: Vec<Problem>,
    /// What was read from the user's folder; nothing of the compiled-in corpus.
    pub reading: Reading,
}

impl Corpus {
    /// The corpus that is compiled in.
    pub fn embedded() -> Self {
        let mut corpus = Self::default();
        corpus.divide(embedded::documents());
        corpus
    }

    /// A user's own data: every `.txt`, `.md` and `.jsonl` file under `folder`, in the order of their paths. A line of a
    /// `.jsonl` file is a document if the file's first line has a `text`, and a problem otherwise. A folder with
    /// problems only gets the embedded text.
    ///
    /// Problems of files (or folders) called train and test keep their sides, validation files are the test where there is
    /// no other, and a question that is held out is not trained on wherever else it stands. A hash of the question divides
    /// the problems of other files, and all where nothing is called test or validation. Text is always divided by a hash.
    ///
    /// # Errors
    /// An unreadable folder or file, a file that is not UTF-8, a malformed line, no usable text, tests and nothing to train
    /// on.
    pub fn from_folder(folder: &Path) -> Result<Self, DataError> {
        let found = folder::read(folder)?;
        let mut corpus = if found.documents.is_empty() && !found.problems.is_empty() {
            Self::embedded()
        } else {
            Self::from_documents(found.documents, &folder.display().to_string())?
        };
        corpus.problems = found.problems;
        let Reading { copies, too_short, .. } = corpus.reading;
        corpus.reading = Reading { copies, too_short, ..found.reading };
        Ok(corpus)
    }

    /// Texts with their sources.
    ///
    /// # Errors
    /// No usable text.
    pub fn from_texts<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, DataError> {
        let document = |(text, source): (&str, &str)| Document { text: text.to_owned(), source: source.to_owned() };
        Self::from_documents(texts.into_iter().map(document).collect(), "the given texts")
    }

    /// Cleans, cuts, removes copies and divides. `place` names the corpus in errors.
    fn from_documents(raw: Vec<Document>, place: &str) -> Result<Self, DataError> {
        let mut seen = BTreeSet::new();
        let mut documents = Vec::new();
        let mut reading = Reading::default();
        for Document { text, source } in raw {
            let text = clean(&text);
            let pieces = split_documents(&text);
            reading.too_short += usize::from(pieces.is_empty());
            for text in pieces {
                if seen.insert(Sha256::digest(copy_key(text))) {
                    documents.push(Document { text: text.to_owned(), source: source.clone() });
                } else {
                    reading.copies += 1;
                }
            }
        }
        if documents.len() < 2 {
            return Err(DataError::TooFewDocuments {
                place: place.to_owned(),
                documents: documents.len(),
                bytes_min: DOCUMENT_BYTES_MIN,
            });
        }
        let mut corpus = Self { reading, ..Self::default() };
        corpus.divide(documents);
        Ok(corpus)
    }

    /// Holds out every document whose hash is divisible by [`HELDOUT_EVERY`]; at least one (that of the smallest hash),
    /// and never all.
    fn divide(&mut self, documents: Vec<Document>) {
        let hashes: Vec<u64> = documents.iter().map(Document::hash).collect();
        let by_rule = hashes.iter().filter(|hash| hash.is_multiple_of(HELDOUT_EVERY)).count();
        let smallest = hashes.iter().min().copied();
        for (document, hash) in documents.into_iter().zip(&hashes) {
            let out = match by_rule {
                0 => Some(*hash) == smallest,
                n if n == hashes.len() => Some(*hash) == smallest,
                _ => hash.is_multiple_of(HELDOUT_EVERY),
            };
            if out { &mut self.heldout } else { &mut self.documents }.push(document);
        }
    }

    /// The same with other documents to train on.
    pub(crate) fn with_documents(&self, documents: Vec<Document>) -> Self {
        let Self { heldout, problems, reading, .. } = self;
        Self { documents, heldout: heldout.clone(), problems: problems.clone(), reading: reading.clone() }
    }

    /// Bytes of text to train on.
    pub fn bytes(&self) -> usize {
        self.documents.iter().map(|document| document.text.len()).sum()
    }

    /// SHA-256, in hexadecimal, of everything in the corpus: two runs with the same one read the same data.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for documents in [&self.documents, &self.heldout] {
            field(b"documents");
            for document in documents {
                field(document.text.as_bytes());
                field(document.source.as_bytes());
            }
        }
        for problem in &self.problems {
            field(&serde_json::to_vec(problem).expect("a problem can be written"));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `text` in pieces of at most `bytes_max` (at least 4) bytes that together are the text, cut at the end of a paragraph, line or word where
/// there is one in the second half.
pub(crate) fn passages(mut text: &str, bytes_max: usize) -> Vec<&str> {
    let mut found = Vec::new();
    while text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max);
        let middle = text.floor_char_boundary(bytes_max / 2);
        let boundary = |mark: &str| text[middle..end].rfind(mark).map(|at| middle + at + mark.len());
        let end = boundary("\n\n").or_else(|| boundary("\n")).or_else(|| boundary(" ")).unwrap_or(end);
        let (passage, rest) = text.split_at(end);
        found.push(passage);
        text = rest;
    }
    if !text.is_empty() {
        found.push(text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::passages;

    #[test]
    fn passages_are_the_text_and_end_where_a_reader_would_stop() {
        let text = "One line.\nAnother line of words\n\nA paragraph, 然後是一段沒有空格的中文。";
        for bytes_max in 4..80 {
            let cut = passages(text, bytes_max);
            assert_eq!(cut.concat(), text);
            assert!(cut.iter().all(|p| !p.is_empty() && p.len() <= bytes_max), "{bytes_max}: {cut:?}");
        }
        assert_eq!(passages("first words. second words.\nthird", 28), ["first words. second words.\n", "third"]);
        assert_eq!(passages("", 8), Vec::<&str>::new());
    }
}
