//! The recipe of a whole chain, stage by stage. Names and rules are DeepSeek's (V3 report, 4.2; R1 report, 2.2–2.4); lengths are
//! given as shares of a run, so that one rule serves every size.

use serde::{Deserialize, Serialize};

use crate::{Scale, SpecError};

/// Everything that a chain needs to know beside its data and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeSpec {
    pub scale: Scale,
    /// The format in which every stage multiplies; weights, gradients and sums are f32 in all.
    /// fp8 is V3's: linear layers in emulated E4M3 with scales for tiles, head and attention in bf16.
    pub compute: ComputeDtype,
    pub tasks: TasksRecipe,
    pub tokenizer: TokenizerRecipe,
    pub pretrain: PretrainRecipe,
    pub extend: ExtendRecipe,
    pub zero: RlRecipe,
    pub r1: R1Recipe,
    pub distil: DistilRecipe,
    pub eval: EvalRecipe,
}

/// Format of the operands of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    F32,
    Bf16,
    Fp8,
}

/// Which generated problems a run trains on and is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasksRecipe {
    /// Names of families; none for all of them.
    pub families: Vec<String>,
    /// Weights of the levels 1, 2, 3.
    pub levels: Vec<f64>,
    /// Share of problems in Chinese.
    pub chinese_share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    pub vocab_size: usize,
    /// Digits that may share a token, at most 3 as in V3. A vocabulary of 2,048 has no room for 1,110 numbers, and single digits
    /// teach arithmetic sooner, so small rungs use 1.
    pub digit_group: usize,
    /// Bytes of corpus text to learn merges from.
    pub sample_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    pub seq_len: usize,
    pub tokens: u64,
    /// Sequences of the first batch; they rise to `sequences` over `ramp_fraction` of the tokens.
    pub sequences_start: usize,
    pub sequences: usize,
    pub ramp_fraction: f64,
    pub lr_peak: f64,
    pub lr_decay: f64,
    pub lr_final: f64,
    pub warmup_fraction: f64,
    pub constant_fraction: f64,
    pub cosine_fraction: f64,
    /// Share at `lr_decay`; what is left ends at `lr_final`.
    pub decay_fraction: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    pub clip: f64,
    pub balance_alpha: f64,
    pub bias_speed: f64,
    pub bias_off_fraction: f64,
    pub mtp_lambda: f64,
    pub mtp_lambda_late: f64,
    pub mtp_switch_fraction: f64,
    pub fim_rate: f64,
    /// Share of tokens from problems with worked solutions.
    pub problem_share: f64,
    /// Of these, the share in the R1-Zero template; the rest is as a textbook prints it.
    pub conversation_share: f64,
    /// Of these, the share whose chain is in the other language than the question, as web text mixes them.
    pub mixed_language_share: f64,
    /// Of the problems in the R1-Zero template, the share that gives the answer without working it out.
    pub direct_share: f64,
    /// Fixed shares of a batch whose gradients are summed in order: more than the threads that serve them is harmless.
    pub lanes: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendRecipe {
    /// Times the length of pre-training; two phases, the first to its half.
    pub factor: usize,
    /// Steps of each phase.
    pub steps: usize,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    pub lr: f64,
    /// Share of documents with a needle to find.
    pub needle_share: f64,
    /// Needles in the check before and after.
    pub needles: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlRecipe {
    pub steps: usize,
    /// Questions a step, and samples of each.
    pub questions: usize,
    pub group: usize,
    pub minibatches: usize,
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    pub kl_beta: f64,
    pub clip_epsilon: f64,
    /// Steps after which the reference is replaced by the policy.
    pub reference_interval: usize,
    pub temperature: f64,
    pub max_new_tokens: usize,
    pub accuracy_weight: f64,
    pub format_weight: f64,
    pub language_weight: f64,
    /// Weight of the learned reward model on general prompts, which make up `general_share` of the questions in the last
    /// `preference_steps`.
    pub preference_weight: f64,
    pub preference_steps: usize,
    pub general_share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct R1Recipe {
    pub cold_start_samples: usize,
    pub cold_start_epochs: usize,
    pub cold_start_lr: f64,
    pub rl: RlRecipe,
    pub rejection_questions: usize,
    pub rejection_samples: usize,
    pub general_samples: usize,
    pub sft: SftRecipe,
    pub reward_model_pairs: usize,
    pub reward_model_steps: usize,
    pub reward_model_lr: f64,
    pub rl_all: RlRecipe,
}

/// Supervised fine-tuning: cosine from `lr` to `lr_final`, `sequences` samples a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftRecipe {
    pub epochs: usize,
    pub lr: f64,
    pub lr_final: f64,
    pub sequences: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistilRecipe {
    /// Tokens of the student's own base training, on the pre-training mixture.
    pub pretrain_tokens: u64,
    pub sft: SftRecipe,
    /// RL alone, for the same compute: its steps follow from the FLOPs of the distillation.
    pub rl: RlRecipe,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalRecipe {
    pub problems: usize,
    /// Samples a problem.
    pub k: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub max_new_tokens: usize,
    /// Bytes of held-out text for bits per byte.
    pub text_bytes: usize,
}

impl RecipeSpec {
    /// # Errors
    /// The first value outside of its range, with its key.
    pub fn validate(&self) -> Result<(), SpecError> {
        let p = &self.pretrain;
        at_least_one(&[
            ("pretrain.seq_len", p.seq_len),
            ("pretrain.tokens", p.tokens as usize),
            ("pretrain.sequences_start", p.sequences_start),
            ("pretrain.sequences", p.sequences),
            ("pretrain.lanes", p.lanes),
            ("extend.factor", self.extend.factor),
            ("extend.batch_tokens", self.extend.batch_tokens),
            ("eval.problems", self.eval.problems),
            ("eval.k", self.eval.k),
            ("eval.max_new_tokens", self.eval.max_new_tokens),
            ("r1.sft.sequences", self.r1.sft.sequences),
            ("distil.sft.sequences", self.distil.sft.sequences),
        ])?;
        if self.tasks.levels.len() != 3 {
            return wrong(
                "tasks.levels",
                self.tasks.levels.len() as f64,
                "three weights",
                "problems have levels 1 to 3",
            );
        }
        shares(&[
            ("tasks.chinese_share", self.tasks.chinese_share),
            ("pretrain.ramp_fraction", p.ramp_fraction),
            ("pretrain.bias_off_fraction", p.bias_off_fraction),
            ("pretrain.mtp_switch_fraction", p.mtp_switch_fraction),
            ("pretrain.fim_rate", p.fim_rate),
            ("pretrain.problem_share", p.problem_share),
            ("pretrain.conversation_share", p.conversation_share),
            ("pretrain.mixed_language_share", p.mixed_language_share),
            ("pretrain.direct_share", p.direct_share),
            ("extend.needle_share", self.extend.needle_share),
        ])?;
        let lengths = p.warmup_fraction + p.constant_fraction + p.cosine_fraction + p.decay_fraction;
        if !(0.0..=1.0 + 1e-9).contains(&lengths) {
            return wrong(
                "pretrain.{warmup,constant,cosine,decay}_fraction",
                lengths,
                "at most 1 together",
                "shorten one of them",
            );
        }
        if self.tokenizer.digit_group == 0 || self.tokenizer.digit_group > 3 {
            let value = self.tokenizer.digit_group as f64;
            return wrong("tokenizer.digit_group", value, "1, 2 or 3", "V3 has at most three digits in a token");
        }
        if !self.extend.factor.is_multiple_of(2) {
            return wrong(
                "extend.factor",
                self.extend.factor as f64,
                "an even number",
                "the first phase goes to its half",
            );
        }
        for (name, rl) in [
            ("zero", &self.zero),
            ("r1.rl", &self.r1.rl),
            ("r1.rl_all", &self.r1.rl_all),
            ("distil.rl", &self.distil.rl),
        ] {
            rl.validate(name)?;
        }
        Ok(())
    }
}

impl RlRecipe {
    fn validate(&self, name: &str) -> Result<(), SpecError> {
        let sizes = [
            ("questions", self.questions),
            ("minibatches", self.minibatches),
            ("reference_interval", self.reference_interval),
            ("max_new_tokens", self.max_new_tokens),
        ];
        for (key, value) in sizes {
            if value == 0 {
                return wrong(&format!("{name}.{key}"), 0.0, "1 or more", "give the step some work");
            }
        }
        if self.group < 2 {
            let hint = "an advantage is relative to a group: R1 uses 16";
            return wrong(&format!("{name}.group"), self.group as f64, "2 or more", hint);
        }
        if !(self.temperature > 0.0 && self.clip_epsilon > 0.0 && self.kl_beta >= 0.0) {
            let hint = "R1-Zero has temperature 1, clip_epsilon 10 and kl_beta 0.001";
            return wrong(
                &format!("{name}.temperature, clip_epsilon, kl_beta"),
                self.temperature,
                "above 0, above 0, 0 or more",
                hint,
            );
        }
        shares(&[(&format!("{name}.general_share"), self.general_share)])
    }
}

fn at_least_one(values: &[(&str, usize)]) -> Result<(), SpecError> {
    match values.iter().find(|(_, value)| *value == 0) {
        Some((key, _)) => wrong(key, 0.0, "1 or more", "set it to a positive number"),
        None => Ok(()),
    }
}

fn shares(values: &[(&str, f64)]) -> Result<(), SpecError> {
    match values.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
        Some((key, value)) => wrong(key, *value, "0 to 1", "it is a share"),
        None => Ok(()),
    }
}

fn wrong(key: &str, value: f64, allowed: &str, hint: &str) -> Result<(), SpecError> {
    Err(SpecError::clash(format!("{key} = {value}"), allowed, hint))
}
