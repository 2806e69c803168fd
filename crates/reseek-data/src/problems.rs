//! Where a run's problems come from: the generators, or a user's files.

use reseek_tasks::{Problem, Split, TaskMix, heldout_set, sample};

use crate::corpus::Corpus;
use crate::error::DataError;
use crate::stream::permutation;

/// The problems of a run, training and held out apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Problems {
    /// Made by the generators; there is no end of them.
    Generated(TaskMix),
    /// A user's own.
    Listed { train: Vec<Problem>, heldout: Vec<Problem> },
}

impl Default for Problems {
    fn default() -> Self {
        Self::Generated(TaskMix::default())
    }
}

impl Problems {
    /// The corpus's own problems if it has any, else generated ones of the mixture.
    ///
    /// A hash of its question decides on which side a problem lies. Where that leaves one side empty, as it may with a
    /// handful of problems, the last problem changes sides.
    ///
    /// # Errors
    /// A mixture from which nothing can be drawn; a single problem.
    pub fn of(corpus: &Corpus, mix: TaskMix) -> Result<Self, DataError> {
        if corpus.problems.is_empty() {
            mix.validate()?;
            return Ok(Self::Generated(mix));
        }
        let is_train = |problem: &Problem| problem.split == Split::Train;
        let (mut train, mut heldout): (Vec<_>, Vec<_>) = corpus.problems.iter().cloned().partition(is_train);
        if train.len() + heldout.len() < 2 {
            return Err(DataError::TooFewProblems { problems: train.len() + heldout.len() });
        }
        if heldout.is_empty() {
            heldout.extend(train.pop().map(|problem| Problem { split: Split::HeldOut, ..problem }));
        } else if train.is_empty() {
            train.extend(heldout.pop().map(|problem| Problem { split: Split::Train, ..problem }));
        }
        Ok(Self::Listed { train, heldout })
    }

    /// Training problem `index`, a function of seed and index. A user's problems come round again in another order.
    pub fn train(&self, seed: u64, index: u64) -> Problem {
        match self {
            Self::Generated(mix) => sample(seed, index, Split::Train, mix),
            Self::Listed { train, .. } => {
                let n = train.len() as u64;
                let order = permutation(seed, "problems", index / n, train.len());
                train[order[(index % n) as usize]].clone()
            }
        }
    }

    /// `n` held-out problems, or as many as there are.
    pub fn heldout(&self, seed: u64, n: usize) -> Vec<Problem> {
        match self {
            Self::Generated(mix) => heldout_set(seed, n, mix),
            Self::Listed { heldout, .. } => {
                let order = permutation(seed, "problems held out", 0, heldout.len());
                order.into_iter().take(n).map(|i| heldout[i].clone()).collect()
            }
        }
    }
}
