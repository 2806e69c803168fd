//! A walk over the keys of every family: each is obeyed, or known to be without effect, or refused.

use serde_json::{Map, Value, json};

use super::config::Config;
use super::keys::{self, Plain, Rule};
use crate::{Family, ModelSpec};

/// Fields of every configuration class of transformers 5.23.
const FIELDS: &str = "attention_dropout bos_token_id eos_token_id hidden_size initializer_range intermediate_size max_position_embeddings \
    num_attention_heads num_hidden_layers num_key_value_heads pad_token_id rms_norm_eps rope_parameters tie_word_embeddings \
    use_cache vocab_size output_hidden_states return_dict dtype chunk_size_feed_forward is_encoder_decoder id2label label2id \
    problem_type architectures transformers_version";

/// Fields that not all of them have.
fn fields(family: Family) -> &'static str {
    match family {
        Family::DeepseekV2 => {
            "hidden_act pretraining_tp attention_bias mlp_bias head_dim first_k_dense_replace kv_lora_rank q_lora_rank n_group \
            n_routed_experts output_router_logits n_shared_experts qk_nope_head_dim qk_rope_head_dim routed_scaling_factor \
            topk_group topk_method norm_topk_prob v_head_dim num_experts_per_tok moe_intermediate_size"
        }
        Family::DeepseekV3 => {
            "moe_intermediate_size n_shared_experts n_routed_experts output_router_logits routed_scaling_factor kv_lora_rank \
            q_lora_rank qk_rope_head_dim v_head_dim qk_nope_head_dim n_group topk_group num_experts_per_tok first_k_dense_replace \
            norm_topk_prob hidden_act pretraining_tp rope_interleave attention_bias num_mtp_layers"
        }
        Family::Llama => "hidden_act pretraining_tp attention_bias mlp_bias head_dim",
        Family::Qwen2 => "hidden_act use_sliding_window sliding_window max_window_layers layer_types",
        Family::Qwen3 => {
            "head_dim hidden_act attention_bias use_sliding_window sliding_window max_window_layers layer_types"
        }
        Family::Mistral | Family::Ministral3 => "head_dim hidden_act sliding_window",
        Family::Ministral => "head_dim hidden_act sliding_window layer_types",
        Family::Smollm3 => {
            "hidden_act use_sliding_window sliding_window no_rope_layers no_rope_layer_interval layer_types attention_bias mlp_bias"
        }
        Family::Olmo2 => "hidden_act attention_bias",
        Family::Olmo3 => "hidden_act attention_bias sliding_window layer_types",
        Family::Mixtral => {
            "head_dim hidden_act sliding_window num_experts_per_tok num_local_experts output_router_logits router_aux_loss_coef \
            router_jitter_noise"
        }
        Family::Qwen2Moe => {
            "hidden_act use_sliding_window sliding_window max_window_layers decoder_sparse_step moe_intermediate_size \
            shared_expert_intermediate_size num_experts_per_tok num_experts norm_topk_prob output_router_logits \
            router_aux_loss_coef mlp_only_layers qkv_bias layer_types"
        }
        Family::Qwen3Moe => {
            "hidden_act attention_bias use_sliding_window sliding_window decoder_sparse_step moe_intermediate_size \
            num_experts_per_tok num_experts norm_topk_prob output_router_logits router_aux_loss_coef mlp_only_layers"
        }
        Family::Glm4Moe => {
            "hidden_act attention_bias moe_intermediate_size num_experts_per_tok output_router_logits n_shared_experts \
            n_routed_experts routed_scaling_factor n_group topk_group first_k_dense_replace norm_topk_prob use_qk_norm \
            num_mtp_layers"
        }
        Family::Gemma3 => {
            "head_dim hidden_activation attention_bias query_pre_attn_scalar sliding_window layer_types final_logit_softcapping \
            attn_logit_softcapping use_bidirectional_attention"
        }
    }
}

/// A config.json of `family` with every key that it reads, in the forms of transformers 4 and 5 at once.
fn whole(family: Family) -> Value {
    let plain = matches!(family, Family::Mistral | Family::Ministral | Family::Ministral3 | Family::Mixtral);
    let mut config = json!({
        "model_type": family.names().1, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 8,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 12, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "rope_theta": 20000.0, "rope_scaling": yarn(), "rope_parameters": yarn(), "tie_word_embeddings": false,
        "attention_bias": !plain, "mlp_bias": false, "initializer_range": 0.01, "bos_token_id": 3, "eos_token_id": [4, 5],
        "layer_types": vec!["full_attention"; 8],
    });
    config["rope_parameters"]["rope_theta"] = json!(20000.0);
    let qwen =
        json!({"use_sliding_window": true, "sliding_window": 32, "max_window_layers": 5, "layer_types": alternating()});
    let moe = json!({
        "num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": true,
        "decoder_sparse_step": 2, "mlp_only_layers": [1, 5],
    });
    let deepseek = json!({
        "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "first_k_dense_replace": 2, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.5,
    });
    let mla = json!({
        "num_key_value_heads": 8, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
        "head_dim": 8, "qk_head_dim": 16,
    });
    let of = match family {
        Family::DeepseekV2 => {
            vec![deepseek, mla, json!({"topk_method": "group_limited_greedy", "num_experts": 8, "mlp_bias": true})]
        }
        Family::DeepseekV3 => {
            vec![deepseek, mla, mtp(), json!({"rope_interleave": true, "norm_topk_prob": true, "num_local_experts": 8})]
        }
        Family::Glm4Moe => vec![
            deepseek,
            mtp(),
            json!({"norm_topk_prob": true, "use_qk_norm": true, "partial_rotary_factor": 0.5, "head_dim": 16, "num_local_experts": 8}),
        ],
        Family::Llama => vec![json!({"mlp_bias": true})],
        Family::Olmo2 => vec![],
        Family::Qwen2 | Family::Qwen3 => vec![qwen],
        Family::Qwen2Moe => vec![qwen, moe, json!({"shared_expert_intermediate_size": 40, "qkv_bias": true})],
        Family::Qwen3Moe => vec![
            moe,
            json!({"use_sliding_window": true, "sliding_window": 32, "layer_types": vec!["sliding_attention"; 8]}),
        ],
        Family::Mistral | Family::Ministral3 => vec![windowed(), json!({"layer_types": vec!["sliding_attention"; 8]})],
        Family::Ministral => vec![windowed()],
        Family::Mixtral => vec![
            json!({"num_experts": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 32, "layer_types": vec!["sliding_attention"; 8]}),
        ],
        Family::Smollm3 => {
            let rotates = [1, 1, 0, 1, 1, 1, 0, 1];
            vec![qwen, json!({"mlp_bias": true, "no_rope_layers": rotates, "no_rope_layer_interval": 3})]
        }
        Family::Olmo3 => vec![windowed(), by_kind(500_000.0), json!({"rope_theta": 20000.0})],
        Family::Gemma3 => vec![
            windowed(),
            by_kind(5000.0),
            json!({
                "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24, "rope_local_base_freq": 5000.0,
                "sliding_window_pattern": 3,
            }),
        ],
    };
    for part in of {
        config.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    if family.has_local_rope() {
        config["rope_scaling"]["truncate"] = json!(true);
    }
    if family == Family::Ministral3 {
        config["rope_parameters"]["llama_4_scaling_beta"] = json!(0.1);
        config["rope_scaling"]["llama_4_scaling_beta"] = json!(0.1);
    }
    config
}

fn yarn() -> Value {
    json!({
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 24.0, "beta_slow": 2.0,
        "mscale": 0.5, "mscale_all_dim": 0.25, "attention_factor": 1.25, "truncate": false,
    })
}

fn alternating() -> Value {
    (0..8).map(|layer| if layer % 2 == 0 { "sliding_attention" } else { "full_attention" }).collect()
}

fn windowed() -> Value {
    json!({"sliding_window": 32, "layer_types": alternating()})
}

fn mtp() -> Value {
    json!({"num_nextn_predict_layers": 1, "num_mtp_layers": 1})
}

fn by_kind(local: f64) -> Value {
    let mut full = yarn();
    full["truncate"] = json!(true);
    full["rope_theta"] = json!(20000.0);
    let sliding = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": local});
    json!({"rope_parameters": {"full_attention": full, "sliding_attention": sliding}})
}

/// The whole configuration, that of transformers 5, that of 4, and one that leaves layers to the family's rule.
fn variants(family: Family) -> Vec<Value> {
    let whole = whole(family);
    let without = |keys: &[&str]| {
        let mut config = whole.clone();
        config.as_object_mut().unwrap().retain(|key, _| !keys.contains(&key.as_str()));
        config
    };
    const OLD: [&str; 6] = [
        "rope_scaling",
        "rope_theta",
        "rope_local_base_freq",
        "num_local_experts",
        "num_nextn_predict_layers",
        "partial_rotary_factor",
    ];
    const NEW: [&str; 3] = ["rope_parameters", "num_experts", "num_mtp_layers"];
    let mut rule = without(&["layer_types", "no_rope_layers"]);
    // OLMo 3's rope_theta alone can have one value, so its other form is walked with that.
    let mut old = without(if family == Family::DeepseekV2 { &["rope_parameters", "num_experts"] } else { &NEW });
    if family == Family::Olmo3 {
        old["rope_theta"] = json!(500_000.0);
    }
    if family == Family::Mixtral || family == Family::Qwen3Moe {
        rule["num_local_experts"] = json!(8);
    }
    vec![whole.clone(), without(&OLD), old, rule]
}

fn read(config: &Value) -> Result<ModelSpec, String> {
    ModelSpec::from_hf_json(&config.to_string()).map_err(|error| error.to_string())
}

/// Other values of about the same kind.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Number(n) if n.is_u64() => [n.as_u64().unwrap() * 2, n.as_u64().unwrap() + 1].map(|n| json!(n)).to_vec(),
        Value::Number(n) => [2.0, 0.5].map(|factor| json!(n.as_f64().unwrap() * factor)).to_vec(),
        Value::String(_) => ["gelu_pytorch_tanh", "greedy", "default", "nonsense"].map(|text| json!(text)).to_vec(),
        Value::Array(list) => {
            let flip = |value: &Value| match value.as_str() {
                Some("sliding_attention") => json!("full_attention"),
                Some(_) => json!("sliding_attention"),
                None => json!(value.as_u64().unwrap() ^ 1),
            };
            vec![json!(list.iter().map(flip).collect::<Vec<_>>()), json!(list[..list.len() - 1])]
        }
        _ => vec![],
    }
}

/// Every key of `config`, with the way to it where it is inside of another.
fn ways(config: &Map<String, Value>, prefix: &[String]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (key, value) in config {
        let way = [prefix, std::slice::from_ref(key)].concat();
        match value {
            Value::Object(inner) => all.extend(ways(inner, &way)),
            _ => all.push(way),
        }
    }
    all
}

fn at<'a>(config: &'a mut Value, way: &[String]) -> &'a mut Value {
    way.iter().fold(config, |value, key| &mut value[key.as_str()])
}

#[test]
fn every_key_that_is_read_changes_the_model_or_is_refused() {
    for family in Family::ALL {
        let mut walked = std::collections::BTreeMap::new();
        for config in variants(family) {
            let spec = read(&config).unwrap_or_else(|error| panic!("{family:?}: {error} {config}"));
            assert_eq!(spec.family, family);
            let asked = {
                let config = Config::new(&config).unwrap();
                ModelSpec::read(&config).unwrap();
                config.asked()
            };
            for way in ways(config.as_object().unwrap(), &[]).into_iter().filter(|way| asked.contains(way[0].as_str()))
            {
                let changes = |value: Value| {
                    let mut changed = config.clone();
                    *at(&mut changed, &way) = value;
                    read(&changed).map_or(true, |other| other != spec)
                };
                let seen = others(at(&mut config.clone(), &way)).into_iter().any(changes);
                *walked.entry(way.join(".")).or_insert(false) |= seen;
            }
        }
        let silent: Vec<&String> = walked.iter().filter(|(_, seen)| !**seen).map(|(way, _)| way).collect();
        assert!(silent.is_empty(), "{family:?} says nothing to {silent:?}");
    }
}

#[test]
fn no_key_is_asked_for_that_the_walk_passes_by() {
    // Refused at any value, or of a form that has its own test.
    const ELSEWHERE: [&str; 3] = ["text_config", "quantization_config", "max_window_layers"];
    for family in Family::ALL {
        for config in variants(family) {
            let whole = whole(family);
            let config = Config::new(&config).unwrap();
            ModelSpec::read(&config).unwrap();
            for key in config.asked().into_iter().filter(|key| !ELSEWHERE.contains(key)) {
                assert!(whole.get(key).is_some(), "{family:?} reads {key}");
            }
        }
    }
}

#[test]
fn idle_keys_change_nothing_and_others_have_one_value() {
    for family in Family::ALL {
        let config = whole(family);
        let spec = read(&config).unwrap();
        let asked = {
            let config = Config::new(&config).unwrap();
            ModelSpec::read(&config).unwrap();
            config.asked()
        };
        for (key, rule) in keys::all(family).into_iter().filter(|(key, _)| !asked.contains(key)) {
            for value in [
                json!(true),
                json!(false),
                json!(0),
                json!(1),
                json!(7.5),
                json!("softmax"),
                json!([1]),
                json!({"a": 1}),
            ] {
                let mut changed = config.clone();
                changed[key] = value.clone();
                let expect = match rule {
                    Rule::Idle(_) => true,
                    Rule::Only(plain, _) => plain.is(&value),
                };
                match read(&changed) {
                    Ok(other) => assert!(expect && other == spec, "{family:?}: {key} = {value}"),
                    Err(error) => assert!(!expect && error.contains(key), "{family:?}: {key} = {value}: {error}"),
                }
            }
            if let Rule::Only(Plain::True, _) | Rule::Only(Plain::Number(_), _) | Rule::Only(Plain::Text(_), _) = rule {
                let mut changed = config.clone();
                changed[key] = Value::Null;
                assert_eq!(read(&changed).as_ref(), Ok(&spec), "{family:?}: {key}");
            }
        }
    }
}

#[test]
fn every_field_of_transformers_is_known() {
    for family in Family::ALL {
        let config = variants(family);
        let asked: Vec<&str> = config
            .iter()
            .flat_map(|config| {
                let config = Config::new(config).unwrap();
                ModelSpec::read(&config).unwrap();
                config.asked()
            })
            .collect();
        for field in FIELDS.split_whitespace().chain(fields(family).split_whitespace()) {
            assert!(asked.contains(&field) || keys::rule(family, field).is_some(), "{family:?} has {field}");
        }
    }
}

#[test]
fn unknown_keys_are_refused_by_name_wherever_they_are() {
    for family in Family::ALL {
        for config in variants(family) {
            let mut places = vec![vec![]];
            places.extend(["rope_scaling", "rope_parameters"].map(|key| vec![key.to_string()]));
            if let Some(Value::Object(_)) = config["rope_parameters"].get("full_attention") {
                let inner = |kind: &str| vec!["rope_parameters".to_string(), kind.to_string()];
                places.extend(["full_attention", "sliding_attention"].map(inner));
            }
            for place in places {
                let mut changed = config.clone();
                if at(&mut changed, &place).is_null() {
                    continue;
                }
                at(&mut changed, &place)["residual_multiplier"] = json!(0.22);
                let error = read(&changed).unwrap_err();
                let named = error.contains("residual_multiplier = 0.22") && error.contains(family.names().1);
                assert!(named && error.contains(&place.join(".")), "{error}");
                // Nothing is asked by nothing, and counting does not ask.
                if place.is_empty() {
                    assert!(ModelSpec::counted_from_hf_json(&changed.to_string()).is_ok());
                    changed["residual_multiplier"] = Value::Null;
                    changed["_residual_multiplier"] = json!(0.22);
                    assert!(read(&changed).is_ok());
                }
            }
        }
    }
}
