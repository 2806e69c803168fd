//! Counts, once for everybody: parameters, floating-point operations, bytes.

use serde::Serialize;

use crate::{ModelSpec, Role, TensorSpec};

/// Parameters of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ParamCounts {
    /// All, without the MTP module.
    pub total: u64,
    /// Those that a token uses: of the routed experts the chosen few; embedding and head counted.
    pub active: u64,
    /// The same without the input embedding (a token reads one row of it), with the head.
    pub active_without_embedding: u64,
    /// Of the MTP module without the embedding and head that it shares.
    pub mtp: u64,
}

/// Floating-point operations of a training token: forward and backward, three times the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainFlops {
    /// With causal attention counted as what is computed: half of the scores.
    pub causal: f64,
    /// With the whole square of scores.
    pub noncausal: f64,
}

/// Bytes of training state in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrainMemory {
    /// Bytes of the weights that training keeps.
    pub weights: u64,
    /// Bytes of their gradients.
    pub gradients: u64,
    /// Bytes of AdamW's two moments.
    pub optimizer: u64,
}

impl ModelSpec {
    /// Counts the tensors of [`ModelSpec::tensors`], layers of a kind at once. The gates' correction biases count, as they do in the published 671,026,419,200.
    pub fn params(&self) -> ParamCounts {
        let mut counts = ParamCounts { total: 0, active: 0, active_without_embedding: 0, mtp: 0 };
        for (tensor, copies) in &self.tensors_by_kind() {
            let n = size(tensor);
            if tensor.mtp {
                counts.mtp += n * copies;
                continue;
            }
            counts.total += n * copies;
            let used = self.used(tensor, n) * copies;
            counts.active += used;
            // A tied table is also the head, and that a token uses whole.
            if tensor.role != Role::Embedding || self.tie_word_embeddings {
                counts.active_without_embedding += used;
            }
        }
        counts
    }

    /// Parameters in matrix products of a token: without embedding rows, norms, the router and the MTP module, as the published
    /// FLOP counts have it. The head counts.
    pub fn matmul_params(&self) -> u64 {
        let tensors = self.tensors_by_kind();
        let counted = tensors.iter().filter(|(t, _)| t.is_trained() && !t.mtp && t.shape.len() == 2);
        let products = counted.filter(|(t, _)| !t.name.ends_with(".gate.weight"));
        let of = |(t, copies): &(TensorSpec, u64)| match t.role == Role::Embedding && !self.tie_word_embeddings {
            true => 0,
            false => self.used(t, size(t)) * copies,
        };
        products.map(of).sum()
    }

    /// Operations of one token's training at sequences of `seq_len`: 6 for each parameter in a product, and of attention
    /// 6·layers·heads·(query + value width)·length, half of it when causal; of the length as far as sliding windows reach.
    pub fn train_flops_per_token(&self, seq_len: usize) -> TrainFlops {
        let products = 6.0 * self.matmul_params() as f64;
        let attention = 3.0 * self.attention_flops(self.attended(seq_len as f64));
        TrainFlops { causal: products + attention / 2.0, noncausal: products + attention }
    }

    /// Operations of a forward pass of one token that attends to `context` tokens.
    pub fn forward_flops_per_token(&self, context: f64) -> f64 {
        let seen = match &self.sliding_window {
            Some(window) => self.mean_of_layers(context, context.min(window.tokens as f64), window.full_layers.len()),
            None => context,
        };
        2.0 * self.matmul_params() as f64 + self.attention_flops(seen)
    }

    /// Tokens of a sequence that a mean layer attends to as if it were causal and whole: `seq_len` without a sliding window. Under one of w
    /// tokens a token sees w − w²/(2·seq_len) others in the mean, which is half of 2w − w²/seq_len.
    pub fn attended(&self, seq_len: f64) -> f64 {
        match &self.sliding_window {
            Some(window) if (window.tokens as f64) < seq_len => {
                let w = window.tokens as f64;
                self.mean_of_layers(seq_len, 2.0 * w - w * w / seq_len, window.full_layers.len())
            }
            _ => seq_len,
        }
    }

    fn mean_of_layers(&self, whole: f64, windowed: f64, full_layers: usize) -> f64 {
        let share = full_layers as f64 / self.num_hidden_layers as f64;
        share * whole + (1.0 - share) * windowed
    }

    /// Operations that training spends on the MTP module a token: its parameters and the shared head once more.
    pub fn mtp_train_flops_per_token(&self, seq_len: usize) -> f64 {
        if self.num_nextn_predict_layers == 0 {
            return 0.0;
        }
        let tensors = self.tensors_by_kind();
        let module: u64 = tensors
            .iter()
            .filter(|(t, _)| t.mtp && t.is_trained() && t.shape.len() == 2)
            .map(|(t, _)| self.used(t, size(t)))
            .sum();
        let head = (self.vocab_size * self.hidden_size * self.num_nextn_predict_layers) as u64;
        let layer = self.attention_flops(seq_len as f64) / self.num_hidden_layers as f64;
        6.0 * (module + head) as f64 + 1.5 * layer * self.num_nextn_predict_layers as f64
    }

    /// Bytes of the key–value cache a token: MLA's latent and rotary key, or keys and values of every head.
    pub fn kv_bytes_per_token(&self, bytes_per_value: u64) -> u64 {
        let layer = match &self.mla {
            Some(mla) => mla.kv_lora_rank + mla.qk_rope_head_dim,
            None => 2 * self.num_key_value_heads * self.head_dim,
        };
        (layer * self.num_hidden_layers) as u64 * bytes_per_value
    }

    /// Bytes of f32 training state: weights, gradients and AdamW's two moments, the MTP module included.
    pub fn train_memory(&self) -> TrainMemory {
        let counts = self.params();
        let weights = 4 * (counts.total + counts.mtp);
        TrainMemory { weights, gradients: weights, optimizer: 2 * weights }
    }

    fn attention_flops(&self, context: f64) -> f64 {
        let (d_qk, d_v) = match &self.mla {
            Some(mla) => (mla.qk_nope_head_dim + mla.qk_rope_head_dim, mla.v_head_dim),
            None => (self.head_dim, self.head_dim),
        };
        2.0 * (self.num_hidden_layers * self.num_attention_heads * (d_qk + d_v)) as f64 * context
    }

    /// Of a tensor of `n` parameters, those that a token uses.
    fn used(&self, tensor: &TensorSpec, n: u64) -> u64 {
        match &self.moe {
            Some(moe) if tensor.role == Role::RoutedExpert => {
                n * moe.num_experts_per_tok as u64 / moe.n_routed_experts as u64
            }
            _ => n,
        }
    }
}

fn size(tensor: &TensorSpec) -> u64 {
    tensor.shape.iter().map(|&n| n as u64).product()
}
