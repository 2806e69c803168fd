//! The published numbers that arithmetic starts from. A test changes each and sees the verdicts turn.

use reseek_sim::{Plan, published};
use reseek_spec::{ClusterSpec, ModelSpec, SpecError, preset};

/// Inputs of the arithmetic checks, as published.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// DeepSeek-V3's shape (its config.json).
    pub v3: ModelSpec,
    /// DeepSeek-V2's.
    pub v2: ModelSpec,
    /// Llama 3.1 405B's.
    pub llama_405b: ModelSpec,
    /// Qwen2.5 72B's.
    pub qwen_72b: ModelSpec,
    /// 2,048 H800 (V3, 3.1).
    pub cluster: ClusterSpec,

    /// GPU-hours of pre-training, context extension and post-training (V3, table 1).
    pub hours: [f64; 3],
    /// USD of a GPU-hour (V3, table 1).
    pub usd_per_hour: f64,
    /// Tokens of pre-training (V3, 4.2).
    pub tokens: f64,
    /// GPU-hours a trillion tokens (V3, 1).
    pub hours_per_t: f64,

    /// Seconds of a step (Insights, table 4).
    pub step_s: f64,
    /// The same on a multi-rail network: worked out from the tokens a day of Insights, table 4, and yet to be read there.
    pub step_mrft_s: f64,
    /// 1F, bubble, 1B, 1W, 1F1B, optimizer, in seconds (Insights, table 4).
    pub step_parts_s: [f64; 6],
    /// Sequences of a step (V3, 4.2).
    pub sequences: f64,
    /// Tokens of a sequence (V3, 4.2).
    pub seq_len: usize,

    /// Reached by NVLink, GB/s a GPU and direction (V3, 3.2.2).
    pub nvlink_gb_s: f64,
    /// Reached by InfiniBand, the same.
    pub ib_gb_s: f64,

    /// The day of serving.
    pub serving: Serving,

    /// GPUs of R1-Zero's and R1's training (R1 in Nature, supplement).
    pub r1_gpus: f64,
    /// Hours by the clock of R1-Zero and of R1.
    pub r1_wall_h: [f64; 2],
    /// GPU-hours of R1-Zero, the fine-tuning data and R1.
    pub r1_hours: [f64; 3],
    /// Updates of R1-Zero (R1 in Nature, methods).
    pub r1_zero_steps: f64,
    /// Questions of an update.
    pub r1_zero_questions_a_step: f64,
    /// Listed prompts: mathematics, code, repairs, science, logic.
    pub r1_prompts: [f64; 5],
}

/// The day of serving (open-infra-index, day 6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Serving {
    /// In the mean of the day.
    pub nodes: f64,
    /// GPUs of a node.
    pub gpus_a_node: f64,
    /// Tokens of the day.
    pub input: f64,
    /// Of the input, tokens that the cache had.
    pub input_cached: f64,
    /// Tokens that were sampled.
    pub output: f64,
    /// USD a million tokens: input from the cache, other input, output.
    pub usd_per_m: [f64; 3],
    /// What the day's tokens would bring at R1's prices.
    pub revenue_usd: f64,
    /// Tokens a second and node in prefill (cached ones counted) and in decoding.
    pub rates: [f64; 2],
}

impl Inputs {
    /// What DeepSeek published.
    ///
    /// # Errors
    /// Only if a built-in configuration is broken.
    pub fn published() -> Result<Self, SpecError> {
        let plan = Plan::v3();
        Ok(Self {
            v3: preset("v3-671b")?,
            v2: preset("v2-236b")?,
            llama_405b: preset("llama-3.1-405b")?,
            qwen_72b: qwen_72b()?,
            cluster: ClusterSpec::h800x2048(),
            hours: [published::PRE_TRAINING, published::EXTENSION, published::POST_TRAINING].map(|hours| hours.value),
            usd_per_hour: published::GPU_HOUR_USD.value,
            tokens: published::TOKENS.value,
            hours_per_t: published::HOURS_PER_T.value,
            step_s: published::STEP.value,
            step_mrft_s: 19.946,
            step_parts_s: [
                published::STEP_FORWARD,
                published::STEP_BUBBLE,
                published::STEP_BACKWARD,
                published::STEP_WEIGHT,
                published::STEP_PAIRS,
                published::STEP_OPTIMIZER,
            ]
            .map(|part| part.value),
            sequences: plan.global_batch as f64,
            seq_len: plan.seq,
            nvlink_gb_s: 160.0,
            ib_gb_s: 50.0,
            serving: Serving {
                nodes: published::SERVING_NODES.value,
                gpus_a_node: 8.0,
                input: 608e9,
                input_cached: 342e9,
                output: 168e9,
                usd_per_m: [0.14, 0.55, 2.19],
                revenue_usd: published::SERVING_REVENUE.value,
                rates: [73.7e3, 14.8e3],
            },
            r1_gpus: published::R1_GPUS.value,
            r1_wall_h: [198.0, 80.0],
            r1_hours: [published::R1_ZERO, published::R1_DATA, published::R1].map(|hours| hours.value),
            r1_zero_steps: published::R1_ZERO_STEPS.value,
            r1_zero_questions_a_step: published::R1_QUESTIONS_A_STEP.value,
            r1_prompts: [26e3, 17e3, 8e3, 22e3, 15e3],
        })
    }

    /// Tokens of a step.
    pub fn step_tokens(&self) -> f64 {
        self.sequences * self.seq_len as f64
    }
}

/// Qwen2.5 72B, whose family's 32B is a preset: wider and deeper (its config.json).
fn qwen_72b() -> Result<ModelSpec, SpecError> {
    Ok(ModelSpec {
        hidden_size: 8192,
        num_hidden_layers: 80,
        num_attention_heads: 64,
        intermediate_size: 29_568,
        ..preset("r1-distill-qwen-32b")?
    })
}
