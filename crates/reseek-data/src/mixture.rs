//! The pre-training mixture: corpus documents, worked problems, and needle documents for the extension phase.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use reseek_tasks::{FormMix, Problem, document};
use reseek_text::{Special, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::error::DataError;
use crate::fim;
use crate::interleave::Interleave;
use crate::needle::Haystack;
use crate::problems::Problems;
use crate::stream::{permutation, stream};
use crate::tokenized::TokenizedCorpus;

/// The stage whose problems a mixture has where no other is named.
const PRETRAIN: &str = "pretrain";

/// Problems whose mean length stands for all.
const PROBLEMS_MEASURED: u64 = 512;

/// What a mixture is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureSpec {
    /// Share of tokens in worked problems, in [0, 1].
    pub problem_share: f64,
    /// Share of corpus documents that are turned into fill-in-the-middle ones, in [0, 1]. DeepSeek-V3: 0.1.
    pub fim_rate: f64,
    /// The forms of worked problems.
    pub forms: FormMix,
    /// Needle documents, for the extension phase.
    pub needles: NeedleSpec,
}

/// Needle documents in a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeedleSpec {
    /// Share of tokens in needle documents, in [0, 1].
    pub share: f64,
    /// Length of each in tokens.
    pub tokens: usize,
    /// Facts hidden in each, every one of them asked for at the end; fewer where they would fill more than half.
    pub facts: usize,
}

impl Default for MixtureSpec {
    fn default() -> Self {
        Self { problem_share: 0.4, fim_rate: 0.1, forms: FormMix::default(), needles: NeedleSpec::default() }
    }
}

impl Default for NeedleSpec {
    fn default() -> Self {
        Self { share: 0.0, tokens: 1024, facts: Haystack::FACTS_MAX }
    }
}

impl MixtureSpec {
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), DataError> {
        let share = |key, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(DataError::Setting {
                key,
                value: value.to_string(),
                expected: "a share from 0 to 1",
                hint: "0.1 is one in ten.",
            }),
        };
        share("problem_share", self.problem_share)?;
        share("fim_rate", self.fim_rate)?;
        share("forms.conversation_share", self.forms.conversation_share)?;
        share("forms.mixed_language_share", self.forms.mixed_language_share)?;
        share("needles.share", self.needles.share)?;
        if self.problem_share + self.needles.share > 1.0 {
            return Err(DataError::Setting {
                key: "problem_share + needles.share",
                value: (self.problem_share + self.needles.share).to_string(),
                expected: "at most 1",
                hint: "The rest of the tokens is the corpus.",
            });
        }
        if self.needles.facts == 0 || self.needles.facts > Haystack::FACTS_MAX {
            return Err(DataError::Setting {
                key: "needles.facts",
                value: self.needles.facts.to_string(),
                expected: "a number from 1 to 10",
                hint: "Each fact has a name of its own.",
            });
        }
        Ok(())
    }
}

/// What an item of the mixture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemKind {
    /// A document of the corpus.
    Corpus,
    /// A document of the corpus in PSM order.
    Fim,
    /// A worked problem.
    Problem,
    /// A needle document.
    Needle,
}

/// Which document an item is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Corpus { document: usize, item: u64 },
    Problem(u64),
    Needle(u64),
}

/// An endless sequence of tokenized documents; item `i` depends on the seed and on `i` alone.
#[derive(Clone, Debug)]
pub struct Mixture {
    documents: Arc<TokenizedCorpus>,
    problems: Arc<Problems>,
    tokenizer: Arc<Tokenizer>,
    haystack: Option<Haystack>,
    spec: MixtureSpec,
    seed: u64,
    /// The stage that reads it, by which its problems are drawn.
    stage: String,
    /// Corpus documents among all items.
    corpus_items: Interleave,
    /// Needle documents among the other items.
    needle_items: Interleave,
    /// The order of the corpus in the epoch that was last asked for.
    epoch: (u64, Vec<usize>),
}

impl Mixture {
    /// A mixture under a seed. Shares are of tokens; shares of items follow from the mean lengths, the corpus's exact
    /// and the problems' of the first 512.
    ///
    /// # Errors
    /// Settings that cannot be used, a tokenizer without the tokens that the settings need.
    pub fn new(
        documents: Arc<TokenizedCorpus>,
        problems: Arc<Problems>,
        tokenizer: Arc<Tokenizer>,
        spec: MixtureSpec,
        seed: u64,
    ) -> Result<Self, DataError> {
        spec.validate()?;
        let haystack = match spec.needles.share > 0.0 {
            true => Some(Haystack::new(documents.corpus(), &tokenizer)?),
            false => None,
        };
        let order = permutation(seed, "corpus", 0, documents.len());
        let mut mixture = Self {
            documents,
            problems,
            tokenizer,
            haystack,
            spec,
            seed,
            stage: PRETRAIN.to_string(),
            corpus_items: Interleave::new(1.0),
            needle_items: Interleave::new(0.0),
            epoch: (0, order),
        };
        (mixture.corpus_items, mixture.needle_items) = mixture.item_shares()?;
        Ok(mixture)
    }

    /// The same mixture with the problems of another stage than pre-training: what was learnt there does not come again.
    pub fn of_stage(mut self, stage: &str) -> Self {
        self.stage = stage.to_string();
        self
    }

    /// Items per token of each kind, and from them the shares of items.
    fn item_shares(&self) -> Result<(Interleave, Interleave), DataError> {
        let (problem_share, needle_share) = (self.spec.problem_share, self.spec.needles.share);
        let mut problem_tokens = 0;
        if problem_share > 0.0 {
            for index in 0..PROBLEMS_MEASURED {
                problem_tokens += self.problem(index)?.len();
            }
        }
        let problem_mean = problem_tokens.max(1) as f64 / PROBLEMS_MEASURED as f64;
        // Begin and end count too.
        let corpus_mean = self.documents.n_tokens() as f64 / self.documents.len() as f64 + 2.0;
        let corpus = (1.0 - problem_share - needle_share).max(0.0) / corpus_mean;
        let problems = problem_share / problem_mean;
        let needles = needle_share / self.spec.needles.tokens.max(1) as f64;
        let others = problems + needles;
        let needle_items = if others > 0.0 { needles / others } else { 0.0 };
        Ok((Interleave::new(corpus / (corpus + others)), Interleave::new(needle_items)))
    }

    /// Item `i`: what it is, and its tokens from begin to end.
    ///
    /// # Errors
    /// A text that the tokenizer refuses, a needle document longer than its length allows.
    pub fn item(&mut self, i: u64) -> Result<(ItemKind, Vec<u32>), DataError> {
        let place = self.place(i);
        self.at(place)
    }

    /// Several neighbouring items, made on all threads; each with the error that [`item`](Self::item) gives.
    pub fn items(&mut self, items: Range<u64>) -> Vec<Result<(ItemKind, Vec<u32>), DataError>> {
        let places: Vec<Place> = items.map(|i| self.place(i)).collect();
        places.into_par_iter().map(|place| self.at(place)).collect()
    }

    fn place(&mut self, i: u64) -> Place {
        let other = match self.corpus_items.place(i) {
            Ok(index) => return Place::Corpus { document: self.shuffled(index), item: i },
            Err(other) => other,
        };
        match self.needle_items.place(other) {
            Ok(index) if self.haystack.is_some() => Place::Needle(index),
            Ok(index) | Err(index) => Place::Problem(index),
        }
    }

    fn at(&self, place: Place) -> Result<(ItemKind, Vec<u32>), DataError> {
        match (place, &self.haystack) {
            (Place::Corpus { document, item }, _) => self.corpus_document(document, item),
            (Place::Needle(index), Some(haystack)) => {
                let NeedleSpec { tokens, facts, .. } = self.spec.needles;
                Ok((ItemKind::Needle, haystack.document(&self.tokenizer, self.seed, index, tokens, facts)?))
            }
            (Place::Needle(index) | Place::Problem(index), _) => Ok((ItemKind::Problem, self.problem(index)?)),
        }
    }

    /// The document that comes as number `index` of all epochs.
    fn shuffled(&mut self, index: u64) -> usize {
        let n = self.documents.len() as u64;
        if self.epoch.0 != index / n {
            self.epoch = (index / n, permutation(self.seed, "corpus", index / n, self.documents.len()));
        }
        self.epoch.1[(index % n) as usize]
    }

    fn corpus_document(&self, document: usize, item: u64) -> Result<(ItemKind, Vec<u32>), DataError> {
        let mut stream = stream(self.seed, "fim", item);
        if stream.uniform() < self.spec.fim_rate {
            let text = &self.documents.corpus().documents[document].text;
            let ids = fim::encode(fim::cut(text, &mut stream), &self.tokenizer)?;
            return Ok((ItemKind::Fim, self.enclosed(ids)?));
        }
        Ok((ItemKind::Corpus, self.enclosed(self.documents.document(document).to_vec())?))
    }

    fn problem(&self, index: u64) -> Result<Vec<u32>, DataError> {
        let problem = self.problems.train(self.seed, &self.stage, index);
        let text = document(&plain(problem, &self.tokenizer), self.seed, index, &self.spec.forms);
        self.enclosed(self.tokenizer.encode_with_special(&text)?)
    }

    /// The document between begin and end.
    fn enclosed(&self, mut ids: Vec<u32>) -> Result<Vec<u32>, DataError> {
        ids.insert(0, self.tokenizer.special(Special::Bos)?);
        ids.push(self.tokenizer.special(Special::Eos)?);
        Ok(ids)
    }

    /// The tokenizer of the mixture.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }
}

/// A problem in whose own words no control token is recognised; only the forms around them may hold such.
fn plain(problem: Problem, tokenizer: &Tokenizer) -> Problem {
    let mark = |text: &str| tokenizer.mark_plain(text);
    Problem {
        question: mark(&problem.question),
        answer: mark(&problem.answer),
        solution: mark(&problem.solution),
        solution_other: problem.solution_other.as_deref().map(mark),
        ..problem
    }
}

/// Texts to train a tokenizer on: at most about `bytes_max` bytes, of which `spec.problem_share` in worked problems.
pub fn tokenizer_texts<'c>(
    corpus: &'c Corpus,
    problems: &Problems,
    spec: &MixtureSpec,
    bytes_max: usize,
    seed: u64,
) -> Vec<Cow<'c, str>> {
    let share = spec.problem_share.clamp(0.0, 1.0);
    let corpus_bytes_max = bytes_max as f64 * (1.0 - share);
    let mut texts = Vec::new();
    let mut bytes = 0;
    for index in permutation(seed, "tokenizer", 0, corpus.documents.len()) {
        let text = corpus.documents[index].text.as_str();
        if (bytes + text.len()) as f64 > corpus_bytes_max {
            break;
        }
        bytes += text.len();
        texts.push(Cow::Borrowed(text));
    }
    // A small corpus keeps its share.
    let problem_bytes_max = match share < 1.0 {
        true => bytes as f64 * share / (1.0 - share),
        false => bytes_max as f64,
    };
    let mut problem_bytes = 0;
    for index in 0.. {
        let text = document(&problems.train(seed, "tokenizer", index), seed, index, &spec.forms);
        problem_bytes += text.len();
        if problem_bytes as f64 > problem_bytes_max {
            break;
        }
        texts.push(Cow::Owned(text));
    }
    texts
}
