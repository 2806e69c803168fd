//! The recipe of a whole chain, stage by stage. Names and rules are DeepSeek's (V3 report, 4.2; R1 report, 2.2–2.4); lengths are
//! given as shares of a run, so that one rule serves every size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Scale;

/// Everything that a chain needs to know beside its data and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeSpec {
    pub scale: Scale,
    /// The format in which every stage multiplies; weights, gradients and sums are f32 in all.
    /// fp8 is V3's: linear layers in emulated E4M3 with scales for tiles, head and attention in bf16.
    pub compute: ComputeDtype,
    /// The format in which AdamW keeps its moments from step to step. V3 has bf16 (report, 3.3.2); its arithmetic is f32 in both.
    pub moments: MomentsDtype,
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

/// Format of AdamW's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentsDtype {
    F32,
    Bf16,
}

/// The split of the problems that the models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvalSplit {
    /// To choose settings by.
    Development,
    /// To report: no setting was ever chosen by these.
    Test,
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
    /// Share of a batch's rows that the MTP module learns from. V3 has all: there the module is 2 % of the training, at nano a third.
    pub mtp_share: f64,
    pub fim_rate: f64,
    /// Share of tokens from problems with worked solutions.
    pub problem_share: f64,
    /// Share of tokens from needle documents that fit a sequence, so that retrieval is learnt before the context is extended.
    pub needle_share: f64,
    /// Of the problems, the share in the R1-Zero template; the rest is as a textbook prints it.
    pub conversation_share: f64,
    /// Of these, the share whose chain is in the other language than the question, as web text mixes them.
    pub mixed_language_share: f64,
    /// Of the problems in the R1-Zero template, the share that gives the answer without working it out.
    pub direct_share: f64,
    /// Fixed shares of a batch whose gradients are summed in order: more than the threads that serve them is harmless.
    pub lanes: usize,
}

impl RecipeSpec {
    /// The stages of reinforcement learning, by the sections of their keys.
    pub fn rl_stages(&self) -> [(&'static str, &RlRecipe); 4] {
        [("zero", &self.zero), ("r1.rl", &self.r1.rl), ("r1.rl_all", &self.r1.rl_all), ("distil.rl", &self.distil.rl)]
    }
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
    /// Steps of linear warm-up of each phase.
    pub warmup_steps: usize,
    /// Share of tokens from needle documents of three quarters of a sequence.
    pub needle_share: f64,
    /// Needles in the check before and after.
    pub needles: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlRecipe {
    /// What is minimised, by its name in reseek-rl's table of algorithms.
    pub algorithm: String,
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
    /// The last steps, of whose questions `general_share` are general prompts, graded by the learned reward model.
    pub preference_steps: usize,
    pub general_share: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Weights of rewards, by their names in reseek-rl's table of rewards.
    pub rewards: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct R1Recipe {
    pub cold_start_samples: usize,
    pub cold_start_epochs: usize,
    pub cold_start_lr: f64,
    /// The last learning rate of the cold start, as a share of its first. What else it needs it has from `sft`.
    pub cold_start_final_fraction: f64,
    pub rl: RlRecipe,
    pub rejection_questions: usize,
    pub rejection_samples: usize,
    /// A sample is kept if more than this share of its reasoning's words is in the question's language.
    pub rejection_language: f64,
    /// Different samples of a question that are kept at most: one that is always answered would crowd out the others.
    pub rejection_kept: usize,
    pub general_samples: usize,
    pub sft: SftRecipe,
    pub reward_model_pairs: usize,
    pub reward_model_steps: usize,
    pub reward_model_lr: f64,
    /// Learning rate of the map from the last row to the score, which begins at 0.
    pub reward_model_head_lr: f64,
    /// Pairs a step.
    pub reward_model_batch: usize,
    pub reward_model_beta1: f64,
    pub reward_model_beta2: f64,
    pub reward_model_weight_decay: f64,
    pub reward_model_clip: f64,
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
    /// Share of the steps in which the learning rate rises to `lr`, one step at least.
    pub warmup_fraction: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
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
    /// Where the problems come from.
    pub split: EvalSplit,
    /// Seed of the problems. It is not the run's, so that runs of several seeds are asked the same.
    pub problems_seed: u64,
    pub problems: usize,
    /// Samples a problem: pass@k is known for k up to it.
    pub k: usize,
    pub temperature: f64,
    pub top_p: f64,
    pub max_new_tokens: usize,
    /// Bytes of held-out text for bits per byte.
    pub text_bytes: usize,
}
