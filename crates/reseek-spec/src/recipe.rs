//! The recipe of a whole chain, stage by stage. Names and rules are DeepSeek's (V3 report, 4.2; R1 report, 2.2–2.4); lengths are
//! given as shares of a run, so that one rule serves every size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Scale;

/// Everything that a chain needs to know beside its data and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeSpec {
    /// Size of the models; set on the command line alone.
    pub scale: Scale,
    /// The format in which every stage multiplies; weights, gradients and sums are f32 in all.
    /// fp8 is V3's: linear layers in emulated E4M3 with scales for tiles, head and attention in bf16.
    pub compute: ComputeDtype,
    /// The format in which AdamW keeps its moments from step to step. V3 has bf16 (report, 3.3.2); its arithmetic is f32 in both.
    pub moments: MomentsDtype,
    /// Problems of every stage.
    pub tasks: TasksRecipe,
    /// Byte-level BPE.
    pub tokenizer: TokenizerRecipe,
    /// V3's base.
    pub pretrain: PretrainRecipe,
    /// Its longer context.
    pub extend: ExtendRecipe,
    /// R1-Zero.
    pub zero: RlRecipe,
    /// R1's four stages.
    pub r1: R1Recipe,
    /// The student, both ways.
    pub distil: DistilRecipe,
    /// What the models are asked in the end.
    pub eval: EvalRecipe,
}

/// Format of the operands of matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeDtype {
    /// Single precision.
    F32,
    /// Half the bytes, with f32's range.
    Bf16,
    /// E4M3 with scales for tiles, emulated.
    Fp8,
}

/// Estimator of KL(π ‖ π_ref) from a sampled token, as Schulman names them; docs/guide/algorithms.md says what each is unbiased for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// log π − log π_ref.
    K1,
    /// Half of its square.
    K2,
    /// π_ref/π − 1 − log(π_ref/π).
    K3,
    /// The same times π/π_old, whose slope is that of the KL itself.
    K3Corrected,
}

/// What a reward's distance from its group's mean is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRewards {
    /// As the algorithm's paper has it.
    Auto,
    /// The standard deviation of the group's rewards.
    Group,
    /// That of all rewards of the step.
    Batch,
    /// Nothing.
    None,
}

/// Format of AdamW's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MomentsDtype {
    /// 8 bytes a parameter for both.
    F32,
    /// 4 bytes a parameter for both.
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

/// Training of the tokenizer (V3 report, 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    /// Tokens, special ones counted.
    pub vocab_size: usize,
    /// Digits that may share a token, at most 3 as in V3. A vocabulary of 2,048 has no room for 1,110 numbers, and single digits
    /// teach arithmetic sooner, so small rungs use 1.
    pub digit_group: usize,
    /// Bytes of corpus text to learn merges from.
    pub sample_bytes: usize,
}

/// Pre-training (V3 report, 4.1 and 4.2). Shares of a run are of its tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Tokens of a sequence: the context until it is extended.
    pub seq_len: usize,
    /// Tokens in all.
    pub tokens: u64,
    /// Sequences of the first batch; they rise to `sequences` over `ramp_fraction` of the tokens.
    pub sequences_start: usize,
    /// Sequences of a full batch.
    pub sequences: usize,
    /// Share in which the batch rises.
    pub ramp_fraction: f64,
    /// Learning rate between warm-up and cosine.
    pub lr_peak: f64,
    /// Learning rate behind the cosine.
    pub lr_decay: f64,
    /// Learning rate of the last stretch.
    pub lr_final: f64,
    /// Share of linear warm-up.
    pub warmup_fraction: f64,
    /// Share at `lr_peak`.
    pub constant_fraction: f64,
    /// Share from `lr_peak` to `lr_decay`.
    pub cosine_fraction: f64,
    /// Share at `lr_decay`; what is left ends at `lr_final`.
    pub decay_fraction: f64,
    /// Decay of AdamW's first moment, from 0 to 1.
    pub beta1: f64,
    /// Decay of its second moment, from 0 to 1.
    pub beta2: f64,
    /// AdamW's decay of weights, times the learning rate at each step.
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Weight of the balance loss within a sequence.
    pub balance_alpha: f64,
    /// Step by which a gate's correction bias moves after each batch.
    pub bias_speed: f64,
    /// Last share, in which it moves no more.
    pub bias_off_fraction: f64,
    /// Weight of the MTP loss.
    pub mtp_lambda: f64,
    /// The same after `mtp_switch_fraction`.
    pub mtp_lambda_late: f64,
    /// Share with the first weight.
    pub mtp_switch_fraction: f64,
    /// Share of a batch's rows that the MTP module learns from. V3 has all: there the module is 2 % of the training, at nano a third.
    pub mtp_share: f64,
    /// Share of documents that are cut to be filled in the middle.
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

/// The sections of the stages of reinforcement learning, which share their keys.
pub(crate) const RL_SECTIONS: [&str; 4] = ["zero", "r1.rl", "r1.rl_all", "distil.rl"];

impl RecipeSpec {
    /// The stages of reinforcement learning, by the sections of their keys.
    pub fn rl_stages(&self) -> [(&'static str, &RlRecipe); 4] {
        let [zero, rl, rl_all, distil] = RL_SECTIONS;
        [(zero, &self.zero), (rl, &self.r1.rl), (rl_all, &self.r1.rl_all), (distil, &self.distil.rl)]
    }
}

/// Extension of the context with YaRN (V3 report, 4.3), in two phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendRecipe {
    /// Times the length of pre-training; two phases, the first to its half.
    pub factor: usize,
    /// Steps of each phase.
    pub steps: usize,
    /// Tokens of a batch.
    pub batch_tokens: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Steps of linear warm-up of each phase.
    pub warmup_steps: usize,
    /// Share of tokens from needle documents of three quarters of a sequence.
    pub needle_share: f64,
    /// Needles in the check before and after.
    pub needles: usize,
}

/// Reinforcement learning by GRPO (R1 report, 2.2) or one of its relatives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlRecipe {
    /// What is minimised, by its name in reseek-rl's table of algorithms.
    pub algorithm: String,
    /// Steps; of the student by RL alone, at most.
    pub steps: usize,
    /// Questions a step, and samples of each.
    pub questions: usize,
    /// Samples of a question: GRPO's group.
    pub group: usize,
    /// Updates on a step's samples.
    pub minibatches: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Times that a step's samples are learnt from.
    pub num_iterations: usize,
    /// What a reward's distance from its group's mean is divided by.
    pub scale_rewards: ScaleRewards,
    /// Whether answers that were cut off at the length limit are left out of the loss.
    pub mask_truncated: bool,
    /// Further rounds at most in which questions whose answers were all right or all wrong are replaced; 0 for none.
    pub dynamic_sampling: usize,
    /// Weight of the KL divergence from the reference.
    pub kl_beta: f64,
    /// How it is estimated.
    pub kl_estimator: KlEstimator,
    /// Distance of the ratio below 1 beyond which it is clipped.
    pub clip_epsilon: f64,
    /// The same above 1; 0 for `clip_epsilon`. In cispo the largest ratio itself.
    pub clip_epsilon_high: f64,
    /// Largest ratio of a sample whose advantage is negative; 0 for none.
    pub clip_delta: f64,
    /// Steps after which the reference is moved to the policy.
    pub reference_interval: usize,
    /// α of π_ref ← α·π + (1 − α)·π_ref: 1 replaces the reference by the policy.
    pub reference_mixup_alpha: f64,
    /// Temperature of the samples, and of the policy that learns.
    pub temperature: f64,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// The last steps, of whose questions `general_share` are general prompts, graded by the learned reward model.
    pub preference_steps: usize,
    /// Share of general prompts among the questions of these steps.
    pub general_share: f64,
    /// Decay of AdamW's first moment, from 0 to 1.
    pub beta1: f64,
    /// Decay of its second moment, from 0 to 1.
    pub beta2: f64,
    /// AdamW's decay of weights, times the learning rate at each step.
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Weights of rewards, by their names in reseek-rl's table of rewards.
    pub rewards: BTreeMap<String, f64>,
}

/// R1's stages (R1 report, 2.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct R1Recipe {
    /// Worked solutions of the cold start.
    pub cold_start_samples: usize,
    /// Times that it passes over them.
    pub cold_start_epochs: usize,
    /// Its first learning rate.
    pub cold_start_lr: f64,
    /// The last learning rate of the cold start, as a share of its first. What else it needs it has from `sft`.
    pub cold_start_final_fraction: f64,
    /// RL on reasoning, with the language reward.
    pub rl: RlRecipe,
    /// Questions that the model of the first RL is asked.
    pub rejection_questions: usize,
    /// Samples of each.
    pub rejection_samples: usize,
    /// A sample is kept if more than this share of its reasoning's words is in the question's language.
    pub rejection_language: f64,
    /// Different samples of a question that are kept at most: one that is always answered would crowd out the others.
    pub rejection_kept: usize,
    /// Exchanges that are not about reasoning, beside what was kept.
    pub general_samples: usize,
    /// Fine-tuning of the base on both.
    pub sft: SftRecipe,
    /// Pairs of answers that the reward model learns from.
    pub reward_model_pairs: usize,
    /// Steps of its training.
    pub reward_model_steps: usize,
    /// Its learning rate.
    pub reward_model_lr: f64,
    /// Learning rate of the map from the last row to the score, which begins at 0.
    pub reward_model_head_lr: f64,
    /// Pairs a step.
    pub reward_model_batch: usize,
    /// Decay of AdamW's first moment there, from 0 to 1.
    pub reward_model_beta1: f64,
    /// Decay of its second moment, from 0 to 1.
    pub reward_model_beta2: f64,
    /// AdamW's weight decay there.
    pub reward_model_weight_decay: f64,
    /// Largest norm of a gradient there.
    pub reward_model_clip: f64,
    /// RL over all scenarios.
    pub rl_all: RlRecipe,
}

/// Supervised fine-tuning: cosine from `lr` to `lr_final`, `sequences` samples a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftRecipe {
    /// Times that the samples are passed over.
    pub epochs: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Learning rate at the end of the cosine.
    pub lr_final: f64,
    /// Samples a step.
    pub sequences: usize,
    /// Share of the steps in which the learning rate rises to `lr`, one step at least.
    pub warmup_fraction: f64,
    /// Decay of AdamW's first moment, from 0 to 1.
    pub beta1: f64,
    /// Decay of its second moment, from 0 to 1.
    pub beta2: f64,
    /// AdamW's decay of weights, times the learning rate at each step.
    pub weight_decay: f64,
    /// Largest norm of a gradient.
    pub clip: f64,
}

/// Distillation into a dense student, and the same student by RL alone (R1 report, 2.4 and 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistilRecipe {
    /// Tokens of the student's own base training, on the pre-training mixture.
    pub pretrain_tokens: u64,
    /// Fine-tuning of the student's base on the teacher's lessons.
    pub sft: SftRecipe,
    /// RL alone, for the same compute: its steps follow from the FLOPs of the distillation.
    pub rl: RlRecipe,
}

/// What every examined model is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalRecipe {
    /// Where the problems come from.
    pub split: EvalSplit,
    /// Seed of the problems. It is not the run's, so that runs of several seeds are asked the same.
    pub problems_seed: u64,
    /// Problems.
    pub problems: usize,
    /// Samples a problem: pass@k is known for k up to it.
    pub k: usize,
    /// Temperature of the samples.
    pub temperature: f64,
    /// Only the most likely tokens that together reach this probability are drawn; 1 for all.
    pub top_p: f64,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
    /// Bytes of held-out text for bits per byte.
    pub text_bytes: usize,
}
