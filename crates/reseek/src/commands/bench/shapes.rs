//! The models that the peers are measured on, as constants: a rung of the ladder may change, what is compared must not.

use reseek_spec::ModelSpec;

use crate::error::Outcome;

/// The dense decoder of the peer's training script.
const DENSE: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096, "hidden_size": 256,
    "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64,
    "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
    "initializer_range": 0.03125, "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu", "attention_bias": false,
    "mlp_bias": false
}"#;

/// The small V3 of the peer's scripts for training and for sampling; it has no MTP module.
const V3: &str = r#"{
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 4096, "hidden_size": 256,
    "intermediate_size": 1024, "moe_intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "n_shared_experts": 1, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_group": 4,
    "topk_group": 2, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16, "v_head_dim": 32, "num_nextn_predict_layers": 0, "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null, "rope_interleave": true,
    "tie_word_embeddings": false, "initializer_range": 0.03125, "bos_token_id": 0, "eos_token_id": 1,
    "hidden_act": "silu", "attention_bias": false
}"#;

/// SmolLM2-135M as Hugging Face's config.json has it.
const SMOLLM2_135M: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
    "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": true,
    "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "attention_bias": false, "mlp_bias": false
}"#;

/// The parameters that the peers count of the same models.
const PARAMS: [(&str, u64); 3] = [(DENSE, 8_391_936), (V3, 11_940_112), (SMOLLM2_135M, 134_515_008)];

/// Vocabulary 4096, width 256, 6 layers, 4 heads, SwiGLU 1024.
pub fn dense() -> Outcome<ModelSpec> {
    checked(DENSE)
}

/// MLA, 16 experts of which 4.
pub fn v3() -> Outcome<ModelSpec> {
    checked(V3)
}

/// SmolLM2-135M.
pub fn smollm2() -> Outcome<ModelSpec> {
    checked(SMOLLM2_135M)
}

fn checked(config: &str) -> Outcome<ModelSpec> {
    let spec = ModelSpec::from_hf_json(config)?;
    let known = PARAMS.iter().find(|(of, _)| *of == config).map(|(_, count)| *count);
    assert_eq!(known, Some(spec.params().total), "the benchmark's model is no longer the peer's");
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_are_the_peers() {
        for shape in [dense, v3, smollm2] {
            shape().unwrap();
        }
        let (dense, v3) = (dense().unwrap(), v3().unwrap());
        let sizes = |m: &ModelSpec| (m.vocab_size, m.hidden_size, m.num_hidden_layers, m.num_attention_heads);
        assert_eq!((sizes(&dense), sizes(&v3)), ((4096, 256, 6, 4), (4096, 256, 6, 4)));
        let (mla, moe) = (v3.mla.unwrap(), v3.moe.unwrap());
        assert_eq!((mla.qk_nope_head_dim, mla.qk_rope_head_dim, mla.v_head_dim), (32, 16, 32));
        assert_eq!((moe.n_routed_experts, moe.num_experts_per_tok, moe.moe_intermediate_size), (16, 4, 128));
        assert_eq!(v3.num_nextn_predict_layers, 0);
    }
}
