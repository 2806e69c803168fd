//! A part of a step's samples, as the gradient is computed of it: rows in lanes, and what is known of every token.

use std::ops::Range;

use reseek_engine::logprobs;
use reseek_model::{Model, Rows};
use reseek_tensor::cross_entropy::IGNORE;
use reseek_train::{
    Chunk, Group, LaneStats, Objective, Sequence, SequenceLogprobs, SequenceLoss, TokenLoss, deal_groups,
};

use crate::algorithm::ratio::of_token;
use crate::algorithm::{Known, Ratio, Sizes, Term};
use crate::update::{ON_POLICY_TOLERANCE, UpdateSettings};
use crate::{RlError, Sample, StepName};

/// A sample that is in the loss, and its advantage.
pub(crate) type Advantaged<'a> = (&'a Sample, f32);

/// Of a whole step, what its mini-batches have to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfStep<'a> {
    pub prompts: &'a [Vec<u32>],
    pub reference: Option<&'a Model>,
    pub temperature: f32,
    pub settings: &'a UpdateSettings,
    /// Tokens in the loss.
    pub tokens: usize,
    /// Parts into which the samples are cut.
    pub minibatches: usize,
}

/// What is known of a mini-batch's tokens before the policy is asked.
pub(crate) struct Minibatch<'a> {
    settings: &'a UpdateSettings,
    temperature: f32,
    /// Its rows.
    lanes: Vec<Vec<Chunk>>,
    /// Of each token of its completions, in the order of the samples.
    known: Vec<Known>,
    /// The tokens of each sample among them.
    of_sample: Vec<Range<usize>>,
    /// The token that each row of the lanes predicts, among them; none for rows of prompts.
    of_row: Vec<Option<usize>>,
}

/// The rows of a mini-batch in lanes. The loss is on the completions alone, so all but the last token of a prompt serve its completions
/// together; each of those begins with the prompt's last token, the row that predicts its first.
fn lanes(prompts: &[Vec<u32>], samples: &[Advantaged], lanes: usize) -> Vec<Vec<Chunk>> {
    let sequence = |(sample, _): &Advantaged| -> Sequence {
        let completion = &sample.completion.tokens;
        let last = prompts[sample.prompt].last().expect("a prompt has a token");
        let tokens = std::iter::once(last).chain(&completion[..completion.len() - 1]);
        (tokens.copied().collect(), completion.clone())
    };
    let sequences: Vec<Sequence> = samples.iter().map(sequence).collect();
    let mut rest = &sequences[..];
    let groups = samples.chunk_by(|(a, _), (b, _)| a.prompt == b.prompt).map(|group| {
        let prompt = &prompts[group[0].0.prompt];
        let sequences = rest.split_off(..group.len()).expect("a sequence for each sample");
        Group { prefix: &prompt[..prompt.len() - 1], sequences }
    });
    deal_groups(&groups.collect::<Vec<_>>(), lanes)
}

impl<'a> Minibatch<'a> {
    /// Of the samples that are in the loss, those of a prompt side by side; `sequences` counts the masked ones too.
    pub fn new(step: &OfStep<'a>, samples: &[Advantaged], sequences: usize) -> Self {
        let &OfStep { prompts, reference, temperature, settings, .. } = step;
        let lanes = lanes(prompts, samples, settings.lanes);
        let chunks = || lanes.iter().flatten();
        let mut tokens = 0..;
        let mut of_target = |&target: &u32| (target != IGNORE).then(|| tokens.next()).flatten();
        let of_row: Vec<Option<usize>> = chunks().flat_map(|chunk| &chunk.targets).map(&mut of_target).collect();

        let mut known: Vec<Known> = Vec::new();
        let mut of_sample = Vec::new();
        let sizes = Sizes {
            sequences,
            tokens: 0,
            minibatch_tokens: samples.iter().map(|(sample, _)| sample.completion.tokens.len()).sum(),
            step_tokens: step.tokens,
            minibatches: step.minibatches,
            max_tokens: settings.max_tokens,
        };
        for (sample, advantage) in samples {
            let old = &sample.completion.behaviour_logprobs;
            let share = (settings.algorithm.reduction)(&Sizes { tokens: old.len(), ..sizes });
            of_sample.push(known.len()..known.len() + old.len());
            known.extend(old.iter().map(|&old| Known { old, reference: old, advantage: *advantage, share }));
        }
        if let Some(model) = reference {
            let rows: Vec<(Rows, Vec<u32>)> =
                chunks().map(|chunk| (chunk.rows.clone(), chunk.targets.clone())).collect();
            let logprobs = logprobs(model, rows, temperature).concat();
            for (token, logp) in of_row.iter().zip(logprobs) {
                if let Some(token) = *token {
                    known[token].reference = logp;
                }
            }
        }
        Self { settings, temperature, lanes, known, of_sample, of_row }
    }

    /// Its rows.
    pub fn lanes(&self) -> Vec<Vec<Chunk>> {
        self.lanes.clone()
    }

    /// The loss in the form that its ratio asks for.
    pub fn objective(&self) -> Box<dyn Objective + '_> {
        let UpdateSettings { algorithm, term, .. } = self.settings;
        let temperature = self.temperature;
        match algorithm.ratio {
            Ratio::OfToken(ratio) => {
                let slope = move |row: usize, logp: f32| {
                    let known = self.at(row);
                    algorithm.token(logp, known, ratio(logp, known.old), term).gradient
                };
                Box::new(TokenLoss { temperature, slope })
            }
            Ratio::OfSequence { .. } => {
                let slopes = |sequences: &[SequenceLogprobs]| {
                    let of = |sequence: &SequenceLogprobs| self.sequence(sequence.sequence, sequence.logprobs);
                    sequences.iter().flat_map(of).map(|term| term.gradient).collect()
                };
                Box::new(SequenceLoss { temperature, slopes })
            }
        }
    }

    /// What is known of the token that a row predicts.
    fn at(&self, row: usize) -> &Known {
        &self.known[self.of_row[row].expect("a row with a target")]
    }

    fn sequence(&self, sample: usize, logprobs: &[f32]) -> Vec<Term> {
        let known = &self.known[self.of_sample[sample].clone()];
        self.settings.algorithm.sequence(logprobs, known, &self.settings.term)
    }

    /// The terms of all tokens, in the order of the samples, as they were before the step.
    pub fn terms(&self, stats: &LaneStats) -> Vec<Term> {
        let logprobs: Vec<f32> = stats.logprobs.iter().map(|&(_, logp)| logp).collect();
        let of = |(sample, tokens): (usize, &Range<usize>)| self.sequence(sample, &logprobs[tokens.clone()]);
        self.of_sample.iter().enumerate().flat_map(of).collect()
    }

    /// Before the first update the distribution that was sampled from, the trainer's and a fresh reference are one. The largest
    /// |π/π_old − 1| of a token.
    pub fn check_on_policy(&self, stats: &LaneStats, terms: &[Term], name: &StepName) -> Result<f64, RlError> {
        let gap_of = |&(row, logp): &(usize, f32)| (of_token(logp, self.at(row).old) - 1.0).abs();
        let gap = stats.logprobs.iter().map(gap_of).fold(0.0, f32::max);
        if gap > ON_POLICY_TOLERANCE {
            return Err(RlError::OffPolicy { step: name.step, gap });
        }
        let kl = terms.iter().map(|term| term.kl).fold(0.0, f32::max);
        if self.settings.fresh_reference && kl > 0.0 {
            return Err(RlError::StaleReference { step: name.step, kl });
        }
        Ok(gap as f64)
    }
}
