//! What families can have and the fixtures have not: biases and GELU everywhere, windows beside long sequences, multi-token prediction in
//! GLM. Gradients against differences, decoding against training.

use std::sync::Arc;

use reseek_model::{CacheMode, Model, OutputGradients, Rows, Weights};
use reseek_spec::{Activation, Family, MlaSpec, ModelSpec, MoeSpec, Rope, RopeScaling, Scale, Scoring, SlidingWindow};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::random::Stream;

use crate::decode::{decode, hidden, same_bits};

/// Gradients and their differences agree within this; f32 passes leave noise of a third of it.
const TOLERANCE: f64 = 0.01;

#[test]
fn gradients_are_slopes() {
    for weights in odd() {
        let spec = weights.spec.clone();
        let (tokens, next): (Vec<u32>, Vec<u32>) = (0..31).map(|i| ((i * i * 7 + 3) % 96, (i * 5 + 1) % 96)).unzip();
        let directions = [1, 2].map(|part| {
            let mut values = vec![0.0; tokens.len() * spec.hidden_size];
            Stream::new(3, "loss", part, 0).fill_normal(&mut values, 1.0);
            values
        });
        let next = (spec.num_nextn_predict_layers > 0).then_some(next);
        let loss = |weights: &Weights| {
            let pass = Model::new(weights).forward(Rows::new(&tokens, &[20, 11]), next.clone());
            let dot = |rows: &[f32], by: &[f32]| rows.iter().zip(by).map(|(&a, &b)| a as f64 * b as f64).sum::<f64>();
            dot(pass.hidden(), &directions[0]) + pass.mtp_hidden().map_or(0.0, |rows| dot(rows, &directions[1]))
        };
        let model = Model::new(&weights);
        let pass = model.forward(Rows::new(&tokens, &[20, 11]), next.clone());
        let outputs = OutputGradients {
            hidden: Buffer::of(&directions[0]),
            mtp_hidden: next.as_ref().map(|_| Buffer::of(&directions[1])),
            balance: 0.0,
        };
        let mut grads = vec![0.0; model.parameters()];
        model.backward(&pass, outputs, &mut grads);
        for (tensor, range) in weights.layout.tensors().filter(|(tensor, _)| tensor.is_trained()) {
            let gradient = &grads[range.clone()];
            let norm = gradient.iter().map(|&g| (g as f64).powi(2)).sum::<f64>().sqrt();
            // The head, which the loss does without; an expert that no token chose; a bias that all keys share, where none is rotated.
            let may_be_still = [".experts.", "lm_head.", "k_proj.bias"].iter().any(|part| tensor.name.contains(part));
            if norm < 1e-4 && may_be_still {
                continue;
            }
            let step = 0.02 / norm;
            let moved = |sign: f64| {
                let mut moved = weights.clone();
                let values = moved.data[range.clone()].iter_mut().zip(gradient);
                values.for_each(|(w, &g)| *w += (sign * step * g as f64 / norm) as f32);
                loss(&moved)
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            let error = (slope / norm - 1.0).abs();
            assert!(error < TOLERANCE, "{:?}: {} has the slope {slope}, not {norm}", spec.family, tensor.name);
        }
    }
}

#[test]
fn long_sequences_decode_with_the_bits_of_training() {
    for weights in odd() {
        let model = Model::new(&weights);
        let tokens: Vec<u32> = (0..230).map(|i| (i * i * 31 + i * 7) % 96).collect();
        let trained = hidden(&model, &[&tokens]);
        for chunks in [vec![1; 230], vec![63, 1, 1, 64, 2, 99], vec![100, 130]] {
            let decoded = decode(&model, &tokens, &chunks, CacheMode::Expanded);
            assert!(same_bits(&decoded, &trained), "{:?}: chunks {chunks:?} change bits", weights.spec.family);
        }
    }
}

/// Models with what no fixture has, every tensor of which is random: gains about what they begin at, biases about 0.
pub fn odd() -> Vec<Weights> {
    specs().into_iter().map(random).collect()
}

fn random(spec: ModelSpec) -> Weights {
    let base = if spec.family.has_gains_about_one() { 0.0 } else { 1.0 };
    let mut weights = Weights::init(spec, 11).expect("a model of this crate");
    let layout = Arc::clone(&weights.layout);
    for (i, (tensor, range)) in layout.tensors().enumerate().filter(|(_, (tensor, _))| tensor.is_trained()) {
        let values = &mut weights.data[range];
        Stream::new(5, "odd", 0, i as u64).fill_normal(values, 0.15);
        if tensor.shape.len() == 1 && !tensor.name.ends_with(".bias") {
            values.iter_mut().for_each(|value| *value += base);
        }
    }
    weights
}

fn specs() -> Vec<ModelSpec> {
    let base = ModelSpec {
        family: Family::Llama,
        vocab_size: 96,
        hidden_size: 32,
        intermediate_size: 24,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        hidden_act: Activation::GeluTanh,
        mla: None,
        moe: None,
        num_nextn_predict_layers: 0,
        attention_bias: true,
        ..ModelSpec::ladder(Scale::Smoke, 96)
    };
    let window = |full_layers: &[usize]| Some(SlidingWindow { tokens: 20, full_layers: full_layers.to_vec() });
    // All experts are chosen: a choice that turns would be a jump, and no slope.
    let moe = MoeSpec {
        n_routed_experts: 4,
        shared_expert_intermediate_size: 12,
        num_experts_per_tok: 4,
        moe_intermediate_size: 6,
        first_k_dense_replace: 0,
        mlp_only_layers: vec![],
        decoder_sparse_step: 1,
        n_group: 2,
        topk_group: 2,
        routed_scaling_factor: 1.5,
        norm_topk_prob: false,
        scoring: Scoring::Softmax,
    };
    let mla = MlaSpec {
        q_lora_rank: Some(16),
        kv_lora_rank: 8,
        qk_nope_head_dim: 8,
        qk_rope_head_dim: 4,
        v_head_dim: 8,
        rope_interleave: true,
    };
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_max_position_embeddings: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: 1.0,
        mscale_all_dim: 0.0,
        attention_factor: None,
        truncate: true,
    };
    let local_rope = Some(Rope { theta: 500.0, scaling: RopeScaling::Linear { factor: 2.0 } });
    vec![
        ModelSpec { mlp_bias: true, ..base.clone() },
        ModelSpec {
            family: Family::Gemma3,
            qk_norm: true,
            tie_word_embeddings: true,
            query_pre_attn_scalar: Some(12.0),
            sliding_window: window(&[2]),
            local_rope: local_rope.clone(),
            ..base.clone()
        },
        ModelSpec {
            family: Family::Olmo3,
            qk_norm: true,
            rope_scaling: yarn,
            sliding_window: window(&[0]),
            local_rope,
            ..base.clone()
        },
        ModelSpec {
            family: Family::Smollm3,
            mlp_bias: true,
            no_rope_layers: vec![1],
            sliding_window: window(&[0, 2]),
            ..base.clone()
        },
        ModelSpec {
            family: Family::Qwen2Moe,
            sliding_window: window(&[1]),
            moe: Some(MoeSpec { n_group: 1, topk_group: 1, mlp_only_layers: vec![1], ..moe.clone() }),
            ..base.clone()
        },
        ModelSpec {
            family: Family::DeepseekV2,
            num_key_value_heads: 4,
            head_dim: 12,
            mlp_bias: true,
            mla: Some(mla),
            moe: Some(MoeSpec { first_k_dense_replace: 1, ..moe.clone() }),
            ..base.clone()
        },
        ModelSpec {
            family: Family::Glm4Moe,
            qk_norm: true,
            partial_rotary_factor: 0.5,
            num_nextn_predict_layers: 1,
            moe: Some(MoeSpec { first_k_dense_replace: 1, scoring: Scoring::Sigmoid, norm_topk_prob: true, ..moe }),
            ..base
        },
    ]
}
