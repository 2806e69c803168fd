//! Hugging Face's names of tensors and the places that a file has for them.

use super::architecture::Architecture;

/// The place of one tensor of Hugging Face's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// The file's tensor.
    pub name: String,
    /// What of it.
    pub part: Part,
    /// The rows of each head, Hugging Face's two halves, are in turn in the file.
    pub in_turn: bool,
    /// The file's values are larger by 1.
    pub whole_gain: bool,
}

/// What of a file's tensor one of Hugging Face's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// One expert's matrix of those of all.
    Expert(usize),
    /// MLA's second map of keys and values; in the file either whole or as two tensors.
    KeysAndValues,
}

/// Hugging Face's parts of a layer and the file's, the longer of two with one beginning first.
const PARTS: [(&str, &str); 26] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_a_layernorm", "attn_q_a_norm"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("mlp.shared_expert.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_expert.up_proj", "ffn_up_shexp"),
    ("mlp.shared_expert.down_proj", "ffn_down_shexp"),
    ("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
];

/// Where a tensor lies; nothing for one that llama.cpp has no place for.
pub(super) fn site(architecture: Architecture, name: &str) -> Option<Site> {
    let site = |name: String, part: Part| {
        let in_turn = architecture.turns_neighbours() && (name.contains(".attn_q.") || name.contains(".attn_k."));
        let whole_gain = architecture.stores_whole_gains() && name.ends_with("norm.weight");
        Some(Site { name, part, in_turn, whole_gain })
    };
    match name {
        "model.embed_tokens.weight" => return site("token_embd.weight".to_owned(), Part::Whole),
        "model.norm.weight" => return site("output_norm.weight".to_owned(), Part::Whole),
        "lm_head.weight" => return site("output.weight".to_owned(), Part::Whole),
        _ => {}
    }
    let (layer, inner) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    if inner == "mlp.gate.e_score_correction_bias" {
        return site(format!("blk.{layer}.exp_probs_b.bias"), Part::Whole);
    }
    let (base, ending) = inner.rsplit_once('.').filter(|(_, ending)| ["weight", "bias"].contains(ending))?;
    if let Some((expert, of)) = expert_of(base) {
        return site(format!("blk.{layer}.{of}.{ending}"), Part::Expert(expert));
    }
    let own = match (architecture, base) {
        // Gemma has norms on both sides of either half of a layer.
        (Architecture::Gemma3, "post_attention_layernorm") => "post_attention_norm",
        (Architecture::Gemma3, "pre_feedforward_layernorm") => "ffn_norm",
        (Architecture::Gemma3, "post_feedforward_layernorm") => "post_ffw_norm",
        _ => PARTS.iter().find(|(part, _)| *part == base)?.1,
    };
    let part = if own == "attn_kv_b" { Part::KeysAndValues } else { Part::Whole };
    site(format!("blk.{layer}.{own}.{ending}"), part)
}

/// The expert and the tensor of `mlp.experts.3.gate_proj` or Mixtral's `block_sparse_moe.experts.3.w1`.
fn expert_of(base: &str) -> Option<(usize, &'static str)> {
    let rest = base.strip_prefix("mlp.experts.").or_else(|| base.strip_prefix("block_sparse_moe.experts."))?;
    let (expert, matrix) = rest.split_once('.')?;
    let own = match matrix {
        "gate_proj" | "w1" => "ffn_gate_exps",
        "up_proj" | "w3" => "ffn_up_exps",
        "down_proj" | "w2" => "ffn_down_exps",
        _ => return None,
    };
    Some((expert.parse().ok()?, own))
}

/// Rows of a head as Hugging Face has them, (half, pair), from the file's (pair, half). `row` items make a row, `head` rows a head.
pub(super) fn halves_apart<T: Copy>(items: &[T], row: usize, head: usize) -> Vec<T> {
    move_rows(items, row, head, |within| 2 * (within % (head / 2)) + within / (head / 2))
}

/// The way back: the file's rows from Hugging Face's.
pub(super) fn halves_in_turn<T: Copy>(items: &[T], row: usize, head: usize) -> Vec<T> {
    move_rows(items, row, head, |within| within % 2 * (head / 2) + within / 2)
}

fn move_rows<T: Copy>(items: &[T], row: usize, head: usize, source: impl Fn(usize) -> usize) -> Vec<T> {
    let mut out = Vec::with_capacity(items.len());
    for heads in items.chunks(head * row) {
        for target in 0..heads.len() / row {
            out.extend_from_slice(&heads[source(target) * row..][..row]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_file() {
        let name = |architecture, name| site(architecture, name).map(|site| site.name);
        let cases = [
            (Architecture::Llama, "model.layers.12.self_attn.o_proj.weight", "blk.12.attn_output.weight"),
            (Architecture::Llama, "model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
            (Architecture::Llama, "model.layers.0.block_sparse_moe.experts.7.w2.weight", "blk.0.ffn_down_exps.weight"),
            (
                Architecture::Gemma3,
                "model.layers.3.post_attention_layernorm.weight",
                "blk.3.post_attention_norm.weight",
            ),
            (Architecture::Qwen2, "model.layers.3.self_attn.k_proj.bias", "blk.3.attn_k.bias"),
            (Architecture::Qwen2Moe, "model.layers.3.mlp.shared_expert_gate.weight", "blk.3.ffn_gate_inp_shexp.weight"),
            (Architecture::Deepseek2, "model.layers.9.mlp.gate.e_score_correction_bias", "blk.9.exp_probs_b.bias"),
            (Architecture::Deepseek2, "model.layers.9.mlp.gate.weight", "blk.9.ffn_gate_inp.weight"),
            (Architecture::Deepseek2, "model.embed_tokens.weight", "token_embd.weight"),
        ];
        for (architecture, hf, own) in cases {
            assert_eq!(name(architecture, hf).as_deref(), Some(own));
        }
        for none in ["model.layers.61.eh_proj.weight", "model.layers.x.mlp.gate.weight", "vision.weight", ""] {
            assert_eq!(name(Architecture::Deepseek2, none), None);
        }
        let site = |architecture, name| site(architecture, name).unwrap();
        assert!(site(Architecture::Llama, "model.layers.0.self_attn.q_proj.weight").in_turn);
        assert!(!site(Architecture::Qwen3, "model.layers.0.self_attn.q_proj.weight").in_turn);
        assert!(site(Architecture::Gemma3, "model.layers.0.self_attn.q_norm.weight").whole_gain);
        assert_eq!(site(Architecture::Qwen3Moe, "model.layers.0.mlp.experts.5.up_proj.weight").part, Part::Expert(5));
    }

    #[test]
    fn rows_go_back_to_their_halves() {
        // Two heads of four rows; the file's row of (head, pair, half) is named by the place where it belongs.
        let file = [0, 2, 1, 3, 4, 6, 5, 7];
        assert_eq!(halves_apart(&file, 1, 4), [0, 1, 2, 3, 4, 5, 6, 7]);
        let rows: Vec<u8> = (0..48).collect();
        assert_eq!(halves_apart(&halves_in_turn(&rows, 2, 6), 2, 6), rows);
        assert_ne!(halves_in_turn(&rows, 2, 6), rows);
    }
}
