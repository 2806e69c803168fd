//! The chain on a CPU, predicted: counted work over rates that `sim calibrate` measures. Nothing here was fitted to a stage's time.

use reseek_spec::{ModelSpec, RecipeSpec, RlRecipe, SftRecipe, TensorSpec};
use serde::{Deserialize, Serialize};

/// Rates of one thread while all threads work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuRates {
    pub threads: usize,
    /// The format in which products were measured: f32, bf16 or fp8.
    pub compute: String,
    /// Products of many rows, in GFLOP/s by the length of their sums.
    pub products: Vec<Point>,
    /// Products of a few rows, as decoding has them.
    pub few_rows: Vec<Point>,
    /// Products for gradients of weights, by the rows that they sum over.
    pub weight_gradients: Vec<Point>,
    /// Causal attention, forward, in GFLOP/s of what it computes.
    pub attention: f64,
    /// Element-wise work in the cache, in GB/s.
    pub elementwise: f64,
    /// Memory, in GB/s.
    pub memory: f64,
}

/// A measured rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub k: usize,
    pub gflops: f64,
}

/// A stage of the chain and its seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedStage {
    pub name: String,
    pub seconds: f64,
}

/// Rows that a lane computes at a time.
const LANE_ROWS: f64 = 1024.0;
/// Tokens of a problem's prompt, and the share of the longest answer that a mean answer takes: assumptions, as both are known only when the
/// run is over.
const PROMPT: f64 = 48.0;
const ANSWER_SHARE: f64 = 0.45;
/// Share of the rejection samples that are kept, an assumption for the same reason.
const KEPT: f64 = 0.35;
/// A backward pass touches about two and a half times the values of a forward pass: inputs, gradients in, gradients out.
const BACKWARD_VALUES: f64 = 2.5;
/// Five products of attention's backward pass over two of its forward pass.
const BACKWARD_ATTENTION: f64 = 2.5;

/// Seconds of each stage that computes with a model: `model` and the dense `student` by `recipe` at `rates`. The tokenizer's merges and the
/// report are not predicted.
pub fn predict(model: &ModelSpec, student: &ModelSpec, recipe: &RecipeSpec, rates: &CpuRates) -> Vec<PredictedStage> {
    let (teacher, pupil) = (Cost::of(model, rates), Cost::of(student, rates));
    let p = &recipe.pretrain;
    let length = p.seq_len as f64;
    let pretrain = |cost: &Cost, tokens: u64| {
        let steps = tokens as f64 / (p.sequences * p.seq_len) as f64;
        tokens as f64 * cost.train_s(length / 2.0, p.mtp_share) + steps * cost.update_s(p.lanes)
    };
    let extend = {
        let (e, longest) = (&recipe.extend, length * recipe.extend.factor as f64);
        let tokens = (e.steps * e.batch_tokens) as f64;
        let phase = |length: f64| {
            tokens * teacher.train_s(length / 2.0, p.mtp_share) + e.steps as f64 * teacher.update_s(p.lanes)
        };
        phase(longest / 2.0) + phase(longest)
    };
    let r1 = &recipe.r1;
    let answer = ANSWER_SHARE * r1.rl.max_new_tokens as f64;
    let tune = |cost: &Cost, examples: f64, sft: &SftRecipe| {
        let epochs = examples * sft.epochs as f64;
        epochs * (PROMPT + answer) * cost.train_s((PROMPT + answer) / 2.0, 0.0)
            + epochs / sft.sequences as f64 * cost.update_s(p.lanes)
    };
    let cold_start = SftRecipe { epochs: r1.cold_start_epochs, ..r1.sft.clone() };
    let rejected = (r1.rejection_questions * r1.rejection_samples) as f64;
    let rejection = teacher.sample_s(rejected, answer);
    let lessons = KEPT * rejected + r1.general_samples as f64;
    let distilled = tune(&pupil, lessons, &recipe.distil.sft);
    let examined = (recipe.eval.problems * recipe.eval.k) as f64;
    let evaluated = ANSWER_SHARE * recipe.eval.max_new_tokens as f64;
    let eval = 3.0 * teacher.sample_s(examined, evaluated) + 2.0 * pupil.sample_s(examined, evaluated);
    let stages = [
        ("pretrain", pretrain(&teacher, p.tokens)),
        ("extend", extend),
        ("zero", teacher.reinforce_s(&recipe.zero, p.lanes)),
        ("r1_cold_start", tune(&teacher, r1.cold_start_samples as f64, &cold_start)),
        ("r1_rl", teacher.reinforce_s(&r1.rl, p.lanes)),
        ("r1_rejection", rejection),
        ("r1_sft", tune(&teacher, lessons, &r1.sft)),
        ("r1", teacher.reinforce_s(&r1.rl_all, p.lanes)),
        ("student_base", pretrain(&pupil, recipe.distil.pretrain_tokens)),
        ("student", distilled),
        // By the recipe it has the operations of the distillation and of its samples.
        ("student_rl", distilled + rejection),
        ("eval", eval),
    ];
    stages.into_iter().map(|(name, seconds)| PredictedStage { name: name.to_string(), seconds }).collect()
}

/// Seconds of all threads together, a row or a step.
struct Cost<'a> {
    rates: &'a CpuRates,
    /// Products of a row: forward, its recomputed part, backward; and of the MTP module, forward and backward.
    forward_s: f64,
    recomputed_s: f64,
    backward_s: f64,
    mtp_s: f64,
    /// The forward products at a few rows.
    decode_s: f64,
    /// Values that element-wise work touches in a forward pass of a row.
    values: f64,
    /// Operations of attention a row and token of context.
    attention_flops: f64,
    /// Values of the cache a token.
    cache: f64,
    params: f64,
    vocab: f64,
}

impl<'a> Cost<'a> {
    fn of(model: &ModelSpec, rates: &'a CpuRates) -> Self {
        let mut cost = Self {
            rates,
            forward_s: 0.0,
            recomputed_s: 0.0,
            backward_s: 0.0,
            mtp_s: 0.0,
            decode_s: 0.0,
            values: 0.0,
            attention_flops: 0.0,
            cache: 0.0,
            params: 0.0,
            vocab: model.vocab_size as f64,
        };
        model.tensors().iter().for_each(|tensor| cost.add(model, tensor));
        if model.num_nextn_predict_layers > 0 {
            let head = 2.0 * (model.vocab_size * model.hidden_size) as f64;
            cost.mtp_s +=
                cost.products_s(head, model.hidden_size) + cost.backward_of_s(head, model.vocab_size, LANE_ROWS);
        }
        let (d_qk, d_v) = match &model.mla {
            Some(mla) => (mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.v_head_dim),
            None => (model.head_dim, model.head_dim),
        };
        let (layers, heads) = (model.num_hidden_layers as f64, model.num_attention_heads as f64);
        cost.attention_flops = 2.0 * layers * heads * (d_qk + d_v) as f64;
        let kv_heads = if model.mla.is_some() { heads } else { model.num_key_value_heads as f64 };
        cost.cache = layers * kv_heads * (d_qk + d_v) as f64;
        // Two norms and two sums with the residual stream, queries rotated and packed, keys and values packed; the products' own results are
        // counted with them: cleared and written.
        cost.values += layers * (12.0 * model.hidden_size as f64 + 3.0 * heads * d_qk as f64) + 3.0 * cost.cache;
        cost
    }

    fn add(&mut self, model: &ModelSpec, tensor: &TensorSpec) {
        let size: f64 = tensor.shape.iter().map(|&n| n as f64).product();
        self.params += if tensor.role.buffer { 0.0 } else { size };
        let &[out, in_] = tensor.shape.as_slice() else { return };
        let is_head = tensor.role.embedding && model.tie_word_embeddings;
        if tensor.role.embedding && !is_head {
            return;
        }
        let used = match &model.moe {
            Some(moe) if tensor.role.routed => moe.num_experts_per_tok as f64 / moe.n_routed_experts as f64,
            _ => 1.0,
        };
        let flops = 2.0 * size * used;
        let (forward, backward) = (self.products_s(flops, in_), self.backward_of_s(flops, out, LANE_ROWS * used));
        if tensor.role.mtp {
            self.mtp_s += forward + backward;
            return;
        }
        self.forward_s += forward;
        self.backward_s += backward;
        self.decode_s += flops / (at(&self.rates.few_rows, in_) * 1e9);
        // Results are cleared and written; SwiGLU reads its two and writes one; rows go to experts and come back.
        self.values += used * 3.5 * out as f64;
        if tensor.name.ends_with("q_b_proj.weight") || tensor.name.ends_with("kv_b_proj.weight") {
            self.recomputed_s += forward;
        }
    }

    fn products_s(&self, flops: f64, k: usize) -> f64 {
        flops / (at(&self.rates.products, k) * 1e9)
    }

    /// Gradients of the input, and of the weight from `rows` rows.
    fn backward_of_s(&self, flops: f64, out: usize, rows: f64) -> f64 {
        self.products_s(flops, out) + flops / (at(&self.rates.weight_gradients, rows as usize) * 1e9)
    }

    fn attention_s(&self, context: f64) -> f64 {
        self.attention_flops * context / (self.rates.attention * 1e9)
    }

    fn elementwise_s(&self, values: f64) -> f64 {
        4.0 * values / (self.rates.elementwise * 1e9)
    }

    /// A row forward, `context` tokens back on average.
    fn read_s(&self, context: f64) -> f64 {
        (self.forward_s + self.attention_s(context) + self.elementwise_s(self.values)) / self.rates.threads as f64
    }

    /// A row forward and backward, of which `mtp_share` pass through the MTP module too.
    fn train_s(&self, context: f64, mtp_share: f64) -> f64 {
        let backward = self.recomputed_s
            + self.backward_s
            + BACKWARD_ATTENTION * self.attention_s(context)
            + self.elementwise_s(BACKWARD_VALUES * self.values);
        self.read_s(context) + (backward + mtp_share * self.mtp_s) / self.rates.threads as f64
    }

    /// An optimizer step: each lane's gradients cleared and summed, AdamW reading four values and writing three, weights packed twice.
    fn update_s(&self, lanes: usize) -> f64 {
        self.params * 4.0 * (2.0 * lanes as f64 + 1.0 + 7.0 + 4.0) / (self.rates.memory * 1e9)
    }

    /// `samples` answers of `length` tokens: prompts once, then token by token over the cache, and the vocabulary's distribution five times
    /// (product, greatest, exponentials, logarithms, draw).
    fn sample_s(&self, samples: f64, length: f64) -> f64 {
        let context = PROMPT + length / 2.0;
        let token = self.decode_s + self.elementwise_s(self.values + context * self.cache + 5.0 * self.vocab);
        samples * length * token / self.rates.threads as f64
    }

    /// Steps of GRPO: prompts, answers, the reference's pass, the update; a prompt once for all of its answers, in each mini-batch.
    fn reinforce_s(&self, recipe: &RlRecipe, lanes: usize) -> f64 {
        let samples = (recipe.questions * recipe.group) as f64;
        let answer = ANSWER_SHARE * recipe.max_new_tokens as f64;
        let minibatches = recipe.minibatches as f64;
        let (asked, answered) = (recipe.questions as f64 * PROMPT, samples * answer);
        // Seconds of a pass over the mini-batches, by those of a row in a context.
        let pass =
            |row: &dyn Fn(f64) -> f64| minibatches * asked * row(PROMPT / 2.0) + answered * row(PROMPT + answer / 2.0);
        let reference = if recipe.kl_beta > 0.0 { pass(&|context| self.read_s(context)) } else { 0.0 };
        let prompts = asked * self.read_s(PROMPT / 2.0);
        let update = pass(&|context| self.train_s(context, 0.0)) + minibatches * self.update_s(lanes);
        recipe.steps as f64 * (prompts + self.sample_s(samples, answer) + reference + update)
    }
}

/// The rate at `k`, in a straight line between the measured lengths and flat beyond them.
fn at(points: &[Point], k: usize) -> f64 {
    let k = k as f64;
    let after = points.iter().position(|point| point.k as f64 >= k);
    match after {
        Some(0) => points[0].gflops,
        Some(i) => {
            let (a, b) = (points[i - 1], points[i]);
            let share = (k - a.k as f64) / (b.k - a.k) as f64;
            a.gflops + share * (b.gflops - a.gflops)
        }
        None => points.last().map_or(f64::NAN, |point| point.gflops),
    }
}
