//! What a row and a step of a model cost at a machine's rates.

use reseek_spec::{ModelSpec, ROWS_OF_GROUPS, RlRecipe, Role, TensorSpec, chunk_rows};

use super::{CpuRates, Point, Style};

/// A backward pass touches about two and a half times the values of a forward pass: inputs, gradients in, gradients out.
const BACKWARD_VALUES: f64 = 2.5;
/// Five products of attention's backward pass over two of its forward pass.
const BACKWARD_ATTENTION: f64 = 2.5;

/// Passes over the vocabulary's distribution: its logits, their greatest, exponentials, and in training entropy and gradient, in sampling logarithms and draw.
const SOFTMAX_PASSES: f64 = 5.0;

/// A model at the rates of a machine. Seconds are those of all threads together, a row or a step.
pub(super) struct Cost<'a> {
    rates: &'a CpuRates,
    products: Vec<Product>,
    /// Values that element-wise work touches in a forward pass of a row.
    values: f64,
    /// Operations of attention a row and token of context.
    attention_flops: f64,
    /// Values of the cache a token.
    cache: f64,
    params: f64,
    vocab: f64,
}

/// A matrix that rows are multiplied with.
struct Product {
    /// Operations of a row's forward pass.
    flops: f64,
    in_: usize,
    out: usize,
    /// Share of the rows that pass through it: of an expert, those that chose it.
    used: f64,
    mtp: bool,
}

/// Every matrix of a model that rows are multiplied with; the MTP module has the head once more.
fn products(model: &ModelSpec) -> Vec<Product> {
    let of = |tensor: &TensorSpec| {
        let &[out, in_] = tensor.shape.as_slice() else { return None };
        if tensor.role == Role::Embedding && !model.tie_word_embeddings {
            return None;
        }
        let used = match &model.moe {
            Some(moe) if tensor.role == Role::RoutedExpert => {
                moe.num_experts_per_tok as f64 / moe.n_routed_experts as f64
            }
            _ => 1.0,
        };
        Some(Product { flops: 2.0 * (in_ * out) as f64 * used, in_, out, used, mtp: tensor.mtp })
    };
    let mut products: Vec<Product> = model.tensors().iter().filter_map(of).collect();
    if model.num_nextn_predict_layers > 0 {
        let (in_, out) = (model.hidden_size, model.vocab_size);
        products.push(Product { flops: 2.0 * (in_ * out) as f64, in_, out, used: 1.0, mtp: true });
    }
    products
}

impl<'a> Cost<'a> {
    pub fn of(model: &ModelSpec, rates: &'a CpuRates) -> Self {
        let (d_qk, d_v) = match &model.mla {
            Some(mla) => (mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.v_head_dim),
            None => (model.head_dim, model.head_dim),
        };
        let (layers, heads) = (model.num_hidden_layers as f64, model.num_attention_heads as f64);
        let kv_heads = if model.mla.is_some() { heads } else { model.num_key_value_heads as f64 };
        let cache = layers * kv_heads * (d_qk + d_v) as f64;
        let products = products(model);
        // Results are cleared and written; SwiGLU reads its two and writes one; rows go to experts and come back.
        let results: f64 = products.iter().filter(|product| !product.mtp).map(|p| 3.5 * p.used * p.out as f64).sum();
        // Two norms and two sums with the residual stream, queries rotated and packed, keys and values packed.
        let around = layers * (12.0 * model.hidden_size as f64 + 3.0 * heads * d_qk as f64) + 3.0 * cache;
        Self {
            rates,
            products,
            values: results + around,
            attention_flops: 2.0 * layers * heads * (d_qk + d_v) as f64,
            cache,
            params: parameters(model),
            vocab: model.vocab_size as f64,
        }
    }

    /// Seconds of one thread for the products of a row, of the MTP module or of the others.
    fn forward_s(&self, mtp: bool) -> f64 {
        let products = self.products.iter().filter(|product| product.mtp == mtp);
        products.map(|product| product.flops / (at(&self.rates.products, product.in_) * 1e9)).sum()
    }

    /// The same for gradients of inputs, and of weights from chunks of `rows` rows. Nothing is multiplied again: the engine keeps what
    /// products of its backward pass need, but for norms and SwiGLU.
    fn backward_s(&self, mtp: bool, rows: f64) -> f64 {
        let of = |product: &Product| {
            let inputs = at(&self.rates.products, product.out);
            let weights = at(&self.rates.weight_gradients, (rows * product.used) as usize);
            product.flops / (inputs * 1e9) + product.flops / (weights * 1e9)
        };
        self.products.iter().filter(|product| product.mtp == mtp).map(of).sum()
    }

    fn attention_s(&self, context: f64) -> f64 {
        self.attention_flops * context / (self.rates.attention * 1e9)
    }

    fn elementwise_s(&self, values: f64) -> f64 {
        4.0 * values / (self.rates.elementwise * 1e9)
    }

    /// A row forward, `context` tokens back on average.
    pub fn read_s(&self, context: f64) -> f64 {
        (self.forward_s(false) + self.attention_s(context) + self.elementwise_s(self.values))
            / self.rates.threads as f64
    }

    /// The distribution of a row's next token, the product of the head apart.
    fn softmax_s(&self) -> f64 {
        self.elementwise_s(SOFTMAX_PASSES * self.vocab)
    }

    /// A row forward and backward in chunks of `rows` rows, of which `mtp_share` pass through the MTP module too.
    pub fn train_s(&self, context: f64, rows: f64, mtp_share: f64) -> f64 {
        let mtp = self.forward_s(true) + self.softmax_s() + self.backward_s(true, rows);
        let backward = self.softmax_s()
            + self.backward_s(false, rows)
            + BACKWARD_ATTENTION * self.attention_s(context)
            + self.elementwise_s(BACKWARD_VALUES * self.values);
        self.read_s(context) + (backward + mtp_share * mtp) / self.rates.threads as f64
    }

    /// Rows of a chunk of text: as training cuts them, a sequence in one piece, and no more than a lane has.
    pub fn text_rows(&self, length: f64, lane: f64) -> f64 {
        (chunk_rows(self.params as usize) as f64).max(length).min(lane.max(length))
    }

    /// An optimizer step: each lane's gradients cleared and summed, AdamW reading four values and writing three, weights packed twice.
    pub fn update_s(&self, lanes: usize) -> f64 {
        self.params * 4.0 * (2.0 * lanes as f64 + 1.0 + 7.0 + 4.0) / (self.rates.memory * 1e9)
    }

    /// `samples` answers of `length` tokens to prompts that are read already: token by token over the cache.
    pub fn sample_s(&self, samples: f64, prompt: f64, length: f64) -> f64 {
        let context = prompt + length / 2.0;
        let main = self.products.iter().filter(|product| !product.mtp);
        let decode: f64 = main.map(|product| product.flops / (at(&self.rates.few_rows, product.in_) * 1e9)).sum();
        let token = decode + self.elementwise_s(self.values + context * self.cache) + self.softmax_s();
        samples * length * token / self.rates.threads as f64
    }

    /// A step of GRPO: prompts, answers, the reference's pass, the updates; a prompt once for all of its answers, in each mini-batch. One
    /// round of sampling, and no answer masked: what dynamic sampling draws again and what a mask spares depends on the policy.
    pub fn reinforce_s(&self, recipe: &RlRecipe, of: &StepRows, lanes: usize) -> f64 {
        let &StepRows { asked, answered, prompt, answer } = of;
        let minibatches = recipe.minibatches as f64;
        // Seconds of a pass over the mini-batches, by those of a row in a context.
        let pass =
            |row: &dyn Fn(f64) -> f64| minibatches * asked * row(prompt / 2.0) + answered * row(prompt + answer / 2.0);
        let scored = |context| self.read_s(context) + self.softmax_s() / self.rates.threads as f64;
        let reference = if recipe.kl_beta > 0.0 { pass(&scored) } else { 0.0 };
        let rows = (ROWS_OF_GROUPS as f64).min((asked + answered / minibatches) / lanes as f64);
        let update = pass(&|context| self.train_s(context, rows, 0.0)) + minibatches * self.update_s(lanes);
        let updates = recipe.num_iterations as f64 * update;
        asked * self.read_s(prompt / 2.0) + self.sample_s(answered / answer, prompt, answer) + reference + updates
    }
}

/// Rows of a step of GRPO, of its prompts and of its answers, and the tokens of one of each.
pub(super) struct StepRows {
    pub asked: f64,
    pub answered: f64,
    prompt: f64,
    answer: f64,
}

impl StepRows {
    pub fn of(recipe: &RlRecipe, style: Style) -> Self {
        let (prompt, answer) = (style.prompt, style.share * recipe.max_new_tokens as f64);
        let (questions, group) = (recipe.questions as f64, recipe.group as f64);
        Self { asked: questions * prompt, answered: questions * group * answer, prompt, answer }
    }
}

/// Values of a model, the MTP module's included.
pub(super) fn parameters(model: &ModelSpec) -> f64 {
    let counts = model.params();
    (counts.total + counts.mtp) as f64
}

/// Operations that a row's products take forward and backward, with `mtp_share` of the rows through the MTP module too: what [`predict`]
/// charges for, and what the engine's own record of a step has to come to.
///
/// [`predict`]: super::predict
pub fn product_flops(model: &ModelSpec, mtp_share: f64) -> f64 {
    products(model).iter().map(|product| 3.0 * product.flops * if product.mtp { mtp_share } else { 1.0 }).sum()
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
