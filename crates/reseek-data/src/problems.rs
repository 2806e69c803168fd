//! Where a run's problems come from: the generators, or a user's files.

use reseek_tasks::{Problem, Split, TaskMix, heldout_set, sample};

use crate::corpus::Corpus;
use crate::error::DataError;
use crate::stream::permutation;

/// The problems of a run: to train on, to choose settings by, to test by.
#[derive(Clone, Debug, PartialEq)]
pub enum Problems {
    /// Made by the generators; there is no end of those to train on.
    Generated(TaskMix),
    /// A user's own.
    Listed {
        /// To train on; never empty.
        train: Vec<Problem>,
        /// To choose settings by.
        development: Vec<Problem>,
        /// To test by.
        test: Vec<Problem>,
    },
}

impl Default for Problems {
    fn default() -> Self {
        Self::Generated(TaskMix::default())
    }
}

impl Problems {
    /// The corpus's own problems if it has any, else generated ones of the mixture.
    ///
    /// A hash of its question decides to which split a problem belongs. Where that leaves nothing to train on or nothing
    /// to test by, as it may with a handful of problems, the last problem of the largest split is for that.
    ///
    /// # Errors
    /// A mixture from which nothing can be drawn; a single problem.
    pub fn of(corpus: &Corpus, mix: TaskMix) -> Result<Self, DataError> {
        if corpus.problems.is_empty() {
            mix.validate()?;
            return Ok(Self::Generated(mix));
        }
        if corpus.problems.len() < 2 {
            return Err(DataError::TooFewProblems { problems: corpus.problems.len() });
        }
        let [mut train, mut development, mut test] = Split::ALL
            .map(|split| corpus.problems.iter().filter(|p| p.split == split).cloned().collect::<Vec<Problem>>());
        let moved = |from: &mut Vec<Problem>, split| from.pop().map(|problem| Problem { split, ..problem });
        if test.is_empty() {
            let from = if train.len() >= development.len() { &mut train } else { &mut development };
            test.extend(moved(from, Split::Test));
        }
        if train.is_empty() {
            let from = if test.len() > development.len() { &mut test } else { &mut development };
            train.extend(moved(from, Split::Train));
        }
        Ok(Self::Listed { train, development, test })
    }

    /// Training problem `index` of `purpose`, a stage's name: a function of seed, purpose and index. A user's problems
    /// come round again in another order.
    pub fn train(&self, seed: u64, purpose: &str, index: u64) -> Problem {
        match self {
            Self::Generated(mix) => sample(seed, purpose, index, Split::Train, mix),
            Self::Listed { train, .. } => {
                let n = train.len() as u64;
                let order = permutation(seed, &format!("problems/{purpose}"), index / n, train.len());
                train[order[(index % n) as usize]].clone()
            }
        }
    }

    /// `n` problems of `split`, or as many as there are: to choose settings by, or to test by.
    pub fn heldout(&self, seed: u64, split: Split, n: usize) -> Vec<Problem> {
        match self {
            Self::Generated(mix) => heldout_set(seed, n, split, mix),
            Self::Listed { train, development, test } => {
                let all = match split {
                    Split::Train => train,
                    Split::Development => development,
                    Split::Test => test,
                };
                let order = permutation(seed, "problems held out", 0, all.len());
                order.into_iter().take(n).map(|i| all[i].clone()).collect()
            }
        }
    }
}
