//! Needle documents: a fact hidden in real text whose sentence begins again at the end, for extending the context and
//! for checking that it was extended.
//!
//! ```text
//! … The code of Ann is 7. … The code of Ann is 7
//! ```
//!
//! The end has the fact's own words, as RULER's needles do (Hsieh et al. 2024), and the names are those of the problems
//! of logic, so that in a vocabulary of 2,048 most are one token: what a small model can learn of retrieval is to go on
//! as the text went on before.

use rayon::prelude::*;
use reseek_tasks::Stream;
use reseek_text::{Special, Tokenizer};

use crate::corpus::Corpus;
use crate::error::DataError;
use crate::stream::stream;

/// Text in which to hide, in bytes: far more than any context of a model that trains on this corpus.
const HAYSTACK_BYTES_MAX: usize = 400_000;

const NAMES: [&str; 10] = ["Tom", "Ann", "Ben", "Sue", "Max", "Eve", "Sam", "Kim", "Joe", "Amy"];

/// Sentences of a corpus, tokenized, to hide needles between.
#[derive(Clone, Debug)]
pub struct Haystack {
    sentences: Vec<Vec<u32>>,
}

/// A fact hidden in a long text, and its sentence begun again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// From the begin token to the blank before the number.
    pub prompt: Vec<u32>,
    /// The number: one token.
    pub answer: Vec<u32>,
    /// Where in the prompt the fact begins.
    pub position: usize,
}

/// Somebody's number.
struct Fact {
    name: &'static str,
    number: usize,
}

impl Fact {
    fn statement(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
        Ok(tokenizer.encode(&format!(" The code of {} is {}.", self.name, self.number))?)
    }

    /// Ends in a blank: a number stands alone among tokens, so the answer's tokens are the same behind it or apart.
    fn question(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
        Ok(tokenizer.encode(&format!(" The code of {} is ", self.name))?)
    }

    fn answer(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
        Ok(tokenizer.encode(&self.number.to_string())?)
    }
}

impl Haystack {
    /// Most facts in a document: each has a name of its own.
    pub const FACTS_MAX: usize = NAMES.len();
    /// Share of needles that one finds who guesses: numbers have one digit.
    pub const CHANCE: f64 = 0.1;

    /// Takes sentences from the corpus: from its mostly Latin documents without code, or from all if there are none.
    ///
    /// # Errors
    /// A corpus without a sentence; a text that the tokenizer refuses.
    pub fn new(corpus: &Corpus, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let texts = || corpus.documents.iter().map(|document| document.text.as_str());
        let prose: Vec<&str> = texts().filter(|text| is_latin_prose(text)).collect();
        let texts: Vec<&str> = if prose.is_empty() { texts().collect() } else { prose };
        let mut bytes = 0;
        let within = |sentence: &&str| {
            let begins_within = bytes <= HAYSTACK_BYTES_MAX;
            bytes += sentence.len();
            begins_within
        };
        let sentences: Vec<&str> = texts.into_iter().flat_map(split_sentences).take_while(within).collect();
        if sentences.is_empty() {
            return Err(DataError::NoHaystack);
        }
        let encoded: Result<_, _> =
            sentences.par_iter().map(|sentence| tokenizer.encode(&format!(" {sentence}"))).collect();
        Ok(Self { sentences: encoded? })
    }

    /// Needle `index` under `seed`: prompt and answer have `length` tokens together, and the fact stands between the
    /// two sentences nearest to `depth` (0: at the beginning of the text, 1: right before the question).
    ///
    /// # Errors
    /// A length in which fact and question do not fit.
    pub fn needle(
        &self,
        tokenizer: &Tokenizer,
        seed: u64,
        index: u64,
        length: usize,
        depth: f64,
    ) -> Result<Needle, DataError> {
        let mut stream = stream(seed, "needle", index);
        let fact = &draw_facts(&mut stream, 1)[0];
        let (statement, question, answer) =
            (fact.statement(tokenizer)?, fact.question(tokenizer)?, fact.answer(tokenizer)?);
        let fixed = 1 + statement.len() + question.len() + answer.len();
        let text = self.text(&mut stream, room(length, fixed)?);
        let mut prompt = vec![tokenizer.special(Special::Bos)?];
        let position = prompt.len() + hide(&mut prompt, &text, &[(depth, statement)])[0];
        prompt.extend(question);
        Ok(Needle { prompt, answer, position })
    }

    /// Training document `index` under `seed`, of exactly `length` tokens from begin to end: facts at random depths, and at
    /// the end the question and answer of each, in another order. It has `facts_max` facts, or as many as leave half of
    /// the length to the text, and at least one.
    ///
    /// # Errors
    /// A length in which a fact and its question do not fit.
    ///
    /// # Panics
    /// If `facts_max` is above [`FACTS_MAX`](Self::FACTS_MAX).
    pub fn document(
        &self,
        tokenizer: &Tokenizer,
        seed: u64,
        index: u64,
        length: usize,
        facts_max: usize,
    ) -> Result<Vec<u32>, DataError> {
        let mut stream = stream(seed, "needle document", index);
        let stop = tokenizer.encode(".")?;
        let (mut statements, mut answered) = (Vec::new(), Vec::new());
        let mut fixed = 2;
        for fact in draw_facts(&mut stream, facts_max) {
            let statement = fact.statement(tokenizer)?;
            let question = [fact.question(tokenizer)?, fact.answer(tokenizer)?, stop.clone()].concat();
            let with_it = fixed + statement.len() + question.len();
            if !answered.is_empty() && with_it > length / 2 {
                break;
            }
            fixed = with_it;
            statements.push((stream.uniform(), statement));
            answered.push(question);
        }
        stream.shuffle(&mut answered);
        let text = self.text(&mut stream, room(length, fixed)?);
        let mut document = vec![tokenizer.special(Special::Bos)?];
        hide(&mut document, &text, &statements);
        document.extend(answered.concat());
        document.push(tokenizer.special(Special::Eos)?);
        Ok(document)
    }

    /// Consecutive sentences of exactly `n_tokens` tokens together, from a random place; the first loses its beginning.
    /// After the last sentence of the corpus comes its first.
    fn text(&self, stream: &mut Stream, n_tokens: usize) -> Vec<&[u32]> {
        let start = stream.below(self.sentences.len());
        let mut sentences: Vec<&[u32]> = Vec::new();
        let mut total = 0;
        for sentence in self.sentences.iter().cycle().skip(start) {
            if total >= n_tokens {
                break;
            }
            total += sentence.len();
            sentences.push(sentence);
        }
        let mut surplus = total - n_tokens;
        for sentence in &mut sentences {
            let cut = surplus.min(sentence.len());
            *sentence = &sentence[cut..];
            surplus -= cut;
        }
        sentences.retain(|sentence| !sentence.is_empty());
        sentences
    }
}

/// Appends `text` to `tokens` with each statement at the boundary between sentences nearest to its depth. Returns how
/// many tokens after the former end of `tokens` each statement begins.
fn hide(tokens: &mut Vec<u32>, text: &[&[u32]], statements: &[(f64, Vec<u32>)]) -> Vec<usize> {
    let start = tokens.len();
    let mut boundaries = vec![0];
    for sentence in text {
        boundaries.push(boundaries[boundaries.len() - 1] + sentence.len());
    }
    let n_tokens = boundaries[text.len()];
    let nearest = |depth: f64| {
        let wanted = (depth.clamp(0.0, 1.0) * n_tokens as f64) as usize;
        (0..boundaries.len()).min_by_key(|&i| boundaries[i].abs_diff(wanted)).expect("there is boundary 0")
    };
    let places: Vec<usize> = statements.iter().map(|(depth, _)| nearest(*depth)).collect();
    let mut positions = vec![0; statements.len()];
    for boundary in 0..boundaries.len() {
        for (i, (_, statement)) in statements.iter().enumerate() {
            if places[i] == boundary {
                positions[i] = tokens.len() - start;
                tokens.extend_from_slice(statement);
            }
        }
        if let Some(sentence) = text.get(boundary) {
            tokens.extend_from_slice(sentence);
        }
    }
    positions
}

/// Tokens that are left for the text.
fn room(length: usize, fixed: usize) -> Result<usize, DataError> {
    length.checked_sub(fixed).ok_or(DataError::NeedleLength { tokens: fixed, asked: length })
}

/// `n` facts about different people; numbers have one digit.
fn draw_facts(stream: &mut Stream, n: usize) -> Vec<Fact> {
    assert!(n <= NAMES.len(), "{n} facts, but there are only {} names", NAMES.len());
    let mut names = NAMES;
    stream.shuffle(&mut names);
    names[..n].iter().map(|name| Fact { name, number: stream.below(10) }).collect()
}

fn is_latin_prose(text: &str) -> bool {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    ascii * 10 >= text.len() * 9 && !text.contains("```")
}

/// Sentences and lines, each with its mark.
fn split_sentences(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines();
    let sentences =
        lines.flat_map(|line| line.split_inclusive(". ").flat_map(|part| part.split_inclusive(['。', '！', '？'])));
    sentences.map(str::trim).filter(|sentence| !sentence.is_empty())
}
