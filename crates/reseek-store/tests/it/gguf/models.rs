//! Small models of the families that are written, in memory.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use reseek_spec::ModelSpec;
use reseek_store::{GgufContents, GgufSource, GgufTemplates, GgufTokenizer, StoreError, TokenKind, TokenizerModel};
use serde_json::{Value, json};

use crate::common::values;

/// A model in memory.
pub struct Memory(pub BTreeMap<String, Vec<f32>>);

impl Memory {
    /// Values that are whole in F16, and in Q8_0's and Q4_0's blocks no more than near.
    pub fn of(spec: &ModelSpec) -> Self {
        let tensors = spec.tensors().into_iter().enumerate();
        Self(tensors.map(|(i, t)| (t.name, values(t.shape.iter().product(), i as u64))).collect())
    }
}

impl GgufSource for Memory {
    fn values(&self, name: &str) -> Result<Vec<f32>, StoreError> {
        Ok(self.0[name].clone())
    }
}

/// A tokenizer of 30 tokens, for 32 rows.
pub fn tokenizer() -> GgufTokenizer {
    let tokens: Vec<String> = (0..30).map(|i| format!("t{i}")).collect();
    GgufTokenizer {
        model: TokenizerModel::BytePairs,
        kinds: (0..30).map(|i| if i < 2 { TokenKind::Control } else { TokenKind::Normal }).collect(),
        control: (0..30).map(|i| i < 2).collect(),
        scores: Vec::new(),
        merges: vec!["t t2".to_owned()],
        pre: "gpt-2".to_owned(),
        bos: Some(0),
        eos: Some(1),
        eot: None,
        eog: vec![1],
        pad: Some(1),
        unk: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: false,
        tokens,
    }
}

fn merged(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

/// Small models of the families that are written.
pub fn models() -> Vec<ModelSpec> {
    let base = json!({
        "vocab_size": 32, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu",
    });
    let yarn = |more: Value| {
        let base = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32});
        json!({"rope_scaling": merged(base, more)})
    };
    let llama3 = json!({"rope_scaling": {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }});
    let latent = json!({
        "q_lora_rank": 48, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "head_dim": 8, "v_head_dim": 24,
        "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 2, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
    });
    let latent = |more: Value| merged(latent.clone(), more);
    let v3 = latent(json!({"model_type": "deepseek_v3", "scoring_func": "sigmoid", "topk_method": "noaux_tc"}));
    let lite = json!({"model_type": "deepseek_v2", "scoring_func": "softmax", "q_lora_rank": null, "topk_method": "greedy",
                      "n_group": 1, "topk_group": 1, "norm_topk_prob": false, "routed_scaling_factor": 1.0});
    let mscale = |m: f64| yarn(json!({"mscale": m, "mscale_all_dim": m, "beta_fast": 32, "beta_slow": 1}));
    let mixture = json!({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32});
    let gemma = |more: Value| {
        let base = json!({
            "model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 24,
            "tie_word_embeddings": true,
        });
        merged(base, more)
    };
    let families = [
        json!({"model_type": "llama", "tie_word_embeddings": true}),
        merged(json!({"model_type": "llama"}), llama3),
        json!({"model_type": "qwen2", "tie_word_embeddings": true}),
        merged(json!({"model_type": "qwen2"}), yarn(json!({}))),
        json!({"model_type": "qwen3"}),
        v3.clone(),
        merged(merged(v3.clone(), mscale(1.0)), json!({"num_nextn_predict_layers": 1})),
        merged(latent(lite), mscale(0.707)),
        json!({"model_type": "llama", "attention_bias": true, "mlp_bias": true, "rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
        json!({"model_type": "mistral", "sliding_window": 24}),
        json!({"model_type": "mixtral", "sliding_window": null, "num_local_experts": 4, "num_experts_per_tok": 2}),
        merged(
            mixture.clone(),
            json!({"model_type": "qwen2_moe", "shared_expert_intermediate_size": 96, "norm_topk_prob": false}),
        ),
        merged(mixture, json!({"model_type": "qwen3_moe", "norm_topk_prob": true})),
        gemma(json!({"num_hidden_layers": 7, "rope_scaling": {"rope_type": "linear", "factor": 8.0}})),
        json!({"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "head_dim": 64}),
        gemma(json!({"layer_types": ["full_attention", "sliding_attention"], "rope_local_base_freq": 5000.0})),
    ];
    let spec = |more: Value| ModelSpec::from_hf_json(&merged(base.clone(), more).to_string()).unwrap();
    families.into_iter().map(spec).collect()
}

pub fn contents<'a>(spec: &'a ModelSpec, tokenizer: &'a GgufTokenizer) -> GgufContents<'a> {
    static TEMPLATES: LazyLock<GgufTemplates> = LazyLock::new(|| GgufTemplates {
        plain: Some("{{ messages }}".to_owned()),
        named: vec![("tools".to_owned(), "{{ tools }}".to_owned())],
    });
    let templates = &*TEMPLATES;
    GgufContents { spec, tokenizer, templates, metadata: &[("name", "small")] }
}
