//! The tensors of a model: names, shapes and roles, in a fixed order.

use crate::{MlaSpec, ModelSpec, MoeSpec, Scoring};

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Used whole by every token.
    Dense,
    /// A table from which a token reads one row.
    Embedding,
    /// One of the routed experts' matrices: a token uses a few of them.
    RoutedExpert,
    /// Not trained by gradients: a gate's correction bias.
    Buffer,
}

/// A named tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its Hugging Face name.
    pub name: String,
    /// Its shape, outputs first.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// Part of the multi-token prediction module.
    pub mtp: bool,
}

impl TensorSpec {
    /// Whether it has a gradient.
    pub fn is_trained(&self) -> bool {
        self.role != Role::Buffer
    }
}

impl ModelSpec {
    /// Every tensor in a fixed order. All experts' gate projections of a layer are neighbours, then all up, then all down
    /// projections, so that a flat buffer in this order holds each as one block [experts, out, in].
    pub fn tensors(&self) -> Vec<TensorSpec> {
        self.tensors_of(0..self.num_hidden_layers)
    }

    /// The tensors, each with the number of layers that have one of its shape: a count over a few layers' names instead of all.
    pub(crate) fn tensors_by_kind(&self) -> Vec<(TensorSpec, u64)> {
        let layers = self.num_hidden_layers;
        let mixtures = self.mixture_layers();
        let first = |is_mixture| (0..layers).find(|&layer| self.is_mixture(layer) == is_mixture).unwrap_or(0);
        let kinds = [(first(false), layers - mixtures), (first(true), mixtures)];
        let first_of_kind = kinds.into_iter().filter(|&(_, copies)| copies > 0);
        let kinds: Vec<(String, u64)> =
            first_of_kind.clone().map(|(layer, copies)| (format!("model.layers.{layer}."), copies as u64)).collect();
        let copies = |tensor: &TensorSpec| {
            let kind = kinds.iter().find(|(prefix, _)| !tensor.mtp && tensor.name.starts_with(prefix));
            kind.map_or(1, |&(_, copies)| copies)
        };
        let tensors = self.tensors_of(first_of_kind.map(|(layer, _)| layer));
        tensors
            .into_iter()
            .map(|tensor| {
                let copies = copies(&tensor);
                (tensor, copies)
            })
            .collect()
    }

    fn tensors_of(&self, layers: impl Iterator<Item = usize>) -> Vec<TensorSpec> {
        let mut list = TensorList { tensors: Vec::new(), mtp: false };
        list.push("model.embed_tokens.weight", &[self.vocab_size, self.hidden_size], Role::Embedding);
        for layer in layers {
            self.layer_tensors(layer, &mut list);
        }
        list.plain("model.norm.weight", &[self.hidden_size]);
        if !self.tie_word_embeddings {
            list.plain("lm_head.weight", &[self.vocab_size, self.hidden_size]);
        }
        list.mtp = true;
        for depth in 0..self.num_nextn_predict_layers {
            let layer = self.num_hidden_layers + depth;
            let prefix = format!("model.layers.{layer}");
            for norm in ["enorm", "hnorm", "shared_head.norm"] {
                list.plain(&format!("{prefix}.{norm}.weight"), &[self.hidden_size]);
            }
            list.plain(&format!("{prefix}.eh_proj.weight"), &[self.hidden_size, 2 * self.hidden_size]);
            self.layer_tensors(layer, &mut list);
        }
        list.tensors
    }

    fn layer_tensors(&self, layer: usize, list: &mut TensorList) {
        let prefix = format!("model.layers.{layer}");
        for norm in self.family.layer_norms() {
            list.plain(&format!("{prefix}.{norm}.weight"), &[self.hidden_size]);
        }
        self.attention_tensors(&format!("{prefix}.self_attn"), list);
        match &self.moe {
            Some(moe) if moe.is_in(layer) => {
                self.moe_tensors(&format!("{prefix}.{}", self.family.mixture_name()), moe, list);
            }
            _ => self.mlp_tensors(&format!("{prefix}.mlp"), self.intermediate_size, list),
        }
    }

    fn attention_tensors(&self, prefix: &str, list: &mut TensorList) {
        match &self.mla {
            Some(mla) => self.mla_tensors(prefix, mla, list),
            None => self.gqa_tensors(prefix, list),
        }
    }

    fn mla_tensors(&self, prefix: &str, mla: &MlaSpec, list: &mut TensorList) {
        let (d, h) = (self.hidden_size, self.num_attention_heads);
        let mut linear =
            |part: &str, out: usize, in_: usize| list.plain(&format!("{prefix}.{part}.weight"), &[out, in_]);
        let q = h * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
        match mla.q_lora_rank {
            Some(rank) => {
                linear("q_a_proj", rank, d);
                linear("q_b_proj", q, rank);
            }
            None => linear("q_proj", q, d),
        }
        let kv_a = mla.kv_lora_rank + mla.qk_rope_head_dim;
        linear("kv_a_proj_with_mqa", kv_a, d);
        linear("kv_b_proj", h * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank);
        linear("o_proj", d, h * mla.v_head_dim);
        if self.attention_bias {
            let q_a = mla.q_lora_rank.map(|rank| ("q_a_proj", rank));
            for (part, out) in q_a.into_iter().chain([("kv_a_proj_with_mqa", kv_a), ("o_proj", d)]) {
                list.plain(&format!("{prefix}.{part}.bias"), &[out]);
            }
        }
        if let Some(rank) = mla.q_lora_rank {
            list.plain(&format!("{prefix}.q_a_layernorm.weight"), &[rank]);
        }
        list.plain(&format!("{prefix}.kv_a_layernorm.weight"), &[mla.kv_lora_rank]);
    }

    fn gqa_tensors(&self, prefix: &str, list: &mut TensorList) {
        let d = self.hidden_size;
        let (q, kv) = (self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim);
        for (part, out, in_) in [("q_proj", q, d), ("k_proj", kv, d), ("v_proj", kv, d), ("o_proj", d, q)] {
            list.plain(&format!("{prefix}.{part}.weight"), &[out, in_]);
        }
        if self.attention_bias {
            let output = self.has_output_bias().then_some(("o_proj", d));
            for (part, out) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)].into_iter().chain(output) {
                list.plain(&format!("{prefix}.{part}.bias"), &[out]);
            }
        }
        if self.qk_norm {
            let whole = self.family.norms_all_heads();
            for (part, width) in [("q_norm", q), ("k_norm", kv)] {
                list.plain(&format!("{prefix}.{part}.weight"), &[if whole { width } else { self.head_dim }]);
            }
        }
    }

    fn mlp_tensors(&self, prefix: &str, width: usize, list: &mut TensorList) {
        let d = self.hidden_size;
        let parts = [("gate_proj", width, d), ("up_proj", width, d), ("down_proj", d, width)];
        for (part, out, in_) in parts {
            list.plain(&format!("{prefix}.{part}.weight"), &[out, in_]);
        }
        for (part, out, _) in parts.into_iter().filter(|_| self.mlp_bias) {
            list.plain(&format!("{prefix}.{part}.bias"), &[out]);
        }
    }

    fn moe_tensors(&self, prefix: &str, moe: &MoeSpec, list: &mut TensorList) {
        let (d, width, e) = (self.hidden_size, moe.moe_intermediate_size, moe.n_routed_experts);
        list.plain(&format!("{prefix}.gate.weight"), &[e, d]);
        if moe.scoring == Scoring::Sigmoid {
            list.push(&format!("{prefix}.gate.e_score_correction_bias"), &[e], Role::Buffer);
        }
        let [gate, up, down] = self.family.expert_parts();
        for (part, out, in_) in [(gate, width, d), (up, width, d), (down, d, width)] {
            for expert in 0..e {
                let name = format!("{prefix}.experts.{expert}.{part}.weight");
                list.push(&name, &[out, in_], Role::RoutedExpert);
            }
        }
        if moe.shared_expert_intermediate_size > 0 {
            let shared = self.family.shared_expert_name();
            self.mlp_tensors(&format!("{prefix}.{shared}"), moe.shared_expert_intermediate_size, list);
            if self.family.gates_shared_expert() {
                list.plain(&format!("{prefix}.shared_expert_gate.weight"), &[1, d]);
            }
        }
    }
}

struct TensorList {
    tensors: Vec<TensorSpec>,
    mtp: bool,
}

impl TensorList {
    fn plain(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, Role::Dense);
    }

    fn push(&mut self, name: &str, shape: &[usize], role: Role) {
        self.tensors.push(TensorSpec { name: name.to_string(), shape: shape.to_vec(), role, mtp: self.mtp });
    }
}
